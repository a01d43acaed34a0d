"""Gathers the upstreams that were asked for: by the file, the environment and the command line, in their order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

from llmqd.config.environment import Environment
from llmqd.config.faults import Faults
from llmqd.config.model import SECTIONS
from llmqd.config.reading import Table
from llmqd.providers.presets import PRESETS, SIM, Preset

_OPTIONS = {"base_url": "--base-url", "type": "--type", "api_key": "--api-key"}
_VARIABLES = {"base_url": "LLM_BASE_URL", "type": "LLM_TYPE", "api_key": "LLM_API_KEY"}


class Report(Protocol):
    """Takes a fault: the setting it is about (empty: the whole) and what is wrong."""

    def __call__(self, setting: str, text: str) -> None: ...


@dataclass(slots=True)
class Draft:
    """An upstream as it was asked for, not yet checked."""

    values: dict[str, Any]
    report: Report
    keys: list[Table] = field(default_factory=list)
    limits: list[Table] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    title: str = ""


def draft_of(table: Table, faults: Faults) -> Draft:
    """The draft of one `[[upstream]]` table."""

    def report(setting: str, text: str) -> None:
        faults.add((*table.path, setting), f"{table.title} {setting}: {text}")

    return Draft(
        table.values, report, table.inside.get("key", []), table.inside.get("limit", []), table.broken, table.title
    )


def all_drafts(
    written: list[Table], environment: Environment, options: Mapping[str, str | None], *, has_file: bool
) -> list[Draft]:
    """Every upstream that was asked for, in order; the simulated one where there is no file and nobody asked for any.

    `options` are base_url, type and api_key of the command line.
    """
    faults = environment.faults
    drafts = [draft_of(table, faults) for table in written]
    if not drafts:
        drafts = _drafts_from_environment(environment)
    elif any(environment.get(name) for name in _VARIABLES.values()):
        faults.warn("LLM_BASE_URL, LLM_TYPE and LLM_API_KEY are not used, because the file names its upstreams")
    drafts = _first(_single_draft(options, _OPTIONS, faults), drafts)
    if not drafts and not has_file:
        drafts = [_draft_elsewhere({"name": SIM.name}, {}, "built-in defaults", faults)]
    return drafts


def _drafts_from_environment(environment: Environment) -> list[Draft]:
    """One for LLM_*, then one for each provider whose key (or, for OpenAI, base URL) is set."""
    faults = environment.faults
    drafts = []
    used: set[str] = set()
    for preset in PRESETS.values():
        variable = next((one for one in (*preset.env, *preset.base_url_env) if environment.get(one)), None)
        if variable is None or variable in used:
            continue
        used.update(preset.env, preset.base_url_env)
        if preset.base_url is None and not any(environment.get(one) for one in preset.base_url_env):
            faults.warn(
                f"{variable} is set, but the host of {preset.name} is not known: add an [[upstream]] with base_url"
            )
            continue
        drafts.append(_draft_elsewhere({"name": preset.name}, {}, f"environment {variable}", faults))
    given = {name: environment.get(variable) for name, variable in _VARIABLES.items()}
    places = {name: f"environment {variable}" for name, variable in _VARIABLES.items()}
    return _first(_single_draft(given, places, faults), drafts)


def _first(draft: Draft | None, others: list[Draft]) -> list[Draft]:
    """`draft` before the others, laid over the one of its name where there is one."""
    if draft is None:
        return others
    name = draft.values["name"].lower()
    same = next((one for one in others if str(one.values.get("name", "")).lower() == name), None)
    rest = [one for one in others if one is not same]
    return [_laid_over(draft, same) if same else draft, *rest]


def _laid_over(draft: Draft, below: Draft) -> Draft:
    given = (set(draft.values) | draft.broken) - {"name"}

    def report(setting: str, text: str) -> None:
        (draft if setting in given else below).report(setting, text)

    return Draft(
        values={**below.values, **draft.values, "name": below.values["name"]},
        report=report,
        keys=[] if "api_key" in given else below.keys,
        limits=below.limits,
        broken=draft.broken | (below.broken - given),
        title=below.title,
    )


def _single_draft(given: Mapping[str, str | None], places: Mapping[str, str], faults: Faults) -> Draft | None:
    """One upstream from a base URL, a type and a key; the type, if not given, is told by the host."""
    if not any(given.values()):
        return None
    settings = next(section for section in SECTIONS if section.name == "upstream").settings
    values: dict[str, Any] = {}
    broken = set()
    for name, text in given.items():
        if text:
            try:
                values[name] = settings[name].kind.read(text)
            except ValueError as error:
                broken.add(name)
                faults.add_elsewhere(places[name], str(error))
    told = preset_at(values["base_url"]) if "base_url" in values else None
    if told:
        values.setdefault("type", told.name)
    name = str(values.get("type", "openai")).lower()
    draft = _draft_elsewhere({"name": name, **values}, places, places["type"], faults)
    draft.broken = broken
    return draft


def _draft_elsewhere(values: dict[str, Any], places: Mapping[str, str], otherwise: str, faults: Faults) -> Draft:
    def report(setting: str, text: str) -> None:
        faults.add_elsewhere(places.get(setting, otherwise), text if setting in places else f"{setting}: {text}")

    return Draft(values, report)


def preset_at(base_url: str) -> Preset | None:
    """The provider whose own host stands in this URL."""
    return next((one for one in PRESETS.values() if one.base_url and is_own_host(one, base_url)), None)


def is_own_host(preset: Preset, base_url: str) -> bool:
    if not preset.base_url:
        return True
    known, asked = urlsplit(preset.base_url), urlsplit(base_url)
    if known.port not in (None, asked.port):  # one's own machine has many a server
        return False
    own, host = known.hostname or "", asked.hostname or ""
    return host == own or host.endswith(f".{own}")
