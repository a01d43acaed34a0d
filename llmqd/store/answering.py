"""Answers the questions that every database answers in the same way, over statements that it reads."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from llmqd.call import Record
from llmqd.store import history, spending
from llmqd.store import statements as sql
from llmqd.store.backend import SessionTotals
from llmqd.store.columns import record
from llmqd.usage import LaneUsage, Sample


class Answering(ABC):
    """What a Backend has to say of calls, sessions and lanes; see there."""

    @abstractmethod
    async def ask(self, statement: str, *values: Any) -> list[Mapping[str, Any]]:
        """The rows that a statement reads; see Backend.ask."""

    async def call(self, call_id: str) -> Record | None:
        """The record of one call."""
        rows = await self.ask(sql.CALL, call_id) if call_id.isascii() else []
        return record(rows[0]) if rows else None

    async def noted(self, name: str) -> str | None:
        """What was to be remembered; see Backend.noted."""
        rows = await self.ask(sql.GET_META, f"note:{name}")
        return rows[0]["value"] if rows else None

    async def session_totals(
        self, limit: int, ids: Sequence[str] | None = None, key: str | None = None
    ) -> list[SessionTotals]:
        """The sessions seen last; see Backend.session_totals."""
        if key is not None:
            rows = await self.ask(sql.SESSIONS_OF_KEY, key, limit)
        elif ids is None:
            rows = await self.ask(sql.SESSIONS, limit)
        else:
            # An id that UTF-8 cannot hold was never written.
            wanted = [id_ for id_ in ids if id_.encode("utf-8", "ignore").decode() == id_]
            rows = await self.ask(sql.SESSIONS_BY_ID, orjson.dumps(wanted).decode(), limit)
        return [SessionTotals(**row) for row in rows]

    async def count_by_status(self) -> dict[str, int]:
        """How many calls ended in which way."""
        return {row["status"]: row["calls"] for row in await self.ask(sql.COUNT_BY_STATUS)}

    async def lane_usage(self, since: float, fine_since: float) -> list[LaneUsage]:
        """What each lane has let through; see Backend.lane_usage."""
        rows = await self.ask(history.LANE_USAGE, int(since), int(fine_since))
        return [history.lane_usage(row) for row in rows]

    async def spending(self, by: str, since: float, until: float, limit: int) -> spending.Spending:
        """What was spent; see Backend.spending."""
        if math.isinf(until):
            return spending.spending(await self.ask(spending.OF_ALL_TIME, by, limit))
        return spending.spending(await self.ask(spending.WITHIN, int(since), int(until), by, limit))

    async def samples(self) -> list[Sample]:
        """The latest calls of each model; see Backend.samples."""
        rows = await self.ask(history.LATEST_SAMPLES, history.SAMPLED, history.SAMPLES)
        return [history.sample(row) for row in rows]
