"""Finds the line on which each key of a TOML text stands, which the standard library's parser does not tell."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping

Path = tuple[str | int, ...]
"""Where a value stands: table names, keys, and the position in an array, for example ("upstream", 0, "name")."""

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_BASIC = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_LITERAL = re.compile(r"'[^'\n]*'")
_LONG_BASIC = re.compile(r'"""(?:[^\\]|\\.)*?"{3,5}(?!")', re.DOTALL)
_LONG_LITERAL = re.compile(r"'''.*?'{3,5}(?!')", re.DOTALL)
_STRINGS = (_LONG_BASIC, _LONG_LITERAL, _BASIC, _LITERAL)
_SCALAR = re.compile(r"[^,\]}#\n]*")


def locate(text: str) -> Mapping[Path, int]:
    """The line, counted from 1, of each table header, key and array item. `text` must be valid TOML."""
    return _Scan(text).run()


class _Scan:
    """One walk over the text; `at` is the next character to look at."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[Path, int] = {}
        self.counts: dict[Path, int] = {}
        self.starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def run(self) -> Mapping[Path, int]:
        table: Path = ()
        while self._skip(_BLANK) < len(self.text):
            if self.text.startswith("[", self.at):
                table = self._header()
            else:
                self._pair(table)
        return self.lines

    def _skip(self, pattern: re.Pattern[str]) -> int:
        match = pattern.match(self.text, self.at)
        if match:
            self.at = match.end()
        return self.at

    def _note(self, path: Path, at: int) -> None:
        self.lines.setdefault(path, bisect_right(self.starts, at))

    def _header(self) -> Path:
        start = self.at
        repeated = self.text.startswith("[[", self.at)
        self.at += 2 if repeated else 1
        *outer, last = self._key()
        self.at = self.text.index("]", self.at) + (2 if repeated else 1)
        for length in range(1, len(outer) + 1):
            self._note(self._resolve((), outer[:length]), start)
        path = (*self._resolve((), outer), last)
        if repeated:
            self.counts[path] = self.counts.get(path, 0) + 1
            self._note(path, start)
        path = self._resolve(path[:-1], [last])
        self._note(path, start)
        return path

    def _resolve(self, base: Path, keys: list[str]) -> Path:
        """A name that stands for an array of tables means its latest table."""
        for key in keys:
            base = (*base, key)
            if base in self.counts:
                base = (*base, self.counts[base] - 1)
        return base

    def _pair(self, table: Path) -> None:
        start = self.at
        keys = self._key()
        for length in range(1, len(keys) + 1):
            self._note((*table, *keys[:length]), start)
        self.at = self.text.index("=", self.at) + 1
        self._value((*table, *keys))

    def _key(self) -> list[str]:
        keys = []
        while True:
            self._skip(_SPACE)
            start = self.at
            if self.text[start] in "\"'":
                self._skip(_BASIC if self.text[start] == '"' else _LITERAL)
                keys.append(self.text[start + 1 : self.at - 1])
            else:
                self._skip(_BARE)
                keys.append(self.text[start : self.at])
            self._skip(_SPACE)
            if not self.text.startswith(".", self.at):
                return keys
            self.at += 1

    def _value(self, path: Path) -> None:
        self._skip(_SPACE)
        if self.text.startswith("[", self.at):
            self._array(path)
        elif self.text.startswith("{", self.at):
            self._inline_table(path)
        else:
            self._skip(next((one for one in _STRINGS if one.match(self.text, self.at)), _SCALAR))

    def _array(self, path: Path) -> None:
        self.at += 1
        index = 0
        while self._skip(_BLANK) < len(self.text) and self.text[self.at] != "]":
            if self.text[self.at] == ",":
                self.at += 1
                continue
            self._note((*path, index), self.at)
            self._value((*path, index))
            index += 1
        self.at += 1

    def _inline_table(self, path: Path) -> None:
        self.at += 1
        while self._skip(_BLANK) < len(self.text) and self.text[self.at] != "}":
            if self.text[self.at] == ",":
                self.at += 1
                continue
            self._pair(path)
        self.at += 1
