"""Writes rows of an export as CSV (RFC 4180), JSON or JSON Lines, some at a time."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from llmqd.web.api.values import encoded

Format = Literal["csv", "json", "jsonl"]

MEDIA_TYPES: dict[str, str] = {"csv": "text/csv", "json": "application/json", "jsonl": "application/x-ndjson"}
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")


def beginning(form: Format, row: type[msgspec.Struct]) -> bytes:
    """What comes before all rows, which are of this type."""
    if form == "csv":
        return _csv([list(_columns(row))])
    return b"[" if form == "json" else b""


def rendered(form: Format, rows: Iterable[msgspec.Struct], *, first: bool) -> bytes:
    """Some rows; `first` where none came before."""
    if form == "csv":
        return _csv(_cells(row) for row in rows)
    lines = [encoded(row) for row in rows]
    if form == "jsonl" or not lines:
        return b"".join(lines)
    return (b"\n" if first else b",\n") + b",\n".join([line.rstrip(b"\n") for line in lines])


def ending(form: Format) -> bytes:
    """What comes behind all rows."""
    return b"\n]\n" if form == "json" else b""


def _csv(rows: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode("utf-8", "replace")


def _columns(row: type[msgspec.Struct]) -> Iterator[str]:
    """Names of fields; what is made of parts has a column for each, `part.field`."""
    hints = get_type_hints(row)
    for field in msgspec.structs.fields(row):
        inner = _struct_of(hints.get(field.name, field.type))
        if inner is None:
            yield field.encode_name
        else:
            yield from (f"{field.encode_name}.{name}" for name in _columns(inner))


def _struct_of(kind: Any) -> type[msgspec.Struct] | None:
    """The parts that a field is made of; None where it is one value, or any number of things."""
    if get_origin(kind) in (list, tuple):
        return None
    for each in get_args(kind) or (kind,):
        if isinstance(each, type) and issubclass(each, msgspec.Struct):
            return each
    return None


def _harmless(text: str) -> str:
    """What a spreadsheet would take for a formula begins with an apostrophe: clients choose their own names."""
    return f"'{text}" if text.startswith(_FORMULAS) else text


def _cells(row: msgspec.Struct) -> list[Any]:
    cells: list[Any] = []
    hints = _hints(type(row))
    for name in row.__struct_fields__:
        value, inner = getattr(row, name), hints[name]
        if inner is not None:
            cells += [""] * len(list(_columns(inner))) if value is None else _cells(value)
        elif isinstance(value, list | tuple):
            deep = any(isinstance(each, msgspec.Struct) for each in value)
            cells.append(encoded(value).decode().strip() if deep else _harmless(",".join(map(str, value))))
        elif isinstance(value, str):
            cells.append(_harmless(value))
        elif isinstance(value, bool):
            cells.append("true" if value else "false")
        else:
            cells.append(format(value, "f") if value.__class__.__name__ == "Decimal" else value)
    return cells


_known_hints: dict[type[msgspec.Struct], dict[str, type[msgspec.Struct] | None]] = {}


def _hints(row: type[msgspec.Struct]) -> dict[str, type[msgspec.Struct] | None]:
    found = _known_hints.get(row)
    if found is None:
        hints = get_type_hints(row)
        found = _known_hints[row] = {name: _struct_of(hints[name]) for name in row.__struct_fields__}
    return found
