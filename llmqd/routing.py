"""Which upstream a call goes to, which session its URL names, and the URL that the upstream sees."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from llmqd.errors import MissingEndpoint, NotFound, UnknownUpstream
from llmqd.memo import Memo
from llmqd.providers.presets import RESERVED_NAMES

if TYPE_CHECKING:
    from llmqd.call import Dialect
    from llmqd.config.model import Config, Upstream
    from llmqd.config.routes import Step
    from llmqd.providers.operations import Operation

UNIFIED = frozenset({"v1", "v1beta", "v1alpha"})
"""First path segments of calls that name no upstream."""
_SESSION = re.compile(r"^(/v1)?/session(?:/([^/]+|(?=/))|_([^/]+))(/.*)?$")
_EMPTY_SESSION = re.compile(r"^(/v1)?/session/*$")

_REMEMBERED, _LONGEST_MODEL = 1024, 256
"""How many choices of upstreams are remembered, and of how many characters a model at most is for that."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a request URL says: the upstream by name (None: to be chosen), the session, and the path to forward.

    `path` is raw, exactly as the client sent it except for the parts that are llmqd's own.
    """

    path: str
    upstream: str | None = None
    session: str | None = None


def split_session(path: str) -> tuple[str | None, str]:
    """Takes a session out of a path: `/v1/session/{id}/tail` gives (id, `/v1/tail`).

    Also `/session/{id}/tail` and `/v1/session_{id}/tail`. The id is percent-decoded (bytes that are not UTF-8 become
    surrogates), the tail stays raw. A path without a session comes back unchanged; a session without a tail gives the
    bare prefix with a slash.
    """
    found = _SESSION.match(path)
    if not found:
        return None, path
    prefix, by_slash, by_underscore, tail = found.groups()
    session = unquote(by_slash if by_underscore is None else by_underscore, errors="surrogateescape")
    return session, (prefix or "") + (tail or "/")


def parse_target(raw_path: str, upstreams: frozenset[str]) -> Target:
    """Reads a request path (raw, without query). `upstreams` are the configured names in lower case.

    Raises UnknownUpstream, MissingEndpoint, or NotFound for one of llmqd's own URLs that does not exist.
    """
    first, _, rest = raw_path[1:].partition("/")
    upstream = None
    path = raw_path
    if first.lower() in upstreams:
        upstream, path = first.lower(), "/" + rest
    elif first in RESERVED_NAMES and first not in UNIFIED:
        raise NotFound(f"{raw_path} is not a URL of llmqd")
    elif first not in UNIFIED and not (first == "upload" and rest.startswith(("v1beta/", "v1alpha/"))):
        known = ", ".join(sorted(upstreams)) or "none"
        raise UnknownUpstream(f"{first!r} is not a configured upstream; configured: {known}")
    session, path = split_session(path)
    if (session is not None and path in ("/", "/v1/")) or _EMPTY_SESSION.match(path):
        raise MissingEndpoint(
            "Missing OpenAI endpoint. Use format: /v1/session/{session_id}/chat/completions, "
            "or any other API path behind the session id"
        )
    while path.startswith("/v1/v1/"):  # a base_url with /v1 given to an SDK that adds its own
        path = path[3:]
    return Target(path, upstream, session)


class Hop(NamedTuple):
    """An upstream that a call may go to, and the model to ask it for; None: the one that the call asks for."""

    upstream: Upstream
    model: str | None = None


_Asked = tuple[str | None, "Dialect | None", str | None]
"""An upstream's name, a dialect and a model."""


class Routing:
    """The upstreams and routes of one configuration: answers which upstreams serve a call, always the same."""

    def __init__(self, config: Config) -> None:
        self._upstreams = {upstream.name.lower(): upstream for upstream in config.upstreams}
        self._routes = config.routes
        self.names = frozenset(self._upstreams)
        self._hops: Memo[_Asked, tuple[Hop, ...]] = Memo(_REMEMBERED)

    def hops(self, target: Target, operation: Operation, model: str | None) -> tuple[Hop, ...]:
        """Where a call goes: first of all, and then in order where it may go when that upstream cannot serve it.

        The upstream by the URL's name, else those of the model's route, else the first that speaks the path's dialect,
        else the first of all. Raises UnknownUpstream when none is configured.
        """
        asked = target.upstream, operation.dialect, model if self._routes else None
        hops = self._hops.get(asked)
        if hops is None:
            hops = tuple(self._chosen(*asked))
            if model is None or len(model) <= _LONGEST_MODEL:
                self._hops.keep(asked, hops)
        return hops

    def _chosen(self, name: str | None, dialect: Dialect | None, model: str | None) -> list[Hop]:
        if name is not None:
            return [Hop(self._upstreams[name])]
        if not self._upstreams:
            raise UnknownUpstream(
                "no upstream is configured: add [[upstream]] to the configuration, or put a provider key "
                "such as OPENAI_API_KEY into the environment, and restart or reload"
            )
        if model is not None:
            for route in self._routes:
                if fnmatchcase(model, route.model):
                    return [self._hop(step, model) for step in route.upstreams]
        if dialect is not None:
            for upstream in self._upstreams.values():
                if upstream.dialect == dialect:
                    return [Hop(upstream)]
        return [Hop(next(iter(self._upstreams.values())))]

    def _hop(self, step: Step, asked: str) -> Hop:
        return Hop(self._upstreams[step.upstream.lower()], step.model if step.model != asked else None)


def upstream_url(upstream: Upstream, target: Target, operation: Operation, query: str) -> str:
    """The URL to call, still percent-encoded as the client sent it. The host comes from the configuration alone.

    On the common routes (`/v1/...`) `/v1` stands for the place where this provider keeps its OpenAI-style API (Groq:
    `/openai/v1`); below the upstream's own name the path is taken as it is. A `/v1` that both the base URL and the
    path carry is kept once.
    """
    path = target.path
    if target.upstream is None and operation.dialect in (None, "openai") and path.startswith("/v1/"):
        path = upstream.preset.v1 + path[3:]
    base = upstream.base_url.rstrip("/")
    if base.endswith("/v1") and (path == "/v1" or path.startswith("/v1/")):
        path = path[3:]
    return f"{base}{path}?{query}" if query else base + path
