"""All URLs of the API, one entry each, and their place in the application."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from llmqd.errors import MethodNotAllowed
from llmqd.web.api import inputs
from llmqd.web.api.analytics import Analytics
from llmqd.web.api.budgets import BudgetList, BudgetPage
from llmqd.web.api.docs import Docs
from llmqd.web.api.endpoint import Endpoint
from llmqd.web.api.export import Export
from llmqd.web.api.keys import KeyList, KeyPage
from llmqd.web.api.media import Media, Medium
from llmqd.web.api.openapi import described
from llmqd.web.api.request_answers import Request, RequestMessages, RequestPage
from llmqd.web.api.requests import Requests
from llmqd.web.api.session_answers import Divided, Merged, Message, SessionPage, SessionSummary
from llmqd.web.api.sessions import Correcting, Sessions
from llmqd.web.api.usage_answers import Agent, CostShare, Model, Overview, TrendPoint
from llmqd.web.refusal import refusal

if TYPE_CHECKING:
    from llmqd.auth.keyring import Keyring
    from llmqd.budgets.budgets import Budgets
    from llmqd.store.ledger import Ledger

_SESSION = {"session_id": "The session."}
_REQUEST = {"request_id": "The call, by the id that its client got as X-LLMQD-Request-Id."}
_NO_SESSION = {404: "There is no such session."}
_SHARED = {403: "Another client key has called in this session."}
_NO_CALL = {404: "There is no such call."}
_V1 = "/api/v1"

_FRESH = 0.03
"""Seconds that a question waits at most for the calls that have just ended; the database has them soon after anyway."""


class Api:
    """The traceability API. `wall` is Unix time in seconds."""

    def __init__(
        self, ledger: Ledger, correcting: Correcting, keyring: Keyring, budgets: Budgets, *, wall: Callable[[], float]
    ) -> None:
        sessions, requests, analytics = Sessions(ledger, correcting), Requests(ledger), Analytics(ledger, wall=wall)
        self._ledger = ledger
        export = Export(ledger, wall=wall)
        self.endpoints = [
            *_of_sessions(sessions),
            *_of_requests(requests),
            *_of_analytics(analytics),
            _of_media(Media(ledger)),
            _of_keys(KeyList(keyring, wall=wall)),
            _of_budgets(BudgetList(budgets)),
            _of_export(export),
        ]
        self._docs = Docs(lambda: described(self.endpoints))

    def add_to(self, app: web.Application, wrap: Callable[[Any], Any]) -> None:
        """Put every URL into the application; `wrap` is given the handler of what no endpoint takes (preflights)."""
        urls: dict[str, set[str]] = {}
        for endpoint in self.endpoints:
            serve = self._fresh(endpoint)
            app.router.add_route(endpoint.method, endpoint.url, serve)
            urls.setdefault(endpoint.url, set()).add(endpoint.method)
            if endpoint.method == "GET":
                app.router.add_route("HEAD", endpoint.url, serve)
                urls[endpoint.url].add("HEAD")
        for url, handler in self._docs.urls().items():
            app.router.add_get(url, handler)
            urls[url] = {"GET", "HEAD"}
        for url, methods in urls.items():
            app.router.add_route("*", url, wrap(_wrong_method(", ".join(sorted(methods)))))

    def _fresh(self, endpoint: Endpoint) -> Callable[[web.Request], Any]:
        async def serve(request: web.Request) -> web.StreamResponse:
            await self._ledger.settled(_FRESH)
            return await endpoint.serve(request)

        return serve


def _wrong_method(allowed: str) -> Callable[[web.Request], Any]:
    async def refuse(request: web.Request) -> web.StreamResponse:
        response = refusal(MethodNotAllowed(f"{request.path} takes {allowed}, not {request.method}"), "openai")
        response.headers["Allow"] = allowed
        return response

    return refuse


def _of_sessions(sessions: Sessions) -> list[Endpoint]:
    url = f"{_V1}/sessions"
    return [
        Endpoint(
            method="GET", url=url, tag="sessions", handle=sessions.list_sessions,
            query=inputs.SessionList, answer=SessionPage,
        ),
        Endpoint(
            method="POST", url=f"{url}/search", tag="sessions", handle=sessions.search_sessions,
            query=inputs.Paging, body=inputs.SessionFilter, answer=SessionPage,
        ),
        Endpoint(
            method="GET", url=f"{url}/{{session_id}}/summary", tag="sessions", handle=sessions.session_summary,
            path=_SESSION, refusals=_NO_SESSION, answer=SessionSummary,
        ),
        Endpoint(
            method="GET", url=f"{url}/{{session_id}}/messages", tag="sessions", handle=sessions.session_messages,
            path=_SESSION, refusals=_NO_SESSION | _SHARED, query=inputs.MessageList, answer=list[Message],
        ),
        Endpoint(
            method="POST", url=f"{url}/{{session_id}}/merge", tag="sessions", handle=sessions.merge_sessions,
            path=_SESSION, refusals=_NO_SESSION, body=inputs.Merge, answer=Merged,
        ),
        Endpoint(
            method="POST", url=f"{url}/{{session_id}}/split", tag="sessions", handle=sessions.split_session,
            path=_SESSION, refusals=_NO_SESSION, body=inputs.Split, answer=Divided,
        ),
    ]  # fmt: skip


def _of_requests(requests: Requests) -> list[Endpoint]:
    url = f"{_V1}/requests"
    return [
        Endpoint(
            method="GET", url=url, tag="requests", handle=requests.list_requests,
            query=inputs.RequestList, answer=RequestPage,
        ),
        Endpoint(
            method="GET", url=f"{url}/{{request_id}}", tag="requests", handle=requests.show_request,
            path=_REQUEST, refusals=_NO_CALL, answer=Request,
        ),
        Endpoint(
            method="GET", url=f"{url}/{{request_id}}/messages", tag="requests", handle=requests.request_messages,
            path=_REQUEST, refusals=_NO_CALL, answer=RequestMessages,
        ),
    ]  # fmt: skip


def _of_export(export: Export) -> Endpoint:
    return Endpoint(
        method="GET", url=f"{_V1}/export", tag="export", handle=export.export,
        query=inputs.Export, answer=list[dict[str, Any]], media_types=("text/csv", "application/x-ndjson"),
    )  # fmt: skip


def _of_media(media: Media) -> Endpoint:
    return Endpoint(
        method="GET", url=f"{_V1}/media/{{digest}}", tag="requests", handle=media.show_medium,
        path={"digest": "The medium, as a part of a message names it."},
        refusals={404: "There is no such medium (any more)."}, answer=Medium,
    )  # fmt: skip


def _of_keys(keys: KeyList) -> Endpoint:
    return Endpoint(method="GET", url=f"{_V1}/keys", tag="keys", handle=keys.list_keys, answer=KeyPage)


def _of_budgets(budgets: BudgetList) -> Endpoint:
    return Endpoint(
        method="GET", url=f"{_V1}/budgets", tag="budgets", handle=budgets.list_budgets,
        query=inputs.Budgets, answer=BudgetPage,
    )  # fmt: skip


def _of_analytics(analytics: Analytics) -> list[Endpoint]:
    return [
        Endpoint(
            method="GET", url=f"{_V1}/analytics/{name}", tag="analytics", handle=handle, query=query, answer=answer
        )
        for name, handle, query, answer in (
            ("overview", analytics.overview, inputs.Window, Overview),
            ("agents", analytics.agents, inputs.Listed, list[Agent]),
            ("models", analytics.models, inputs.Listed, list[Model]),
            ("usage-trends", analytics.usage_trends, inputs.Trends, list[TrendPoint]),
            ("cost-breakdown", analytics.cost_breakdown, inputs.Breakdown, list[CostShare]),
        )
    ]
