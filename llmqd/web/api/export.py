"""`/api/v1/export`: all calls, sessions or usage that fit some filters, streamed page by page from the database."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET

from llmqd.errors import bad
from llmqd.store.request_questions import CallFilters
from llmqd.store.rollups import DAY, HOUR
from llmqd.store.session_questions import SessionFilters
from llmqd.store.window import Window
from llmqd.web.api import inputs
from llmqd.web.api.endpoint import Streamed
from llmqd.web.api.fields import moment
from llmqd.web.api.filters import call_filters, session_filters
from llmqd.web.api.rendering import MEDIA_TYPES, beginning, ending, rendered
from llmqd.web.api.request_answers import Request
from llmqd.web.api.session_answers import SessionSummary
from llmqd.web.api.usage_answers import TrendPoint

if TYPE_CHECKING:
    from llmqd.store.ledger import Ledger
    from llmqd.web.api.endpoint import Asked
    from llmqd.web.api.rendering import Format

_PAGE = 250
"""Rows that are in memory at once: little enough that a page is read and written between two calls."""
_STEPS = 744
"""Hours or days of usage that are read at once."""
_MOST_VALUES = 100_000
_SLACK = 2.0
_OWN = {
    "requests": frozenset(inputs.CALL_FILTERS),
    "sessions": frozenset({"agent_name", "user_id", "model", "tag", "status", "min_cost", "max_cost"}),
    "usage": frozenset({"granularity", "by"}),
}
"""Which filters each kind of row knows, beside `start_date` and `end_date`."""
_ROWS: dict[str, type[msgspec.Struct]] = {"requests": Request, "sessions": SessionSummary, "usage": TrendPoint}

Page = Sequence[Any]


class Export:
    """The handler. `wall` is Unix time in seconds."""

    def __init__(self, ledger: Ledger, *, wall: Callable[[], float]) -> None:
        self._ledger = ledger
        self._wall = wall

    async def export(self, asked: Asked[inputs.Export, Any]) -> Streamed:
        """All calls, sessions or usage that fit, of any number: CSV, JSON or JSON Lines, sent as they are read."""
        query = asked.query
        for field in msgspec.structs.fields(inputs.Export):
            name = field.name
            if name in ("what", "format", "start_date", "end_date") or name in _OWN[query.what]:
                continue
            if getattr(query, name) not in (None, UNSET):
                raise bad(name, f"does not go with what={query.what}")
        pages: AsyncIterator[Page]
        if query.what == "requests":
            pages = self._calls(call_filters(query))
        elif query.what == "sessions":
            pages = self._sessions(session_filters(query))
        else:
            since, until = moment("start_date", query.start_date), moment("end_date", query.end_date, end=True)
            pages = self._usage(query, since, until)
        return Streamed(
            _written(query.format, _ROWS[query.what], pages), MEDIA_TYPES[query.format], f"{query.what}.{query.format}"
        )

    async def _calls(self, filters: CallFilters) -> AsyncIterator[Page]:
        after: str | None = None
        while True:
            page = await self._ledger.requests.search(filters, _PAGE, after=after)
            yield [Request.of(record) for record in page.records]
            after = page.next
            if after is None:
                return
            # What is behind this page is not younger: so the hours that were read are not looked at again.
            last = page.records[-1].call.received_at + _SLACK
            filters = dataclasses.replace(filters, until=last if filters.until is None else min(last, filters.until))

    async def _sessions(self, filters: SessionFilters) -> AsyncIterator[Page]:
        async for page in self._ledger.sessions.pages(filters, _PAGE):
            yield [SessionSummary.of(session) for session in page]

    async def _usage(self, query: inputs.Export, since: float | None, until: float | None) -> AsyncIterator[Page]:
        step = DAY if query.granularity in (UNSET, "day") else HOUR
        usage = self._ledger.usage
        stretch = await usage.stretch(step)
        if stretch is None:
            return
        whole = Window.around(
            max(stretch.start, since or 0.0), min(stretch.end, until if until is not None else stretch.end), step
        )
        dimension = "all" if query.by is UNSET else query.by
        for start in range(whole.start, whole.end, step * _STEPS):
            window = Window(start, min(start + step * _STEPS, whole.end))
            values = [""]
            if dimension != "all":
                found = await usage.by(dimension, window, _MOST_VALUES, measured=False)
                values = [each.value for each in found]
            for first in range(0, len(values), _PAGE):
                rows = await usage.over_time(dimension, values[first : first + _PAGE], window, step)
                with_sessions = dimension in ("all", "agent")
                yield [TrendPoint.of(row, step, with_sessions=with_sessions) for row in rows if row.calls]


async def _written(form: Format, row: type[msgspec.Struct], pages: AsyncIterator[Page]) -> AsyncIterator[bytes]:
    begun = any_row = False
    async for page in pages:
        # Not before the first page is there: what the database cannot answer is still told by a status.
        head = b"" if begun else beginning(form, row)
        yield head + await asyncio.to_thread(rendered, form, page, first=not any_row)
        begun, any_row = True, any_row or bool(page)
    yield (b"" if begun else beginning(form, row)) + ending(form)
