"""Works out the limits of each lane from what [queue], the upstream, its key and the provider's preset say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llmqd.config.faults import Faults
from llmqd.config.kinds import Zone
from llmqd.config.limits import DIMENSIONS, POLITE_RATE, Limits, ModelGroup, OwnLimits
from llmqd.config.model import Queue
from llmqd.config.reading import Table
from llmqd.config.setting import settings_of
from llmqd.providers.presets import Preset

LIMIT_SETTINGS = tuple(settings_of(OwnLimits))
"""The names of all settings of limits."""


def queue_level(queue: Queue) -> dict[str, Any]:
    """What [queue] sets, fit to be the last of the levels of `lane_limits`."""
    return _set_values({name: getattr(queue, name) for name in LIMIT_SETTINGS})


def lane_limits(levels: Sequence[Mapping[str, Any]], preset: Preset, groups: Sequence[Table], faults: Faults) -> Limits:
    """The limits of one lane. Of each setting the first level that has it decides, then the preset.

    `groups` are the upstream's `[[upstream.limit]]` tables; what is wrong with them is reported.
    """
    values: dict[str, Any] = {
        "reserve_output": preset.reserve_output,
        "count_cached": preset.count_cached,
        "day_zone": preset.day_zone,
        "algorithm": preset.algorithm,
    }
    for level in reversed(levels):
        values |= _set_values({name: level.get(name) for name in LIMIT_SETTINGS})
    if "requests_per_minute" not in values:
        values["assumed"] = not values.get("requests_per_second")
        values["requests_per_minute"] = POLITE_RATE if values["assumed"] else 0.0
    limits = Limits(**values)
    if limits.requests_per_day:
        _check_zone(limits.day_zone, faults)
    return Limits(**values, groups=_groups(groups, limits, faults))


def _groups(tables: Sequence[Table], around: Limits, faults: Faults) -> tuple[ModelGroup, ...]:
    """One group for each name; tables of one name share their limits, so they must not contradict each other."""
    models: dict[str, list[str]] = {}
    shared: dict[str, dict[str, Any]] = {}
    for table in tables:
        patterns = table.values.get("models")
        if not patterns:
            continue
        name = table.values.get("name") or patterns[0]
        own = _set_values({one: table.values.get(one) for one in LIMIT_SETTINGS})
        _check_table(table, name, own, shared.get(name), around, faults)
        models.setdefault(name, []).extend(patterns)
        shared.setdefault(name, {}).update(own)
    inherited: dict[str, Any] = {name: getattr(around, name) for name in LIMIT_SETTINGS if name not in DIMENSIONS}
    inherited |= dict.fromkeys(DIMENSIONS, 0)
    return tuple(
        ModelGroup(name, tuple(dict.fromkeys(patterns)), Limits(**(inherited | shared[name])))
        for name, patterns in models.items()
    )


def _check_table(
    table: Table, name: str, own: Mapping[str, Any], same: Mapping[str, Any] | None, around: Limits, faults: Faults
) -> None:
    if same is None and not any(own.get(one) for one in DIMENSIONS) and not table.broken:
        faults.add(table.path, f"{table.title}: sets no limit; give at least one, for example requests_per_minute = 60")
    for setting, value in own.items():
        other = (same or {}).get(setting, value)
        if other != value:
            faults.add(
                (*table.path, setting),
                f'{table.title} {setting} = {value}: another table named "{name}", with which this one shares its'
                f" limits, has {other}",
            )
    for one in DIMENSIONS:
        outer = around.limit(one)
        if outer and own.get(one, 0) > outer and not (one == "requests_per_minute" and around.assumed):
            faults.warn(
                f"{table.title} {one} = {own[one]:g} is never reached: all models of the key together have {outer:g}"
            )
    if own.get("requests_per_day") and "day_zone" not in table.broken:
        _check_zone(own.get("day_zone", around.day_zone), faults)


def _check_zone(name: str, faults: Faults) -> None:
    """A zone that was written has been read already; a preset's own may still be unknown to this machine."""
    try:
        Zone().read(name)
    except ValueError as error:
        faults.add_elsewhere("day_zone", f"{name}: {error}")


def _set_values(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
