"""Reads the tables of the file by the definitions of the settings; whatever does not fit becomes a fault."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import orjson

from llmqd.config.faults import Faults, nearest
from llmqd.config.kinds import ItemError
from llmqd.config.middleware import Options
from llmqd.config.model import SECTIONS, Section
from llmqd.config.net_kinds import Headers, SecretFile, SecretText, Url
from llmqd.config.places import Path
from llmqd.config.setting import Setting

_HIDDEN_KINDS = (SecretText, SecretFile, Headers, Url, Options)
"""Kinds whose values may hold a secret, so that a fault never repeats them."""
_LONGEST_SHOWN = 80
_LONGEST_INTEGER = 64
"""Bits of an integer that is written in decimal."""


@dataclass(slots=True)
class Table:
    """One table of the file: the values that were given and could be read, and the tables inside it."""

    section: Section
    title: str
    path: Path
    values: dict[str, Any] = field(default_factory=dict)
    inside: dict[str, list[Table]] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    """Settings that were given but could not be read."""


def read_tables(document: Mapping[str, Any], faults: Faults) -> dict[str, list[Table]]:
    """Every section of the document by name; a plain section has one table at most."""
    known = {section.name: section for section in SECTIONS}
    tables: dict[str, list[Table]] = {name: [] for name in known}
    for name, value in document.items():
        if name in known:
            tables[name] = _read_section(known[name], value, (name,), "", faults)
        elif isinstance(value, dict) or (isinstance(value, list) and value and isinstance(value[0], dict)):
            faults.add((name,), f"[{name}]: unknown section{nearest(name, known)}")
        else:
            homes = [section.title() for section in SECTIONS if name in section.settings]
            hint = f"; it belongs below {' or '.join(homes)}" if homes else nearest(name, known)
            faults.add((name,), f"{name}: stands outside of any section{hint}")
    return tables


def _read_section(section: Section, value: object, path: Path, prefix: str, faults: Faults) -> list[Table]:
    title = section.title(prefix)
    if not section.repeated:
        if isinstance(value, dict):
            return [_read_table(section, value, path, title, faults)]
        faults.add(path, f"{section.name}: must be a section, written {title}")
        return []
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        faults.add(path, f"[{prefix}{section.name}]: there can be several of these; write {title} with double brackets")
        return []
    return [
        _read_table(section, one, (*path, index), _numbered(title, one, index, len(value)), faults)
        for index, one in enumerate(value)
    ]


def _numbered(title: str, table: Mapping[str, Any], index: int, count: int) -> str:
    name = table.get("name", table.get("model"))
    if isinstance(name, str) and name.isprintable() and len(name) <= _LONGEST_SHOWN:
        return f'{title} "{name}"'
    return f"{title} number {index + 1}" if count > 1 else title


def _read_table(section: Section, raw: Mapping[str, Any], path: Path, title: str, faults: Faults) -> Table:
    table = Table(section, title, path)
    settings = section.settings
    inside = {one.name: one for one in section.inside}
    for key, value in raw.items():
        here = (*path, key)
        if key in settings:
            _read_setting(settings[key], value, here, table, faults)
        elif key in section.former:
            _read_former(key, raw, here, table, faults)
        elif key in inside:
            table.inside[key] = _read_section(inside[key], value, here, f"{section.name}.", faults)
        else:
            faults.add(here, f"{title} {key}: unknown setting{_suggestion(key, section)}")
    for setting in settings.values():
        if setting.required and setting.name not in raw:
            faults.add(
                path, f"{title} {setting.name}: missing; write for example {setting.name} = {written(setting.example)}"
            )
    return table


def _read_setting(setting: Setting, value: object, here: Path, table: Table, faults: Faults) -> None:
    try:
        table.values[setting.name] = setting.kind.read(value)
    except ValueError as error:
        table.broken.add(setting.name)
        at = (*here, error.index) if isinstance(error, ItemError) else here
        faults.add(at, f"{table.title} {setting.name}{shown(setting, value)}: {error}")


def _read_former(key: str, raw: Mapping[str, Any], here: Path, table: Table, faults: Faults) -> None:
    """A setting under the name that it has elsewhere; a bare number of seconds is a duration there."""
    name, value = table.section.former[key], raw[key]
    if name is None:
        faults.warn(f"{table.title} {key} means nothing here and can be left out")
    elif name in raw:
        faults.add(here, f"{table.title} {key}: is {name} here, which is set too")
    else:
        faults.warn(f"{table.title} {key} is {name} here")
        seconds = key.endswith("_seconds") and isinstance(value, int | Decimal) and not isinstance(value, bool)
        _read_setting(table.section.settings[name], f"{value}s" if seconds else value, here, table, faults)


def _suggestion(key: str, section: Section) -> str:
    near = nearest(key, [*section.settings, *(one.name for one in section.inside)])
    if near:
        return near
    homes = [one.title() for one in SECTIONS if key in one.settings]
    return f"; there is one of that name in {' and '.join(homes)}" if homes else ""


def shown(setting: Setting, value: object) -> str:
    """` = value` as it stands in the file, or nothing where it may hold a secret or is too long to help."""
    if isinstance(setting.kind, _HIDDEN_KINDS):
        return ""
    text = written(value)
    return f" = {text}" if len(text) <= _LONGEST_SHOWN else ""


def written(value: object) -> str:
    """A value as TOML writes it."""
    if isinstance(value, str):
        return orjson.dumps(value).decode()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return f"[{', '.join(written(item) for item in value)}]"
    if isinstance(value, dict):
        inner = ", ".join(f"{key} = {written(item)}" for key, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, int) and value.bit_length() > _LONGEST_INTEGER:
        return hex(value)  # Python refuses to write so many digits in decimal
    return str(value)
