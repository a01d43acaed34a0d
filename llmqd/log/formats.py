"""Records as lines: text with key=value fields behind the message, or one JSON object."""

from __future__ import annotations

import datetime
import logging
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_NEEDS_QUOTES = re.compile(r'[\s"=]|^$')


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """The fields given as `extra={"fields": {...}}`; those without a value are left out."""
    fields: dict[str, Any] = getattr(record, "fields", {})
    return {name: value for name, value in fields.items() if value is not None}


def one_line(text: str) -> str:
    """The text with control characters escaped, so that a value from outside can neither forge a line nor a colour."""
    if text.isprintable():  # most are, and this is quick
        return text
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def timestamp(created: float) -> str:
    """RFC 3339 in UTC with milliseconds."""
    milliseconds = int(created * 1000)
    return f"{_second(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"


@lru_cache(maxsize=2)
def _second(at: int) -> str:
    return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S")


def opening(created: float, level: str, name: str) -> str:
    """How a line begins, up to its message."""
    return f"{timestamp(created)} {level:<7} {name}: "


class TextFormatter(logging.Formatter):
    """`TIME LEVEL logger: message key=value ...`; a traceback follows, each of its lines indented."""

    def format(self, record: logging.LogRecord) -> str:
        """One record; a second line begins with a space, so that lines at the margin are records."""
        head = opening(record.created, record.levelname, record.name) + one_line(record.getMessage())
        pairs = _pairs(fields_of(record))
        trace = traceback_of(self, record)
        lines = [" ".join([head, *pairs]), *(f"    {one_line(line)}" for line in trace.splitlines())]
        return "\n".join(lines)


class JsonFormatter(logging.Formatter):
    """One object a line: time, level, logger, message, the fields, and `traceback` where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """One record; fields that bear a name of the record itself get an underscore behind it."""
        entry: dict[str, Any] = {
            "time": timestamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry |= {f"{name}_" if name in entry else name: value for name, value in fields_of(record).items()}
        if trace := traceback_of(self, record):
            entry["traceback"] = trace
        try:
            return orjson.dumps(entry, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
        except orjson.JSONEncodeError:
            # Lone surrogates (bytes of a path that are no UTF-8) and integers beyond 64 bits.
            printable = {name: str(value).encode("utf-8", "backslashreplace").decode() for name, value in entry.items()}
            return orjson.dumps(printable).decode()


def traceback_of(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    """The traceback and stack of a record; empty without."""
    parts = [record.exc_text or (formatter.formatException(record.exc_info) if record.exc_info else "")]
    if record.stack_info:
        parts.append(formatter.formatStack(record.stack_info))
    return "\n".join(part for part in parts if part)


def is_plain(texts: Sequence[str]) -> bool:
    """Whether values of these texts stand in a line as they are: none is empty, quoted or escaped."""
    whole = "".join(texts)
    signs = " " in whole or "=" in whole or '"' in whole  # of all white space, only a blank can be printed
    return not signs and whole.isprintable() and "" not in texts


def _pairs(fields: Mapping[str, Any]) -> list[str]:
    pairs = [f"{name}={value}" for name, value in fields.items()]
    joined = " ".join(pairs)
    signs = joined.count("=") + joined.count(" ") + 1
    if joined.isprintable() and signs == 2 * len(pairs) and '"' not in joined and "" not in fields.values():
        return pairs  # nearly always all values are plain words, which one look at all of them tells
    return [f"{name}={_value(value)}" for name, value in fields.items()]


def _value(value: Any) -> str:
    text = one_line(str(value))
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"' if _NEEDS_QUOTES.search(text) else text
