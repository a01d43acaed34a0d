"""Makes upstreams out of what the file, the environment and the command line say about them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from llmqd.config.address import Address, is_loopback
from llmqd.config.ca_file import fault_of
from llmqd.config.drafts import Draft, is_own_host
from llmqd.config.environment import Environment
from llmqd.config.faults import Faults, nearest
from llmqd.config.lane_limits import LIMIT_SETTINGS, lane_limits, queue_level
from llmqd.config.limits import Limits
from llmqd.config.model import Key, Queue, Upstream
from llmqd.config.net_kinds import read_url
from llmqd.config.reading import Table
from llmqd.config.secret import Secret, SecretError, SecretMissing, SecretSource, read_headers, read_source
from llmqd.providers.presets import PRESETS, RESERVED_NAMES, SIM, Preset

_AS_WRITTEN = (
    *LIMIT_SETTINGS,
    "timeout",
    "connect_timeout",
    "learn",
    "retries",
    "on_disconnect",
    "finish_within",
    "finish_max",
    "include_usage",
    "ca_file",
)
"""Settings of an upstream that need no further work."""


@dataclass(slots=True)
class UpstreamBuilder:
    """Turns drafts into upstreams, one after the other, in the light of the rest of the configuration."""

    environment: Environment
    queue: Queue
    addresses: tuple[Address, ...]
    faults: Faults

    def build_all(self, drafts: Iterable[Draft]) -> tuple[Upstream, ...]:
        """The upstreams that could be built; every fault and every missing key is reported."""
        built: dict[str, Upstream] = {}
        for draft in drafts:
            name = draft.values.get("name")
            if name is None:
                continue
            if name.lower() in RESERVED_NAMES:
                draft.report("name", f'"{name}" is the beginning of one of llmqd\'s own URLs; choose another name')
            elif name.lower() in built:
                draft.report("name", f'"{name}" is the name of two upstreams (upper and lower case are the same)')
            elif upstream := self._build(name, draft):
                built[name.lower()] = upstream
        for upstream in built.values():
            for key in upstream.keys:
                if key.missing:
                    self.faults.warn(f'upstream "{upstream.name}" has no key yet: {key.missing}')
        return tuple(built.values())

    def _build(self, name: str, draft: Draft) -> Upstream | None:
        preset = self._preset(name, draft)
        if preset is None:
            return None
        base_url = self._base_url(preset, draft)
        headers = self._headers(draft)
        ca_file = draft.values.get("ca_file")
        if ca_file is not None and (fault := fault_of(ca_file)) is not None:
            draft.report("ca_file", fault)
        values = {one: draft.values[one] for one in _AS_WRITTEN if one in draft.values}
        keys = self._keys(preset, draft)
        return Upstream(
            name=name,
            type=preset.name,
            base_url=base_url,
            api_key=keys[0].api_key if keys and not draft.keys else None,
            headers=headers,
            keys=keys,
            preset=preset,
            price_provider=preset.genai_prices if is_own_host(preset, base_url) else None,
            **values,
        )

    def _preset(self, name: str, draft: Draft) -> Preset | None:
        if "type" in draft.broken:
            return None
        written = draft.values.get("type")
        wanted = (written or name).lower()
        if wanted == SIM.name:
            return SIM
        if wanted in PRESETS:
            return PRESETS[wanted]
        hint = nearest(wanted, [*PRESETS, SIM.name])
        if written:
            draft.report("type", f'"{written}" is no known type{hint}')
        else:
            draft.report(
                "type",
                f'missing, and "{name}" is no known provider{hint}; write for example type = "openai" (what it speaks)'
                ' and base_url = "https://..." (where it is)',
            )
        return None

    def _base_url(self, preset: Preset, draft: Draft) -> str:
        if "base_url" in draft.broken:
            return ""
        base_url = draft.values.get("base_url")
        if base_url is not None:
            if preset is SIM:
                draft.report("base_url", "the simulated provider is built in and has none")
            elif _points_at(base_url, self.addresses):
                draft.report("base_url", f"{base_url} is the address that llmqd itself listens on")
            return str(base_url)
        base_url = self._base_url_from_environment(preset) or preset.base_url
        if base_url is None:
            draft.report(
                "base_url",
                f'missing; the host of type {preset.name} is not the same for everybody: base_url = "{preset.example}"',
            )
        return base_url or ""

    def _base_url_from_environment(self, preset: Preset) -> str | None:
        for variable in preset.base_url_env:
            text = self.environment.get(variable)
            if text is None:
                continue
            try:
                base_url = read_url(text)
            except ValueError as error:
                self.faults.add_elsewhere(f"environment {variable}", str(error))
                return None
            if not _points_at(base_url, self.addresses):
                return base_url
            # Shells often export it for the programs that call llmqd.
            self.faults.warn(f"environment {variable} = {base_url} is llmqd itself, so it is not taken for an upstream")
        return None

    def _keys(self, preset: Preset, draft: Draft) -> tuple[Key, ...]:
        if not draft.keys:
            secret, missing = self._own_key(preset, draft)
            limits = self._limits(preset, draft)
            return (Key(name="default", api_key=secret, limits=limits, missing=missing),)
        if "api_key" in draft.values:
            draft.report("api_key", "stands beside [[upstream.key]] tables; write either the one or the others")
        return self._key_tables(preset, draft)

    def _own_key(self, preset: Preset, draft: Draft) -> tuple[Secret | None, str | None]:
        source = draft.values.get("api_key")
        if source is None and "api_key" not in draft.broken:
            variable = next((one for one in preset.env if self.environment.get(one)), None)
            source = SecretSource("env", variable) if variable else None
        return self._secret(source, lambda text: draft.report("api_key", text)) if source else (None, None)

    def _key_tables(self, preset: Preset, draft: Draft) -> tuple[Key, ...]:
        keys: dict[str, Key] = {}
        for table in draft.keys:
            name = table.values.get("name")

            def report(text: str, setting: str = "api_key", table: Table = table) -> None:
                self.faults.add((*table.path, setting), f"{draft.title} {table.title} {setting}: {text}")

            if name is not None and name.lower() in keys:
                report(f'two keys of this upstream are named "{name}"', "name")
            source = table.values.get("api_key")
            if source is None and "api_key" not in table.broken:
                report('missing; write for example api_key = "env:SECOND_KEY"')
            secret, missing = self._secret(source, report) if source else (None, None)
            if name is not None:
                own = {one: table.values.get(one) for one in LIMIT_SETTINGS}
                limits = self._limits(preset, draft, table.values)
                keys[name.lower()] = Key(name=name, api_key=secret, missing=missing, limits=limits, **own)
        return tuple(keys.values())

    def _secret(self, source: SecretSource, report: Any) -> tuple[Secret | None, str | None]:
        try:
            return read_source(source, self.environment.variables), None
        except SecretMissing as missing:
            return None, str(missing)
        except SecretError as error:
            report(str(error))
            return None, None

    def _headers(self, draft: Draft) -> tuple[tuple[str, Secret], ...]:
        given = draft.values.get("headers", ())
        return read_headers(given, self.environment.variables, partial(draft.report, "headers"))

    def _limits(self, preset: Preset, draft: Draft, key: Mapping[str, Any] = MappingProxyType({})) -> Limits:
        return lane_limits([key, draft.values, queue_level(self.queue)], preset, draft.limits, self.faults)


def _points_at(base_url: str, addresses: Iterable[Address]) -> bool:
    """Whether a URL leads to one of llmqd's own listeners, as far as names and numbers tell."""
    parts = urlsplit(base_url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    for address in addresses:
        if address.path or address.port != port:
            continue
        everywhere = address.host in {"0.0.0.0", "::"}
        if host == address.host.lower() or (is_loopback(host) and (everywhere or address.loopback)):
            return True
    return False
