"""Shows a configuration in force as plain data, for people and for `GET /config`; secrets only as set or not set."""

from __future__ import annotations

from typing import Any

from llmqd.config.limits import Limits, OwnLimits
from llmqd.config.model import SECTIONS, Config, Key, Section, Upstream
from llmqd.config.net_kinds import SecretFile, SecretText
from llmqd.config.setting import settings_of

_SECRETS = (SecretFile, SecretText)


def describe(config: Config) -> dict[str, Any]:
    """Every setting by section, written as in the file (durations "10m", sizes "1MiB"); null where it has no value."""
    shown: dict[str, Any] = {"source": str(config.source) if config.source else None}
    for section in SECTIONS:
        part = getattr(config, section.attribute)
        shown[section.attribute] = [_show(section, one) for one in part] if section.repeated else _show(section, part)
    shown["warnings"] = list(config.warnings)
    return shown


def _show(section: Section, part: Any) -> dict[str, Any]:
    shown = {}
    for name, setting in section.settings.items():
        value = getattr(part, name)
        shown[name] = setting.kind.show(value) if value is not None or isinstance(setting.kind, _SECRETS) else None
    if isinstance(part, Upstream):
        shown.update(_show_upstream(part, section.inside[0]))
    elif isinstance(part, Key):
        shown.update(limits=_limits(part.limits), missing=part.missing)
    return shown


def _show_upstream(upstream: Upstream, key_section: Section) -> dict[str, Any]:
    """What was worked out from the settings: everything that is really in force."""
    return {
        "dialect": upstream.dialect,
        "include_usage": upstream.adds_usage,
        "keys": [_show(key_section, key) for key in upstream.keys],
    }


def _limits(limits: Limits, *, inner: bool = False) -> dict[str, Any]:
    """What holds in a lane, or, `inner`, for one group of its models."""
    shown: dict[str, Any] = {name: one.kind.show(getattr(limits, name)) for name, one in settings_of(OwnLimits).items()}
    if not inner:
        shown["assumed"] = limits.assumed
        shown["groups"] = [
            {"name": group.name, "models": list(group.models), "limits": _limits(group.limits, inner=True)}
            for group in limits.groups
        ]
    return shown
