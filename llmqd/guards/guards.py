"""Holds back the calls of sessions that run away: tells of them, lets them wait, refuses them, as the settings say."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from llmqd.controls import parse_priority
from llmqd.errors import DeadlineExceeded, NotAllowed, QueueFull, ShuttingDown
from llmqd.events.kinds import Alert, Event
from llmqd.guards.runaways import Held, Runaways

if TYPE_CHECKING:
    from llmqd.call import Call, Record
    from llmqd.config.guards import Guards as GuardSettings
    from llmqd.guards.doing import Doing

_THEN = {
    "alert": "its calls go on",
    "demote": "its calls have a lower priority",
    "pause": "its calls wait",
    "refuse": "its calls are refused",
}


class Others(Protocol):
    """Other daemons that the same sessions call through."""

    def counts(self, session: str, upstream: str, doing: Doing | None, pico: int) -> bool:
        """Whether one of them counts for this session; then it is told of this call."""

    def held(self, session: str, seconds: float, reason: str) -> None:
        """They hold a session back as well, from now on and for so long."""


class Guards:
    """Stands before the budgets. `clock` is monotonic, `wall` Unix time, both in seconds. At most `max_waiting` calls
    wait here (0: any number).
    """

    def __init__(
        self,
        settings: GuardSettings,
        *,
        announce: Callable[[Event], object],
        clock: Callable[[], float],
        wall: Callable[[], float],
        max_waiting: int = 0,
    ) -> None:
        self.runaways = Runaways(settings)
        self.max_waiting = max_waiting
        self.waiting = 0
        self._announce = announce
        self._clock = clock
        self._wall = wall
        self._doing: dict[str, Doing] = {}
        self._changed = asyncio.Event()
        self._closed = False
        self._others: Others | None = None

    def share(self, others: Others) -> None:
        """From now on others count as well."""
        self._others = others

    @property
    def settings(self) -> GuardSettings:
        """Those in force."""
        return self.runaways.settings

    def figures(self) -> tuple[int, int, int]:
        """How many sessions are watched, how many are held back, how many calls wait."""
        return len(self.runaways), self.runaways.held, self.waiting

    def replace(self, settings: GuardSettings, max_waiting: int) -> None:
        """Puts other settings in force; where they differ, who is held back is free again."""
        self.max_waiting = max_waiting
        if settings != self.settings:
            self.runaways.replace(settings)
            self._wake()

    def close(self) -> None:
        """Sends all who wait away, and everybody who would wait later."""
        self._closed = True
        self._wake()

    async def enter(self, call: Call, doing: Doing | None) -> None:
        """A call comes. Waits or gives it a lower priority where its session is held back. `leave` must follow.

        Raises NotAllowed, DeadlineExceeded, QueueFull, ShuttingDown.
        """
        action, session = self.settings.action, call.session.id
        if action == "off" or session is None:
            return
        if doing is not None:
            self._doing[call.id] = doing
        held = self.runaways.holds(session, self._wall())
        if held is None or action == "alert":
            return
        if action == "demote":
            call.priority = max(call.priority, parse_priority(self.settings.demote_to))
        elif action == "refuse":
            raise NotAllowed(
                f"{_sentence(session, held)}; its calls are refused until {_time(held.until)}", retry=False
            )
        else:
            await self._wait(call, session)

    def leave(self, call_id: str) -> None:
        """A call has ended, whatever came of it."""
        self._doing.pop(call_id, None)

    def closed(self, record: Record) -> None:
        """A record was just closed. Only what was answered well counts: repeated failures are the retries of an SDK."""
        call, outcome = record.call, record.outcome
        doing, session = self._doing.pop(call.id, None), call.session.id
        if self.settings.action == "off" or session is None or outcome.queued_ms is None:
            return
        if outcome.status != "done" or not 200 <= (outcome.http_status or 0) < 300:
            return
        pico = 0 if outcome.cost is None else outcome.cost.total
        if self._others is None or not self._others.counts(session, call.upstream, doing, pico):
            self.count(session, call.upstream, doing, pico)

    def count(self, session: str, upstream: str, doing: Doing | None, pico: int) -> None:
        """A call of a session was answered well, here or elsewhere. Tells of it where the session runs away."""
        now = self._wall()
        held = None if self.settings.action == "off" else self.runaways.answered(session, doing, now, pico)
        if held is None:
            return
        message = f"{_sentence(session, held)}; {_THEN[self.settings.action]}"
        self._announce(Alert(name="runaway_session", message=message, upstream=upstream, session=session))
        if self._others is not None:
            self._others.held(session, held.until - now, held.reason)

    def hold(self, session: str, seconds: float, reason: str) -> None:
        """Another daemon has found that a session runs away."""
        if self.settings.action != "off":
            self.runaways.hold(session, Held(self._wall() + min(seconds, self.settings.lasting), reason))

    def held(self) -> list[tuple[str, float, str]]:
        """The sessions that are held back, for how many seconds yet, and why."""
        now = self._wall()
        return [(session, held.until - now, held.reason) for session, held in self.runaways.holding(now)]

    async def _wait(self, call: Call, session: str) -> None:
        if call.no_queue:
            raise QueueFull("the session of this call is paused, and it must not wait", retry=False)
        if self.max_waiting and self.waiting >= self.max_waiting:
            raise QueueFull(f"{self.waiting} calls of paused sessions wait already", retry_after=1.0, retry=True)
        deadline = None if call.max_wait is None else call.arrived + call.max_wait
        self.waiting += 1
        try:
            while self.settings.action == "pause" and (held := self.runaways.holds(session, self._wall())) is not None:
                if self._closed:
                    raise ShuttingDown()
                left = held.until - self._wall()
                patience = left if deadline is None else min(left, deadline - self._clock())
                if patience <= 0 < left:
                    raise DeadlineExceeded(
                        f"{_sentence(session, held)}; its calls are paused until {_time(held.until)}",
                        retry_after=left,
                        retry=False,
                    )
                await self._slept(patience)
        finally:
            self.waiting -= 1

    async def _slept(self, seconds: float) -> None:
        """Until so long has passed, or something has changed."""
        try:
            async with asyncio.timeout(max(seconds, 0.0)):
                await self._changed.wait()
        except TimeoutError:
            return

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def _sentence(session: str, held: Held) -> str:
    return f"the session {session!r} runs away: {held.reason}"


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
