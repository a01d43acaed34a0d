"""Budgets of which several daemons spend: asks them all before a call goes, and waits for what they have set aside."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from llmqd.budgets.book import Need, Refused
from llmqd.budgets.meter import Meter

if TYPE_CHECKING:
    from llmqd.budgets.book import Book
    from llmqd.budgets.meter import Want
    from llmqd.errors import CallRefused

_AGAIN = 0.25
"""Seconds after which it is asked again whether other daemons have come to need less than they set aside."""


class Sharing(Protocol):
    """The way to the others."""

    async def reserve(self, wants: list[Want], held: Callable[[], object]) -> Refused | Meter | bool:
        """Sets aside what is wanted, of everything or nothing, and runs `held` at once where that was done (True).

        Otherwise the meter that has too little left until calls have ended, or a refusal; False where nobody can be
        asked.
        """
        ...

    def changed(self, meters: Iterable[Meter]) -> None:
        """Something else is spent or set aside of these."""
        ...


class _Line:
    """Calls that wait at one meter, in their order."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.count = 0
        self.freed = asyncio.Event()


class Together:
    """What a call needs is set aside among all daemons, once there is a `sharing`."""

    def __init__(self, book: Book) -> None:
        self.sharing: Sharing | None = None
        self._book = book
        self._lines: dict[Meter, _Line] = {}
        self._closed: CallRefused | None = None

    def begin(self, sharing: Sharing) -> None:
        """From now on there are others."""
        self.sharing = sharing
        sharing.changed(self._book.all_meters())

    @property
    def waiting(self) -> int:
        """How many calls wait for others to end."""
        return sum(line.count for line in self._lines.values())

    def changed(self, meters: Iterable[Meter]) -> None:
        """Calls have ended."""
        if self.sharing is None:
            return
        self.sharing.changed(meters)
        for meter in meters:
            if (line := self._lines.get(meter)) is not None:
                line.freed.set()

    def close(self, error: CallRefused) -> None:
        """Sends all who wait away."""
        self._closed = error
        for line in self._lines.values():
            line.freed.set()

    async def hold(self, call_id: str, need: Need, may_wait: Callable[[Meter], None]) -> Refused | bool:
        """Sets aside what a call needs and says so; False where nobody can be asked. `may_wait` raises where the call
        must not wait at a meter."""
        meters = self._book.meters(need.values, need.at)
        first = next((meter for meter in meters if meter in self._lines), None)
        if first is None:
            verdict = await self._reserve(call_id, need)
            if not isinstance(verdict, Meter):
                return verdict
            first = verdict
        may_wait(first)
        line = self._lines.setdefault(first, _Line())
        line.count += 1
        try:
            async with line.lock:
                while isinstance(verdict := await self._reserve(call_id, need), Meter):
                    line.freed.clear()
                    try:
                        async with asyncio.timeout(_AGAIN):
                            await line.freed.wait()
                    except TimeoutError:
                        pass
                return verdict
        finally:
            line.count -= 1
            if not line.count:
                self._lines.pop(first, None)

    async def _reserve(self, call_id: str, need: Need) -> Refused | Meter | bool:
        """One attempt. What is known here suffices for a refusal: what is spent stays spent."""
        assert self.sharing is not None
        if self._closed is not None:
            raise self._closed
        known = self._book.decide(need)
        if isinstance(known, Refused):
            return known
        wants = self._book.wants(need)
        return await self.sharing.reserve(wants, lambda: self._book.hold(call_id, need, [want.meter for want in wants]))
