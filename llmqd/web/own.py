"""llmqd's own endpoints: what it is, how it is, what it counts, what is configured, what sessions used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import orjson
from aiohttp import web

from llmqd import __version__
from llmqd.config.describe import describe
from llmqd.errors import MethodNotAllowed
from llmqd.providers.presets import PRESETS
from llmqd.usage import PICO
from llmqd.web.refusal import refusal
from llmqd.web.scope import scope

if TYPE_CHECKING:
    from llmqd.auth.keyring import Keyring
    from llmqd.in_force import InForce
    from llmqd.lane.lanes import Lanes
    from llmqd.metrics import Metrics
    from llmqd.store.backend import SessionTotals
    from llmqd.store.ledger import Ledger

_STATUS_LIMIT = 10_000
"""Sessions in one answer of /sessions/status, the latest used first."""
_SETTLE = 2.0
"""Seconds that an answer about sessions waits at most for the database to have what the journal has."""


def json_response(body: object, status: int = 200) -> web.Response:
    """A JSON answer of llmqd's own, with a newline at its end for people at a terminal."""
    return web.Response(
        status=status,
        body=orjson.dumps(body, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS),
        content_type="application/json",
    )


class Own:
    """The handlers of llmqd's own URLs. `others` tell faults of other parts. `wall` is Unix time in seconds."""

    def __init__(
        self,
        in_force: InForce,
        lanes: Lanes,
        ledger: Ledger,
        metrics: Metrics,
        keyring: Keyring,
        others: Sequence[Callable[[], list[str]]],
        *,
        wall: Callable[[], float],
    ) -> None:
        self._in_force = in_force
        self._lanes = lanes
        self._ledger = ledger
        self._metrics = metrics
        self._keyring = keyring
        self._others = others
        self._wall = wall
        self._started = wall()
        self._stopping = False
        self._reload_fault: str | None = None

    def stop(self) -> None:
        """From now on /health says that llmqd is stopping."""
        self._stopping = True

    def reloaded(self, fault: str | None) -> None:
        """Remembers how the last reload went: None is well, otherwise what was wrong with the new configuration."""
        self._reload_fault = fault

    def faults(self) -> list[str]:
        """What is wrong now, as sentences that say what to do; empty when all is well."""
        config = self._in_force.config
        faults = [upstream.missing for upstream in config.upstreams if upstream.missing is not None]
        if not config.upstreams:
            faults.append(
                "no upstream is configured: add [[upstream]] to the configuration or a provider key such as "
                "OPENAI_API_KEY to the environment, then restart or reload"
            )
        if config.auth.missing is not None:
            faults.append(f"[auth] admin_token: {config.auth.missing}")
        if (unread := self._keyring.fault) is not None:
            faults.append(f"client keys: {unread}")
        store = self._ledger.health()
        if not store.ok:
            faults.append(f"store: {store.reason}")
        if self._reload_fault is not None:
            faults.append(f"the last reload was refused, the configuration before it is in force: {self._reload_fault}")
        return faults + [fault for other in self._others for fault in other()]

    async def root(self, request: web.Request) -> web.StreamResponse:
        """API information; a browser is sent to the dashboard."""
        if "text/html" in request.headers.get("Accept", ""):
            raise web.HTTPFound("/dashboard")
        links = (
            "/health", "/metrics", "/config", "/providers", "/sessions/status", "/queue", "/events", "/dashboard",
            "/api/v1/sessions", "/api/v1/requests", "/api/v1/analytics/overview", "/docs", "/openapi.json",
        )  # fmt: skip
        return json_response({"name": "llmqd", "version": __version__, "links": {link[1:]: link for link in links}})

    async def wrong_method(self, request: web.Request) -> web.StreamResponse:
        """llmqd's own URLs are read with GET."""
        response = refusal(MethodNotAllowed(f"{request.path} is read with GET, not {request.method}"), "openai")
        response.headers["Allow"] = "GET, HEAD"
        return response

    async def health(self, _: web.Request) -> web.StreamResponse:
        """200 while calls are served, degraded or not; 503 only when they are not."""
        faults = self.faults()
        store = self._ledger.health()
        status = "stopping" if self._stopping else "degraded" if faults else "ok"
        body = {
            "status": status,
            "version": __version__,
            "uptime_seconds": round(self._wall() - self._started, 1),
            "faults": faults,
            "upstreams": {
                upstream.name: {"type": upstream.type, "key": "missing" if upstream.missing else "ok"}
                for upstream in self._in_force.config.upstreams
            },
            "lanes": [
                {
                    "lane": lane.name,
                    "waiting": lane.waiting,
                    "running": lane.running,
                    "requests_per_minute": lane.requests_per_minute,
                }
                for lane in self._lanes
            ],
            "store": {
                "ok": store.ok,
                "records_behind": store.behind,
                "journal_bytes": store.journal_bytes,
                "lost": store.lost,
            },
        }
        return json_response(body, 503 if self._stopping else 200)

    async def metrics(self, request: web.Request) -> web.StreamResponse:
        """Prometheus text, or the same figures as JSON for those who accept only that."""
        if "application/json" in request.headers.get("Accept", ""):
            return json_response(self._metrics.figures())
        return web.Response(
            body=self._metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    async def config(self, _: web.Request) -> web.StreamResponse:
        """The configuration in force; of secrets only whether they are set."""
        return json_response(describe(self._in_force.config))

    async def providers(self, _: web.Request) -> web.StreamResponse:
        """The configured upstreams and the presets that could be."""
        configured = [upstream.name for upstream in self._in_force.config.upstreams]
        return json_response({"configured": configured, "presets": sorted(PRESETS)})

    async def sessions_status(self, request: web.Request) -> web.StreamResponse:
        """Tokens and calls of every session, as `{id: {...}}`; `?detail=1` adds what else is known."""
        await self._ledger.settled(_SETTLE)
        detail = request.query.get("detail", "0") not in ("0", "", "false")
        totals = await self._ledger.session_totals(limit=_STATUS_LIMIT, key=scope(request))
        return json_response({session.session_id: _session(session, detail) for session in totals})


def _session(session: SessionTotals, detail: bool) -> Mapping[str, object]:
    shown: dict[str, object] = {
        "session_id": session.session_id,
        "total_prompt_tokens": session.prompt_tokens,
        "total_completion_tokens": session.completion_tokens,
        "total_tokens": session.prompt_tokens + session.completion_tokens,
        "request_count": session.request_count,
    }
    if detail:
        shown |= {
            "source": session.source,
            "first_seen": _rfc3339(session.first_seen),
            "last_seen": _rfc3339(session.last_seen),
            "error_count": session.error_count,
            "cached_tokens": session.cached_tokens,
            "cost_usd": str(Decimal(session.cost_pico) / PICO),
            "unknown_cost_count": session.unknown_cost_count,
        }
    return shown


def _rfc3339(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
