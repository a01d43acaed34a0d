"""Loads the configuration: file over environment, command line over both, every fault at once."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from llmqd.config.access import AccessBuilder
from llmqd.config.ca_file import fault_of
from llmqd.config.cluster import ClusterSettings
from llmqd.config.drafts import all_drafts
from llmqd.config.dsn import parse as parse_dsn
from llmqd.config.environment import Environment
from llmqd.config.faults import Faults, nearest
from llmqd.config.middleware import BUILT_IN
from llmqd.config.model import (
    SECTIONS,
    Alerts,
    Budget,
    Config,
    Guards,
    LiteLLM,
    Log,
    MiddlewareSettings,
    Price,
    Queue,
    Route,
    Sessions,
    Store,
    Telemetry,
    Upstream,
)
from llmqd.config.places import locate
from llmqd.config.reading import Table, read_tables
from llmqd.config.redis_url import RedisUrl
from llmqd.config.secret import Secret, SecretError, SecretMissing, SecretSource, read_headers, read_source
from llmqd.config.telemetry import missing_packages
from llmqd.config.upstreams import UpstreamBuilder
from llmqd.errors import ConfigError
from llmqd.plugins import MIDDLEWARE, plugin_names
from llmqd.providers.presets import PLUGIN_FAULTS

SYSTEM_FILE = Path("/etc/llmqd/llmqd.toml")
SYSTEM_STATE = Path("/var/lib/llmqd")
_TOML_POSITION = re.compile(r" \(at line (\d+), column (\d+)\)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """What the command line says; None and () leave a setting alone. Values are written as in the file.

    `base_url`, `type` and `api_key` describe one upstream, which comes first and takes the place of one of its name.
    """

    listen: tuple[str, ...] = ()
    base_url: str | None = None
    type: str | None = None
    api_key: str | None = None
    log_level: str | None = None
    state_directory: str | None = None


def load(path: Path | None, environ: Mapping[str, str], overrides: Overrides | None = None) -> Config:
    """The configuration in force. Without a file (`path` None) it comes from environment and command line alone.

    Raises ConfigError with every fault found.
    """
    document, faults = _read_file(path)
    tables = read_tables(document, faults)
    environment = Environment(environ, faults)
    overrides = overrides or Overrides()
    plain = _plain_sections(tables, environment, overrides, path)
    access = AccessBuilder(environment, faults)
    server, queue = access.server(plain["server"]), Queue(**plain["queue"])
    auth = access.auth(plain["auth"], server)
    builder = UpstreamBuilder(environment, queue, server.addresses, faults)
    options = {"base_url": overrides.base_url, "type": overrides.type, "api_key": overrides.api_key}
    drafts = all_drafts(tables["upstream"], environment, options, has_file=path is not None)
    upstreams = builder.build_all(drafts)
    routes = tuple(Route(**table.values) for table in tables["route"] if _is_whole(table))
    _check_routes(tables["route"], tables["upstream"], upstreams, faults)
    alerts = _alerts(plain["alerts"], environment, faults)
    telemetry = _telemetry(plain["telemetry"], environment, faults)
    middlewares = _middlewares(tables["middleware"], faults)
    prices = _prices(tables["price"], faults)
    budgets = _budgets(tables["budget"], faults)
    litellm = _litellm(plain["litellm"], environ, faults)
    store = _store(plain["store"], environ, faults)
    cluster = _cluster(plain["cluster"], environ, faults)
    if len(faults):
        raise ConfigError(faults.sentences())
    _warn(upstreams, path, faults)
    return Config(
        server=server,
        queue=queue,
        upstreams=upstreams,
        routes=routes,
        sessions=Sessions(**plain["sessions"]),
        store=store,
        auth=auth,
        budgets=budgets,
        guards=Guards(**plain["guards"]),
        litellm=litellm,
        middlewares=middlewares,
        alerts=alerts,
        telemetry=telemetry,
        cluster=cluster,
        log=Log(**plain["log"]),
        prices=prices,
        source=path,
        warnings=tuple(faults.warnings),
    )


def _read_file(path: Path | None) -> tuple[dict[str, Any], Faults]:
    """The parsed file and the collector that knows its lines. Raises ConfigError where it cannot be parsed at all."""
    if path is None:
        return {}, Faults("configuration")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {os.strerror(error.errno or 0)}"]) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError([f"{path} line {line}: not UTF-8 text"]) from error
    text = text.replace("\r\n", "\n")
    try:
        document = tomllib.loads(text, parse_float=Decimal)
    except RecursionError as error:
        raise ConfigError([f"{path}: brackets are nested too deeply"]) from error
    except ValueError as error:
        raise ConfigError([_syntax_fault(path, str(error), text)]) from error
    return document, Faults(str(path), locate(text))


def secret_sources(path: Path) -> list[tuple[str, SecretSource]]:
    """Where the secrets of a file come from, each with the name of its setting. Raises ConfigError."""
    document, faults = _read_file(path)
    found: list[tuple[str, SecretSource]] = []
    left = [table for tables in read_tables(document, faults).values() for table in tables]
    while left:
        table = left.pop(0)
        left += [inner for tables in table.inside.values() for inner in tables]
        for name, value in table.values.items():
            if name == "tls_certificate" and "tls_key" in table.values:
                continue  # everybody may read a certificate that stands in a file without its key
            if isinstance(value, SecretSource):
                found.append((f"{table.title} {name}", value))
            elif name == "headers":
                found += [(f"{table.title} {name} {header}", source) for header, source in value]
    return found


def _syntax_fault(path: Path, message: str, text: str) -> str:
    position = _TOML_POSITION.search(message)
    if position:
        return f"{path} line {position[1]} column {position[2]}: not TOML: {message[: position.start()]}"
    reason = message.removesuffix(" (at end of document)")
    return f"{path} line {text.count(chr(10)) + 1}: not TOML: {reason}, at the end of the file"


def _plain_sections(
    tables: Mapping[str, list[Table]], environment: Environment, overrides: Overrides, path: Path | None
) -> dict[str, dict[str, Any]]:
    """Values of the sections that stand once, all three sources laid over each other."""
    written = {section.name: tables[section.name][0] for section in SECTIONS if tables[section.name]}
    ordered = _override_values(overrides, environment.faults)
    taken = {(name, key) for name, values in ordered.items() for key in values}
    taken |= {(name, key) for name, table in written.items() for key in (*table.values, *table.broken)}
    plain = environment.values(taken)
    for name, values in plain.items():
        if name in written:
            values.update(written[name].values)
        values.update(ordered.get(name, {}))
    plain["server"].setdefault("state_directory", _state_directory(environment, path))
    return plain


def _override_values(overrides: Overrides, faults: Faults) -> dict[str, dict[str, Any]]:
    options = (
        ("--listen", "server", "listen", list(overrides.listen) or None),
        ("--state-directory", "server", "state_directory", overrides.state_directory),
        ("--log-level", "log", "level", overrides.log_level),
    )
    values: dict[str, dict[str, Any]] = {}
    sections = {section.name: section for section in SECTIONS}
    for option, section, name, given in options:
        if given is None:
            continue
        try:
            values.setdefault(section, {})[name] = sections[section].settings[name].kind.read(given)
        except ValueError as error:
            faults.add_elsewhere(option, str(error))
    return values


def _state_directory(environment: Environment, path: Path | None) -> Path:
    """$STATE_DIRECTORY is what systemd made for the unit (systemd.exec(5)): paths separated by colons."""
    given = environment.get("STATE_DIRECTORY")
    if given:
        return Path(given.split(":")[0])
    return SYSTEM_STATE if path is not None and path.absolute().parent == SYSTEM_FILE.parent else Path("var")


def _is_whole(table: Table) -> bool:
    return all(name in table.values for name, one in table.section.settings.items() if one.required)


def _check_routes(routes: list[Table], written: list[Table], built: tuple[Upstream, ...], faults: Faults) -> None:
    """An upstream that has faults of its own still counts as named, so that one slip is not told twice."""
    names = {upstream.name.lower() for upstream in built}
    names |= {str(table.values.get("name", "")).lower() for table in written}
    for table in routes:
        for index, step in enumerate(table.values.get("upstreams", ())):
            name = step.upstream
            if name.lower() not in names:
                hint = nearest(name, names) or (
                    f"; there are {', '.join(sorted(filter(None, names)))}" if any(names) else "; there is none at all"
                )
                at = (*table.path, "upstreams", index)
                faults.add(at, f'{table.title} upstreams: no upstream is named "{name}"{hint}')


def _prices(tables: list[Table], faults: Faults) -> tuple[Price, ...]:
    for table in tables:
        if not set(table.values) - {"model"} and not table.broken:
            faults.add(table.path, f"{table.title}: names no price; give at least input and output")
    return tuple(Price(**table.values) for table in tables if _is_whole(table))


def _budgets(tables: list[Table], faults: Faults) -> tuple[Budget, ...]:
    """Figures and refusals call budgets by their names, so no two have the same."""
    budgets: dict[str, Budget] = {}
    for table in tables:
        if not _is_whole(table):
            continue
        budget = Budget(**table.values)
        if budget.title.lower() in budgets:
            faults.add(table.path, f'{table.title}: there is another one named "{budget.title}"; give it a name')
        budgets[budget.title.lower()] = budget
    return tuple(budgets.values())


def _litellm(values: dict[str, Any], environ: Mapping[str, str], faults: Faults) -> LiteLLM:
    """With the address itself; without one where it is not there yet, as with the key of an upstream."""
    source = values.pop("dsn", None)
    if source is None:
        return LiteLLM(**values)
    try:
        dsn = _dsn(source, environ)
    except SecretMissing as missing:
        faults.warn(f"[litellm] dsn: {missing}; LiteLLM is not followed")
        return LiteLLM(**values)
    except ValueError as error:
        faults.add(("litellm", "dsn"), f"[litellm] dsn: {error}")
        return LiteLLM(**values)
    return LiteLLM(dsn=dsn, **values)


def _dsn(source: SecretSource, environ: Mapping[str, str]) -> Secret:
    """The address of a database. Raises SecretMissing, or ValueError for one that is none."""
    dsn = read_source(source, environ)
    parse_dsn(dsn.reveal())
    return dsn


def _store(values: dict[str, Any], environ: Mapping[str, str], faults: Faults) -> Store:
    values = dict(values)
    source = values.pop("dsn", None)
    wanted = values.get("backend") == "postgresql"
    dsn: Secret | None = None
    try:
        if source is not None:
            dsn = _dsn(source, environ)
        elif wanted:
            faults.add(
                ("store", "backend"),
                '[store] backend = "postgresql" wants to know where: write dsn = "postgresql://llmqd@host/llmqd", or'
                " env:NAME, file:/path, credential:NAME",
            )
    except SecretMissing as missing:
        if wanted:
            faults.add(("store", "dsn"), f"[store] dsn: {missing}")
    except ValueError as error:
        faults.add(("store", "dsn"), f"[store] dsn: {error}")
    return Store(dsn=dsn, **values)


def _cluster(values: dict[str, Any], environ: Mapping[str, str], faults: Faults) -> ClusterSettings:
    """With the address itself. One that is not there is a fault: alone, each daemon would use all of the limits."""
    source = values.pop("redis", None)
    try:
        redis = None if source is None else read_source(source, environ)
        if redis is not None:
            RedisUrl(redis.reveal())
    except ValueError as error:
        faults.add(("cluster", "redis"), f"[cluster] redis: {error}")
        return ClusterSettings(**values)
    return ClusterSettings(redis=redis, **values)


def _middlewares(tables: list[Table], faults: Faults) -> tuple[MiddlewareSettings, ...]:
    known = (*BUILT_IN, *plugin_names(MIDDLEWARE))
    for table in tables:
        name = table.values.get("type")
        if name is not None and name not in known:
            faults.add(
                (*table.path, "type"), f'{table.title} type: no middleware is named "{name}"{nearest(name, known)}'
            )
        if name in BUILT_IN and table.values.get("options"):
            faults.add((*table.path, "options"), f"{table.title} options: are for plug-ins; {name} has settings")
    return tuple(MiddlewareSettings(**table.values) for table in tables if _is_whole(table))


def _alerts(values: dict[str, Any], environment: Environment, faults: Faults) -> Alerts:
    """The section with its secrets read."""
    read = dict(values)
    for name in ("webhook", "webhook_secret"):
        if (source := values.get(name)) is None:
            continue
        try:
            read[name] = read_source(source, environment.variables)
        except SecretError as error:
            faults.add(("alerts", name), f"[alerts] {name}: {error}")
            del read[name]
    url = read.get("webhook")
    if url is not None and not url.reveal().startswith(("http://", "https://")):
        faults.add(("alerts", "webhook"), "[alerts] webhook: must be a URL that begins with https:// or http://")
    return Alerts(**read)


def _telemetry(values: dict[str, Any], environment: Environment, faults: Faults) -> Telemetry:
    """The section with its secrets read. Where traces are wanted, what sends them has to be there."""
    headers = read_headers(
        values.pop("headers", ()),
        environment.variables,
        lambda text: faults.add(("telemetry", "headers"), f"[telemetry] headers: {text}"),
    )
    telemetry = Telemetry(**values, headers=headers)
    if telemetry.endpoint is not None and (missing := missing_packages()) is not None:
        faults.add(("telemetry", "endpoint"), f"[telemetry] endpoint: {missing}")
    if telemetry.ca_file is not None and (fault := fault_of(telemetry.ca_file)) is not None:
        faults.add(("telemetry", "ca_file"), f"[telemetry] ca_file: {fault}")
    return telemetry


def _warn(upstreams: tuple[Upstream, ...], path: Path | None, faults: Faults) -> None:
    for fault in PLUGIN_FAULTS:
        faults.warn(fault)
    if not upstreams:
        faults.warn(
            f"no upstream is configured, so no call can be forwarded: add an [[upstream]] to {path}"
            " or set the key of a provider in the environment, for example OPENAI_API_KEY"
        )
