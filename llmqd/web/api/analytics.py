"""`/api/v1/analytics/…`: what was used when, by whom and for how much."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from llmqd.errors import bad
from llmqd.store.rollups import DAY, HOUR
from llmqd.store.window import Window
from llmqd.web.api import inputs
from llmqd.web.api.fields import moment
from llmqd.web.api.usage_answers import Agent, CostShare, Model, Overview, TrendPoint

if TYPE_CHECKING:
    from llmqd.store.ledger import Ledger
    from llmqd.web.api.endpoint import Asked

_USUAL_DAYS = 30
_LATEST = 2**33
"""Unix seconds that no window goes beyond."""


class Analytics:
    """The handlers. `wall` is Unix time in seconds."""

    def __init__(self, ledger: Ledger, *, wall: Callable[[], float]) -> None:
        self._ledger = ledger
        self._wall = wall

    async def overview(self, asked: Asked[inputs.Window, Any]) -> Overview:
        """All calls of a window in one row of figures."""
        window = self._window(asked.query)
        return Overview.of(await self._ledger.usage.overview(window), window)

    async def agents(self, asked: Asked[inputs.Listed, Any]) -> list[Agent]:
        """The calls of each agent, the busiest first."""
        window = self._window(asked.query)
        found = await self._ledger.usage.by("agent", window, asked.query.limit, busiest_first=True)
        return [Agent.of(usage) for usage in found]

    async def models(self, asked: Asked[inputs.Listed, Any]) -> list[Model]:
        """The calls of each model at each upstream, the busiest first; those without a model are left out."""
        window, limit = self._window(asked.query), asked.query.limit
        found = await self._ledger.usage.by("model", window, inputs.MAX_LIMIT, by_part=True, busiest_first=True)
        return [Model.of(usage) for usage in found if usage.value][:limit]

    async def usage_trends(self, asked: Asked[inputs.Trends, Any]) -> list[TrendPoint]:
        """The calls of each hour or day in the order of time, those without calls too; with `by`, one line a value."""
        query = asked.query
        step = DAY if query.granularity == "day" else HOUR
        window = self._window(query, step)
        if query.by is UNSET:
            dimension, values = "all", [""]
        else:
            dimension = query.by
            dearest = await self._ledger.usage.by(dimension, window, query.limit, measured=False)
            values = [usage.value for usage in dearest]
        points = len(window.steps(step)) * len(values)
        if points > inputs.MAX_POINTS:
            raise bad(
                "granularity", f"{points} points are more than {inputs.MAX_POINTS}: ask for days or a shorter time"
            )
        found = await self._ledger.usage.over_time(dimension, values, window, step)
        with_sessions = dimension in ("all", "agent")
        return [TrendPoint.of(usage, step, with_sessions=with_sessions) for usage in found]

    async def cost_breakdown(self, asked: Asked[inputs.Breakdown, Any]) -> list[CostShare]:
        """What each model (or agent, user, key, upstream, session) cost, the dearest first."""
        query = asked.query
        by = query.by if query.by is not UNSET else query.group_by if query.group_by is not UNSET else "model"
        window = self._window(query)
        spent = await self._ledger.usage.spent(window)
        if by == "session":
            sessions = await self._ledger.sessions.dearest(window, query.limit)
            return [CostShare.of_session(session, spent) for session in sessions]
        found = await self._ledger.usage.by(by, window, query.limit, measured=False)
        return [CostShare.of(usage, spent) for usage in found]

    def _window(self, query: inputs.Window, step: int = HOUR) -> Window:
        since = moment("from", query.since or None)
        until = moment("to", query.until or None, end=True)
        if since is not None and query.days is not UNSET:
            raise bad("days", "give either days or from")
        end = until if until is not None else self._wall()
        if since is None:
            since = end - (_USUAL_DAYS if query.days is UNSET else query.days) * DAY
        if since > end:
            raise bad("from" if query.since is not UNSET else "to", "the time would end before it begins")
        return Window.around(max(since, 0.0), min(max(end, 0.0), _LATEST), step)
