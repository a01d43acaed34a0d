"""Collects everything that is wrong with a configuration, so that a person can mend it in one go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from llmqd.config.places import Path


@dataclass(slots=True)
class Faults:
    """The faults and warnings found so far. `source` names the file; `lines` says where each key of it stands."""

    source: str = ""
    lines: Mapping[Path, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    _found: list[tuple[int, str]] = field(default_factory=list)

    def add(self, path: Path, text: str) -> None:
        """A fault at `path` of the file; without a line of its own it gets that of the nearest table around it."""
        line = next((self.lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in self.lines), 0)
        where = f"{self.source} line {line}" if line else self.source
        self._found.append((line, f"{where}: {text}"))

    def add_elsewhere(self, where: str, text: str) -> None:
        """A fault outside of the file: an environment variable, an option of the command line."""
        self._found.append((10**9, f"{where}: {text}"))

    def warn(self, text: str) -> None:
        """Something worth knowing that stops nothing; said once."""
        if text not in self.warnings:
            self.warnings.append(text)

    def __len__(self) -> int:
        return len(self._found)

    def sentences(self) -> list[str]:
        """Every fault once, those of the file first and in its order."""
        return list(dict.fromkeys(text for _, text in sorted(self._found, key=lambda found: found[0])))


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean x?` where one of the known names is near, else nothing."""
    near = get_close_matches(name.lower(), list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""
