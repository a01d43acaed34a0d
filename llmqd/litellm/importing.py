"""Takes what LiteLLM has recorded into the ledger, each call once, and remembers how far it has come."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter
from typing import TYPE_CHECKING

import orjson

from llmqd.call import Record, SessionRef
from llmqd.detection.assignment import Question
from llmqd.detection.detector import Detector
from llmqd.litellm.key import BEGINNING, Key, key_of
from llmqd.litellm.rows import SpendLog, call_id, seconds, spend_log
from llmqd.messages.answer import read_answer
from llmqd.messages.request import read_request

if TYPE_CHECKING:
    from llmqd.config.model import Config
    from llmqd.detection.assignment import Assignment
    from llmqd.litellm.spend_logs import SpendLogs
    from llmqd.messages.digest import Digests
    from llmqd.messages.request import Said
    from llmqd.store.ledger import Ledger
    from llmqd.store.names_redaction import NamesRedaction
    from llmqd.store.transcripts import Transcripts

logger = logging.getLogger(__name__)

_PAGE = 500
_AT_ONCE = 50
"""Rows read with their texts at a time: some may hold megabytes."""
_SLICE = 0.001
"""Seconds that the event loop is held at most."""
_MOST_BEHIND = 4000
"""Records that may wait for the database; a calm import goes on only while nearly none does."""
_PATIENCE = 60.0
_SEEN = 50_000
"""Sessions remembered as seen."""
LATE, VERY_LATE = 15 * 60.0, 86_400.0
"""Seconds within which rows may turn up behind others: LiteLLM writes in batches when calls have ended, and much later
where its database was away."""


@dataclass(slots=True)
class Imported:
    """What an import has come to: calls `added`, rows `known` before, and rows `unreadable`."""

    added: int = 0
    known: int = 0
    unreadable: int = 0

    def __str__(self) -> str:
        unreadable = f", {self.unreadable:,} could not be read" if self.unreadable else ""
        return f"{self.added:,} calls imported, {self.known:,} were there already{unreadable}"

    @property
    def rows(self) -> int:
        """All rows looked at."""
        return self.added + self.known + self.unreadable


class Import:
    """Reads from a place on to the end of the table. Owned by the event loop; what it hands to the ledger has no more
    to do with calls on their way than any other record.

    With `calm` it takes a small share of the loop's time and waits for the database, as calls must not feel it. `wall`
    is Unix time. Sessions are found among the imported calls alone, as callers have other keys here.
    """

    def __init__(
        self,
        ledger: Ledger,
        transcripts: Transcripts,
        names: NamesRedaction,
        digests: Digests,
        config: Config,
        *,
        wall: Callable[[], float],
        calm: bool = False,
    ) -> None:
        self._ledger = ledger
        self._transcripts = transcripts
        self._names = names
        self._config = config
        self._wall = wall
        self._calm = calm
        self._own_id = ""
        self._detector = Detector(config.sessions, digests, lambda: self._own_id)
        self._seen: OrderedDict[str, None] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Import {'calm' if self._calm else 'fast'}>"

    async def place(self, source: SpendLogs, late: float = VERY_LATE) -> Key:
        """Where to go on: behind what was imported before, but for the last `late` seconds, which are gone through
        again for rows that came later. Raises StoreError."""
        await self._ledger.settled(_PATIENCE)
        text = await self._ledger.noted(_name(source))
        if text is None:
            return BEGINNING
        again = Key(datetime.fromtimestamp(self._wall() - min(late, self._kept / 2), UTC), "")
        return min(Key.parse(text), again)

    async def run(
        self, source: SpendLogs, after: Key, *, progress: Callable[[int], object] = lambda rows: None
    ) -> Imported:
        """Imports what comes after a place; `progress` hears how many rows are dealt with since the last time.

        Raises SourceError, StoreError; what was imported by then stays and is not read again.
        """
        imported = Imported()
        while keys := await source.keys(after, _PAGE):
            ids = {call_id(key.request_id, seconds(key.at)): key.request_id for key in keys}
            known = await self._ledger.requests.known(ids)
            imported.known += len(keys) - len(ids) + len(known)
            progress(len(keys) - len(ids) + len(known))
            wanted = [request_id for id_, request_id in ids.items() if id_ not in known]
            for at in range(0, len(wanted), _AT_ONCE):
                some = wanted[at : at + _AT_ONCE]
                await self._take(source, some, imported)
                progress(len(some))
            after = keys[-1]
            await self._come_to(source, after)
        await self._ledger.settled(_PATIENCE)
        return imported

    @property
    def _kept(self) -> float:
        """Seconds for which the ledger keeps calls: what has gone must not be counted again."""
        return self._config.store.retention or float("inf")

    async def _take(self, source: SpendLogs, request_ids: Sequence[str], imported: Imported) -> None:
        rows = await source.rows(request_ids)
        place: Key | None = None
        # Rows that LiteLLM's own retention has deleted meanwhile are none of ours.
        imported.known += len(request_ids) - len(rows)
        began = perf_counter()
        for row in rows:
            try:
                self._ledger.imported(self._record(spend_log(row)))
                imported.added += 1
            except Exception as error:  # one row that nobody foresaw must not end the import
                imported.unreadable += 1
                logger.warning("row %r of LiteLLM cannot be read: %r", row.get("request_id"), error)
            place = key_of(row)
            took = perf_counter() - began
            if took > _SLICE:
                # Whoever ends the import here finds everything before this place in the ledger, and nothing after it.
                self._ledger.note(_name(source), str(place))
                await asyncio.sleep(9 * took if self._calm else 0)
                began = perf_counter()
        if place is not None:
            self._ledger.note(_name(source), str(place))

    def _record(self, row: SpendLog) -> Record:
        """The record with its session and what was said in it."""
        call, now = row.record.call, row.ended
        self._names.asked(call)
        said = read_request(call.dialect, call.operation, row.request)
        assignment = self._assigned(row, said)
        if assignment.session is not None:
            call.session = SessionRef(assignment.session, assignment.source)
        if call.received_at < self._wall() - self._kept_texts:
            call.store = "usage"
        transcript = self._transcripts.asked(call, said, assignment, now)
        answer = None
        if isinstance(row.response, dict | list) and row.response:
            body = orjson.dumps(row.response)
            answer = read_answer(
                call.dialect, call.operation, "application/json", body, media_max=self._config.store.media_max
            )
        message, others = (None, ()) if answer is None else (answer.message, answer.others)
        provider_id = row.record.outcome.provider_id
        learned = self._detector.answered(
            assignment, message, provider_id, now, complete=message is not None, others=others
        )
        if answer is not None:
            row.record.outcome.function_calls = answer.function_calls
            row.record.outcome.finish_reason = answer.finish_reason
        if transcript is not None:
            self._transcripts.answered(transcript, assignment, learned, now, others=others, provider_id=provider_id)
            row.record.transcript = transcript
        self._names.answered(row.record.outcome)
        return row.record

    def _assigned(self, row: SpendLog, said: Said) -> Assignment:
        """The session that LiteLLM has written down; but an id that it made up for one call says nothing, and then
        what was said before decides, as for any call that names no session."""
        call = row.record.call
        given, now = call.session, row.ended
        made_up = given.id is not None and row.own_session and given.id not in self._seen
        if given.id is not None:
            self._seen[given.id] = None
            if len(self._seen) > _SEEN:
                self._seen.popitem(last=False)
        scope, traits = f"litellm {call.client}", (call.model, call.client)
        self._own_id = given.id if given.id is not None else f"ses_{call.id}"
        if given.id is None or (made_up and said.turns):
            found = self._detector.assign(Question(scope, said, traits=traits), now, look_up=False)
            if found.session is not None or given.id is None:
                return found
        return self._detector.assign(Question(scope, said, given, 0, traits), now, look_up=False)

    @property
    def _kept_texts(self) -> float:
        store = self._config.store
        return (store.retention if store.texts_retention is None else store.texts_retention) or float("inf")

    async def _come_to(self, source: SpendLogs, place: Key) -> None:
        self._ledger.note(_name(source), str(place))
        if self._calm:
            await self._ledger.settled(_PATIENCE)
        while self._ledger.health().behind > _MOST_BEHIND:
            await self._ledger.settled(_PATIENCE)


def _name(source: SpendLogs) -> str:
    return f"litellm {source.identity}"
