"""The ledger as the daemon sees it: records go in without waiting, questions come out."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from llmqd.call import Record
from llmqd.config.model import Store
from llmqd.detection.assignment import Evidence
from llmqd.errors import StoreError
from llmqd.store.backend import Backend, SessionTotals
from llmqd.store.conversations import Page, SaidInCall
from llmqd.store.durability import Durability
from llmqd.store.entries import (
    Regrouped,
    closed,
    encode_noted,
    encode_opened,
    encode_regrouped,
    encode_run,
)
from llmqd.store.intake import Intake
from llmqd.store.journal import FileJournal, Journal
from llmqd.store.memory import MemoryJournal
from llmqd.store.position import Position
from llmqd.store.regrouping import MERGED_SESSIONS
from llmqd.store.request_questions import RequestQuestions
from llmqd.store.retention import Terms
from llmqd.store.session_questions import SessionQuestions
from llmqd.store.spending import Spending
from llmqd.store.sqlite import SQLite
from llmqd.store.transcripts import Transcripts
from llmqd.store.usage_questions import UsageQuestions
from llmqd.store.writer import Writer
from llmqd.usage import LaneUsage, Sample

_POLL = 0.02
NOWHERE = Position(2**62, 0)
"""Behind everything."""


@dataclass(slots=True, frozen=True)
class StoreHealth:
    """How the store is.

    `reason` says in a sentence what is wrong and what to do; None while `ok`. `behind` counts records of this run that
    are not in the database yet, `behind_bytes` the part of the journal that is not, `waiting` the records in memory
    because even the journal cannot be written. Since the start: `lost` records dropped from memory, `set_aside` journal
    lines that could not be read or stored (kept in `*.bad`), `unopened` calls whose beginning was not written because
    the journal is over its cap, `closed_twice` closes that were ignored, `given_up` rows that went because the database
    has reached `max_size`, and texts because the journal has reached `journal_max`. `database_bytes` is its size.
    """

    ok: bool
    reason: str | None
    behind: int
    behind_bytes: int
    journal_bytes: int
    waiting: int
    lost: int
    set_aside: int
    unopened: int
    closed_twice: int
    given_up: int
    database_bytes: int


class Ledger:
    """Keeps a record of every call, in a journal first and in the database soon after.

    `opened`, `closed` and `unsent` are for the call path: one write(2), no waiting, no exception, whatever the state of
    disk and database. Entering it raises StoreError where the store can never work (a newer database, a second
    daemon on the same directory); a database that is merely away is waited for in the background.

    Past `journal_max` bytes that the database has not taken, the oldest texts go from the journal, and the beginnings
    of calls are no longer written; their ends, with all that is counted, still are.

    `usage`, `sessions` and `requests` answer what was used, which sessions there are and which calls.
    `transcripts` makes what records carry of their calls' words; it hears from here what is kept and what is gone.
    """

    def __init__(
        self,
        settings: Store,
        state_directory: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        stuck_after: float = 60.0,
        wall: Callable[[], float] = time.time,
        transcripts: Transcripts | None = None,
    ) -> None:
        self._transcripts = transcripts
        self._unkept = 0
        header = encode_run(secrets.token_hex(8))
        self._settings = settings
        self._journal: Journal
        if settings.backend == "memory":
            self._journal = MemoryJournal(limit=settings.buffer, header=header)
        else:
            self._journal = FileJournal(
                state_directory / "journal", segment_size=settings.journal_segment, header=header
            )
        backend = _backend(settings, state_directory)
        self._backend = backend
        self.usage = UsageQuestions(backend.ask)
        self.sessions = SessionQuestions(backend.ask)
        self.requests = RequestQuestions(backend.ask)
        self._clock = clock
        self._intake = Intake(self._journal, limit=settings.buffer)
        self._durability = Durability(self._journal, self._intake, every=settings.sync_every)
        self._writer = Writer(
            self._journal,
            self._intake,
            backend,
            batch_every=settings.batch_every,
            clock=clock,
            stuck_after=stuck_after,
            journal_max=settings.journal_max,
            wall=wall,
            forgotten=self._forgotten,
        )
        self._running: set[str] = set()
        self._unopened = 0
        self._closed_twice = 0

    def __repr__(self) -> str:
        return f"<Ledger {len(self._running)} running, {self._intake!r}, {self._writer!r}>"

    async def __aenter__(self) -> Self:
        try:
            try:
                self._journal.open()
            except OSError as error:
                self._intake.failed(error)
            await self._writer.open()
        except StoreError:
            await self._backend.close()
            self._journal.close()
            raise
        self._writer.start()
        self._durability.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._writer.stop()
        await self._durability.stop()
        self._journal.close()

    def opened(self, record: Record) -> None:
        """The call is sent upstream now. A call that is never sent has no beginning: see `unsent`."""
        self._running.add(record.call.id)
        if self._over_cap():
            self._unopened += 1
        else:
            self._append(encode_opened(record))

    def closed(self, record: Record) -> None:
        """A call that was opened has ended as its outcome says. Only the first close of a call counts."""
        if record.call.id not in self._running:
            self._closed_twice += 1
            return
        self._running.discard(record.call.id)
        self._keep(record)

    def unsent(self, record: Record) -> None:
        """A call ended that was never sent upstream: refused, or abandoned while it waited."""
        self._keep(record)

    def regrouped(self, entry: Regrouped) -> None:
        """Calls belong to another session from now on: durable like a record, in the database soon after."""
        self._append(encode_regrouped(entry))
        if self._transcripts is not None:
            self._transcripts.regrouped()

    def imported(self, record: Record) -> None:
        """A call of another program has ended some time ago. One of an id that is known changes nothing."""
        self._keep(record)

    def note(self, name: str, text: str) -> None:
        """Remember this in the place of what was remembered under that name, once all told before is written."""
        self._append(encode_noted(name, text))

    async def noted(self, name: str) -> str | None:
        """What is remembered under a name, None for nothing. Raises StoreError when the database cannot answer."""
        return await self._backend.noted(name)

    def _keep(self, record: Record) -> None:
        entry, made = closed(record)
        self._about_to_append()
        if self._transcripts is None:
            self._intake.append(entry, made)
        else:
            written = self._transcripts.entry(entry)
            # What was redacted in the entry still stands in what was made without reading it.
            self._intake.append(written, made if written is entry else None)
            unkept = self._intake.lost + self._writer.set_aside + self._writer.thinned
            if unkept != self._unkept:
                self._unkept = unkept
                self._transcripts.lost()
            elif record.transcript is not None:
                self._transcripts.kept(record.transcript)

    def _append(self, entry: bytes) -> None:
        self._about_to_append()
        self._intake.append(entry if self._transcripts is None else self._transcripts.entry(entry))

    def _about_to_append(self) -> None:
        if not self._journal.behind(self._writer.position):
            self._writer.level_at = self._clock()

    def _forgotten(self, before: float) -> None:
        if self._transcripts is not None:
            self._transcripts.forgotten(before)

    def _over_cap(self) -> bool:
        return 0 < self._settings.journal_max <= self._journal.behind(self._writer.position)

    async def durable(self) -> None:
        """Return when what was appended so far survives what `[store] durability` promises.

        `process`: at once, as the kernel has it. `power`: after an fsync, which all who wait at that moment share.
        """
        if self._settings.durability == "power":
            await self._durability.durable()

    async def settled(self, timeout: float) -> bool:
        """Wait until all that was appended before is in the database, so that a question sees it.

        False when that takes longer than `timeout` seconds: then answers may lack the latest records.
        """
        deadline = asyncio.get_running_loop().time() + timeout
        while self._intake.waiting:
            if asyncio.get_running_loop().time() >= deadline:
                return False
            await asyncio.sleep(_POLL)
        remaining = max(0.0, deadline - asyncio.get_running_loop().time())
        return await self._writer.reached(self._journal.end, remaining)

    async def caught_up(self, timeout: float) -> bool:
        """The same for whoever asks about the past, to which what the journal holds beyond the database belongs, too.

        A database that is away is not waited for.
        """
        return await self.settled(timeout if self.health().ok else 0.0)

    async def call(self, call_id: str) -> Record | None:
        """The record of one call, None for an unknown id. Raises StoreError when the database cannot answer."""
        return await self._backend.call(call_id)

    async def session_totals(
        self, limit: int, ids: Sequence[str] | None = None, key: str | None = None
    ) -> list[SessionTotals]:
        """Totals of the sessions seen last, at most `limit`, or of these the named ones only, or those of a key.

        Raises StoreError when the database cannot answer.
        """
        return await self._backend.session_totals(limit, ids, key)

    async def lane_usage(self, since: float, fine_since: float) -> list[LaneUsage]:
        """What each lane has let through from `since` on (Unix seconds; two days at most), in the order of time.

        Only calls that the provider counts and that have ended or whose daemon died; by model, in steps of ten seconds
        from `fine_since` on, before it of a quarter of an hour. Reads a small table that is kept up with each record.
        Raises StoreError when the database cannot answer.
        """
        return await self._backend.lane_usage(since, fine_since)

    async def spending(self, by: str, since: float, until: float, limit: int) -> Spending:
        """What each key, user, agent, session, or all together (`by`), spent in calls that were received in a time.

        Unix seconds at quarters of an hour, a month at most; up to infinity it is all time. Of the `limit` that called
        last. Says how far into the journal it goes. Raises StoreError when the database cannot answer.
        """
        return await self._backend.spending(by, since, until, limit)

    @property
    def end(self) -> Position:
        """The place in the journal behind all that was told. While something waits in memory, nothing is behind it."""
        return NOWHERE if self._intake.waiting else self._journal.end

    async def samples(self) -> list[Sample]:
        """The latest calls with exact usage, some fifty of each upstream's models, oldest first. Raises StoreError."""
        return await self._backend.samples()

    async def count_by_status(self) -> dict[str, int]:
        """How many calls ended in which way; reads the whole table. Raises StoreError like the others."""
        return await self._backend.count_by_status()

    async def messages_of_call(self, call_id: str) -> SaidInCall | None:
        """What was said in a call; None for an unknown one. Raises StoreError when the database cannot answer."""
        return await self._backend.conversations.of_call(call_id)

    async def messages_of_session(self, session_id: str, limit: int, cursor: str | None = None) -> Page | None:
        """At most `limit` messages of a session in their order, each once, from `cursor` (a Page's `next`) on.

        None where nothing of it is kept. Raises ValueError for a cursor that is none, StoreError.
        """
        return await self._backend.conversations.of_session(session_id, limit, cursor)

    async def medium(self, digest: str) -> bytes | None:
        """The bytes of a picture, sound or file, by `Media.digest`; None where they are gone. Raises StoreError."""
        return await self._backend.conversations.medium(digest)

    async def marks_of(self, marks: Sequence[int]) -> list[Evidence]:
        """Which sessions are known by these marks: for each the newest, some hundred at most. Raises StoreError."""
        return await self._backend.conversations.marks_of(marks)

    async def merged_sessions(self, limit: int) -> list[tuple[str, str]]:
        """The sessions that were merged last and those that they are part of since, the oldest first.

        Raises StoreError.
        """
        rows = await self._backend.ask(MERGED_SESSIONS, limit)
        return [(row["session_id"], row["into_id"]) for row in reversed(rows)]

    async def latest_marks(self, limit: int, since: float = 0.0) -> list[Evidence]:
        """The marks that were made last, after `since` (Unix seconds), the oldest of them first. Raises StoreError."""
        return await self._backend.conversations.latest_marks(limit, since)

    def health(self) -> StoreHealth:
        """How the store is now."""
        behind_bytes = self._journal.behind(self._writer.position)
        reason = self._intake.error or self._writer.error or self._durability.error
        if reason is None and self._writer.too_small:
            reason = (
                "[store] max_size is less than totals alone take, so the database cannot be kept below it: raise it"
            )
        if reason is None and self._over_cap():
            reason = f"the journal holds {behind_bytes} bytes that the database has not taken: it is too slow or stuck"
        behind = max(0, self._intake.appended + self._intake.waiting - self._writer.applied)
        late = self._clock() - self._writer.level_at if behind_bytes else 0.0
        if reason is None and 0 < self._settings.behind_max <= late:
            reason = (
                f"the database has been behind the journal for {late:.0f} s, by {behind} records: this machine is"
                " too slow or too busy for the load; calls go on, answers about the latest ones are incomplete"
            )
        if reason is None and (aside := self._backend.aside()):
            reason = (
                f"a damaged database was set aside as {aside[-1]}: see what can be read from it (llmqd doctor), then"
                " move it away"
            )
        return StoreHealth(
            ok=reason is None,
            reason=reason,
            behind=behind,
            behind_bytes=behind_bytes,
            journal_bytes=self._journal.size,
            waiting=self._intake.waiting,
            lost=self._intake.lost,
            set_aside=self._writer.set_aside,
            unopened=self._unopened,
            closed_twice=self._closed_twice,
            given_up=self._writer.given_up + self._writer.thinned,
            database_bytes=self._writer.size,
        )

    def alive(self) -> bool:
        """Whether the writer works on, for the watchdog. A database that is away is no reason to be restarted."""
        return self._writer.alive()


def _backend(settings: Store, state_directory: Path) -> Backend:
    """The database that the settings name."""
    query_timeout, terms = settings.query_timeout or None, Terms.of(settings)
    if settings.backend == "memory":
        return SQLite(None, keep=settings.memory_calls, query_timeout=query_timeout, terms=terms)
    if settings.backend == "postgresql":
        # Imported here: most installations do without, and the driver takes some time and memory.
        from llmqd.store.postgres.backend import PostgreSQL

        if settings.dsn is None:
            raise StoreError('[store] backend = "postgresql" without dsn')
        return PostgreSQL(settings.dsn.reveal(), query_timeout=query_timeout, terms=terms)
    return SQLite(
        state_directory / settings.path,
        query_timeout=query_timeout,
        terms=terms,
        owned=not settings.path.is_absolute(),
    )
