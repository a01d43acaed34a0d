"""Every setting, defined once: its type, default, meaning; and the frozen sections that the daemon is built from.

The check, the sample file, `describe` and the documentation all read these definitions. Durations are seconds, sizes
bytes. A limit of 0 means none.
"""

# ruff: noqa: RUF009 - setting() makes a dataclass field, as dataclasses.field() does

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from llmqd.call import Dialect
from llmqd.config.address import Address, parse_address
from llmqd.config.alerts import Alerts as Alerts
from llmqd.config.auth import Auth as Auth
from llmqd.config.browser_kinds import HostName, Origin
from llmqd.config.budgets import Budget as Budget
from llmqd.config.cluster import ClusterSettings as ClusterSettings
from llmqd.config.guards import Guards as Guards
from llmqd.config.kinds import Choice, Duration, FilePath, Flag, Integer, Listing, Money, Size, Text
from llmqd.config.limits import DefaultLimits, ModelLimit, OwnLimits
from llmqd.config.limits import Limits as Limits
from llmqd.config.litellm import LiteLLM as LiteLLM
from llmqd.config.middleware import MiddlewareSettings as MiddlewareSettings
from llmqd.config.net_kinds import HeaderName, Headers, ListenAddress, Name, SecretFile, SecretText, Url
from llmqd.config.routes import Route as Route
from llmqd.config.secret import Secret
from llmqd.config.sessions import FORMER_NAMES
from llmqd.config.sessions import Sessions as Sessions
from llmqd.config.setting import Setting, required, setting, settings_of
from llmqd.config.store import Store as Store
from llmqd.config.telemetry import Telemetry as Telemetry
from llmqd.providers.presets import SIM, Preset

FRAMING_HEADERS = (
    "connection",
    "content-encoding",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
)
"""Headers that belong to one connection or describe the body (RFC 9110 section 7.6.1); no setting may send them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where llmqd listens and what it accepts."""

    listen: tuple[str, ...] = setting(
        Listing(ListenAddress(), least=1),
        ["127.0.0.1:8080"],
        'Addresses to listen on: "host:port", "[::1]:8080", "unix:/path", or "tls:host:port" for HTTPS.',
    )
    tls_certificate: Path | None = setting(
        SecretFile(),
        None,
        "Certificate of the tls: addresses, with its chain (PEM): file:/path or credential:NAME. A reload reads it.",
        example="file:/etc/llmqd/tls.crt",
    )
    tls_key: Path | None = setting(
        SecretFile(),
        None,
        "Its private key (PEM), without a password. Unset: it stands in the file of the certificate.",
        example="credential:tls.key",
    )
    max_body: int = setting(Size(), "512MiB", "Largest request body accepted; larger ones get 413. 0: no limit.")
    spool_above: int = setting(
        Size(), "1MiB", "Request bodies larger than this wait for their turn on disk, not in memory."
    )
    max_header: int = setting(Size(least=8192), "64KiB", "Largest header field accepted, and the longest request line.")
    client_timeout: float = setting(
        Duration(),
        "5m",
        "How long a client may be silent in the middle of a request or before its first one, and how long it may take\n"
        "nothing of its answer (not on unix sockets); then its connection is closed. 0: for ever.",
    )
    shutdown_grace: float = setting(
        Duration(), "90s", "How long running calls may go on after a stop was asked for; then they are cut."
    )
    allowed_origins: tuple[str, ...] = setting(
        Listing(Origin()),
        [],
        'Web pages that may call from a browser (CORS), as origins: "https://example.org"; "*" is any. Empty: none.',
    )
    allowed_hosts: tuple[str, ...] = setting(
        Listing(HostName()),
        [],
        "Public names that a Host may have in mode open, for a reverse proxy that keeps them; others may be those of\n"
        'web pages (DNS rebinding). Addresses, and names that only local networks have, always pass. "*" is any.',
        example=["llm.example.org"],
    )
    proxy_from_environment: bool = setting(
        Flag(), False, "Whether calls to upstreams use HTTPS_PROXY, HTTP_PROXY and NO_PROXY."
    )
    state_directory: Path = setting(
        FilePath(),
        "var",
        "Where the database, the journal and waiting bodies lie. Unset: $STATE_DIRECTORY if set, else /var/lib/llmqd\n"
        "for a configuration in /etc/llmqd, else ./var.",
        example="/var/lib/llmqd",
    )

    @property
    def addresses(self) -> tuple[Address, ...]:
        """`listen`, taken apart."""
        return tuple(parse_address(text) for text in self.listen)


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue(DefaultLimits):
    """How calls wait; the limits are those of every upstream key that sets none of its own."""

    max_waiting: int = setting(
        Integer(), 10000, "Calls that may wait in one lane; the next is refused with 429 queue_full. 0: no limit."
    )
    max_waiting_bytes: int = setting(
        Size(), "256MiB", "Memory that the bodies of waiting calls may take in one lane. 0: no limit."
    )
    max_wait: float = setting(
        Duration(), "10m", "Longest wait for a turn; then the call is refused with 429 deadline_exceeded. 0: no limit."
    )
    priority: str = setting(
        Choice(("high", "normal", "low", "batch"), digits=True),
        "normal",
        "Priority of calls that name none: high, normal, low, batch, or 0 (first) to 9.",
    )
    fair_by: str = setting(
        Choice(("key", "session", "user", "agent", "none")),
        "key",
        "Who shares fairly: within a priority each client key, session, user or agent gets as many turns as any other\n"
        "(by weight, where keys have one), however many calls it has waiting. A call without what is asked for goes\n"
        "by the first it has of client key, user, agent, session, address. none: first come, first served.",
    )
    heartbeat: float = setting(
        Duration(),
        "0s",
        "How long a streaming call waits in silence; then it gets its 200 and headers ahead of its turn, and a blank\n"
        "line every heartbeat_every, so that no timer for silence cuts it (many clients and proxies: 60s to 5m).\n"
        "The price: a failure after that comes inside the stream, where no SDK retries it, and its status is lost;\n"
        "and agents that wait for events, not bytes (Codex 5m, Claude Code 10m), give up all the same. So as late as\n"
        'the clients can bear, for example "45s". 0: never.',
    )
    heartbeat_every: float = setting(
        Duration(least=0.01),
        "15s",
        "Time between the blank lines of a heartbeat; shorter than the shortest such timer on the way.",
    )
    ageing: float = setting(
        Duration(),
        "5m",
        "Time within which a call gets a turn even if calls of higher priority never cease: near its end the call's\n"
        "priority gets every second turn. 0: never.",
    )
    max_waiting_per_flow: int = setting(
        Integer(), 0, "As max_waiting, for each of those that fair_by tells apart. 0: no limit."
    )
    max_waiting_bytes_per_flow: int = setting(
        Size(), 0, "As max_waiting_bytes, for each of those that fair_by tells apart. 0: no limit."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Key(OwnLimits):
    """One of several keys of an upstream, with a lane and limits of its own."""

    name: str = required(Name(), "Name of the key in logs, metrics and the queue.", example="second")
    api_key: Secret | None = setting(
        SecretText(),
        None,
        "The key: env:NAME, file:/path, credential:NAME or the text itself.",
        example="env:SECOND_KEY",
    )

    limits: Limits = Limits()
    """What is in force after the upstream's and the queue's settings."""
    missing: str | None = None
    """What keeps this key from being usable, as a sentence; None when it is there or when none is wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream(OwnLimits):
    """A provider that calls are forwarded to."""

    name: str = required(
        Name(),
        "Name in URLs (/name/v1/...), logs and metrics. The name of a known provider is enough.",
        example="openai",
    )
    type: str = setting(
        Name(),
        None,
        "What it speaks: openai, anthropic, gemini, ollama, or the name of a known provider (GET /providers lists\n"
        "them), or sim for the built-in simulated one. Unset: as the name.",
        example="openai",
    )
    base_url: str = setting(
        Url(), None, "Where it is. Unset: the known address of its type.", example="https://api.openai.com"
    )
    api_key: Secret | None = setting(
        SecretText(),
        None,
        "The key sent in place of the client's: env:NAME, file:/path, credential:NAME or the text itself.\n"
        "Unset: the provider's usual environment variable; without that, the client's own key passes.",
        example="env:OPENAI_API_KEY",
    )
    timeout: float = setting(
        Duration(), "10m", "Longest silence of the upstream, before and during its answer. 0: no limit."
    )
    connect_timeout: float = setting(Duration(), "10s", "Longest time to connect, TLS included. 0: no limit.")
    learn: bool = setting(
        Flag(),
        True,
        "Whether limits are learned from the answers: only ever lower than what is set, and found where nothing is.",
    )
    retries: int = setting(
        Integer(most=10),
        2,
        "How often a call that failed before its answer began (connection, 408, 409, 5xx) is sent again. A call that\n"
        "was refused for want of quota waits for its next turn instead, within max_wait.",
    )
    on_disconnect: str = setting(
        Choice(("cancel", "finish")),
        "cancel",
        "When a client leaves before its answer has ended: cancel stops the upstream at once (its cost can then only\n"
        "be estimated), finish reads the answer to its end, so that tokens, cost and text are exact and paid for.",
    )
    finish_within: float = setting(
        Duration(least=0.01), "2m", "With finish: how long an answer is read for nobody; then the upstream is stopped."
    )
    finish_max: int = setting(Size(least=1), "16MiB", "With finish: how many bytes of it are read at most.")
    include_usage: bool | None = setting(
        Flag(),
        None,
        "Whether stream_options.include_usage is added to OpenAI chat streams that did not ask for it (and the extra\n"
        "chunk taken out again), so that their tokens are exact. Unset: as suits the provider.",
        example=True,
    )
    ca_file: Path | None = setting(
        FilePath(),
        None,
        "Certificates (PEM) to trust instead of the system's.",
        example="/etc/ssl/certs/ca-certificates.crt",
    )
    headers: tuple[tuple[str, Secret], ...] = setting(
        Headers(HeaderName(taken=FRAMING_HEADERS)),
        {},
        'Extra request headers; values may be secrets: { OpenAI-Project = "env:PROJECT" }.',
    )

    keys: tuple[Key, ...] = ()
    """At least one: the `[[upstream.key]]` tables, or one named `default` with the upstream's own `api_key`."""
    preset: Preset = SIM
    """What is known of its type."""
    price_provider: str | None = None
    """Its id in genai-prices; None where the address is not the provider's own."""

    @property
    def dialect(self) -> Dialect:
        """The wire format it speaks."""
        return self.preset.dialect

    @property
    def adds_usage(self) -> bool:
        """`include_usage` in force."""
        return self.preset.include_usage if self.include_usage is None else self.include_usage

    @property
    def missing(self) -> str | None:
        """The first key that is not there, as a sentence."""
        return next((key.missing for key in self.keys if key.missing), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """What is logged and how."""

    level: str = setting(
        Choice(("debug", "info", "warning", "error")), "info", "Least important level shown: debug info warning error."
    )
    format: str = setting(
        Choice(("auto", "text", "json", "journal")),
        "auto",
        "text, json (one object a line), journal (fields for journald), or auto: journal under systemd, else text.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """A price of your own for some models, before the built-in price list; the first match decides."""

    model: str = required(Text(), "Model name; * and ? stand for any text.", example="my-model-*")
    input: Decimal | None = setting(Money(), None, "USD per million input tokens.", example=2.5)
    output: Decimal | None = setting(Money(), None, "USD per million output tokens.", example=10.0)
    cache_read: Decimal | None = setting(
        Money(), None, "USD per million input tokens read from the provider's cache. Unset: as input.", example=1.25
    )
    cache_write: Decimal | None = setting(
        Money(), None, "USD per million input tokens written to the provider's cache. Unset: as input.", example=2.5
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The whole configuration in force. `source` is the file it came from, None without one."""

    server: Server = Server()
    queue: Queue = Queue()
    upstreams: tuple[Upstream, ...] = ()
    routes: tuple[Route, ...] = ()
    sessions: Sessions = Sessions()
    store: Store = Store()
    auth: Auth = Auth()
    budgets: tuple[Budget, ...] = ()
    guards: Guards = Guards()
    litellm: LiteLLM = LiteLLM()
    middlewares: tuple[MiddlewareSettings, ...] = ()
    alerts: Alerts = Alerts()
    telemetry: Telemetry = Telemetry()
    cluster: ClusterSettings = ClusterSettings()
    log: Log = Log()
    prices: tuple[Price, ...] = ()
    source: Path | None = None
    warnings: tuple[str, ...] = ()
    """What is worth knowing but stops nothing, as sentences."""

    def upstream(self, name: str) -> Upstream | None:
        """The upstream of that name, in any case."""
        return next((one for one in self.upstreams if one.name.lower() == name.lower()), None)

    @property
    def database(self) -> Path:
        """Where the database lies."""
        return self.server.state_directory / self.store.path


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the file: `[name]`, or `[[name]]` where it is `repeated`; `attribute` names it in Config.

    `inside` holds the tables that belong to one of it, such as `[[upstream.key]]`, `former` the names under which other
    programs have its settings: they are understood with a warning, and None stands for one that means nothing here.
    """

    name: str
    model: type[Any]
    attribute: str
    repeated: bool = False
    inside: tuple[Section, ...] = ()
    former: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def settings(self) -> Mapping[str, Setting]:
        """Its settings by name, in their order."""
        return settings_of(self.model)

    def title(self, prefix: str = "") -> str:
        """Its header as written in the file."""
        return f"[[{prefix}{self.name}]]" if self.repeated else f"[{prefix}{self.name}]"


_INSIDE_UPSTREAM = (
    Section("key", Key, "keys", repeated=True),
    Section("limit", ModelLimit, "model_limits", repeated=True),
)

SECTIONS: tuple[Section, ...] = (
    Section("server", Server, "server"),
    Section("queue", Queue, "queue"),
    Section("upstream", Upstream, "upstreams", repeated=True, inside=_INSIDE_UPSTREAM),
    Section("route", Route, "routes", repeated=True),
    Section("sessions", Sessions, "sessions", former=FORMER_NAMES),
    Section("store", Store, "store"),
    Section("auth", Auth, "auth"),
    Section("budget", Budget, "budgets", repeated=True),
    Section("guards", Guards, "guards"),
    Section("litellm", LiteLLM, "litellm"),
    Section("middleware", MiddlewareSettings, "middlewares", repeated=True),
    Section("alerts", Alerts, "alerts"),
    Section("telemetry", Telemetry, "telemetry"),
    Section("cluster", ClusterSettings, "cluster"),
    Section("log", Log, "log"),
    Section("price", Price, "prices", repeated=True),
)
"""Every section, in the order of the sample file."""
