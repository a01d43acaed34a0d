"""How a setting is defined: one dataclass field that carries its kind, default and meaning."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from llmqd.config.kinds import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting: `written` is its default as it would stand in the file, None where it has none.

    `example` stands in the sample file in place of a default that is absent or depends on the machine.
    """

    name: str
    kind: Kind
    help: str
    written: object = None
    example: object = None
    required: bool = False


def setting(kind: Kind, written: object, help: str, *, example: object = None) -> Any:
    """A dataclass field for one setting. `written` is the default as written in the file, None for no default."""
    default = None if written is None else kind.read(written)
    return field(default=default, metadata=_metadata(kind, help, written=written, example=example))


def required(kind: Kind, help: str, *, example: object) -> Any:
    """A dataclass field for a setting that has no default and must be written."""
    return field(metadata=_metadata(kind, help, example=example, required=True))


def _metadata(kind: Kind, help: str, **more: Any) -> Mapping[str, Any]:
    return {"setting": {"kind": kind, "help": help, **more}}


def settings_of(model: type[Any]) -> Mapping[str, Setting]:
    """The settings of a section's class by name, its own before those that it inherits.

    Fields that the loader works out are not among them.
    """
    own = inspect.get_annotations(model)
    fields = [one for one in dataclasses.fields(model) if "setting" in one.metadata]
    return MappingProxyType(
        {
            one.name: Setting(name=one.name, **one.metadata["setting"])
            for one in sorted(fields, key=lambda one: one.name not in own)
        }
    )
