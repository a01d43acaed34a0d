"""Budgets of which all daemons spend: what each has spent and set aside stands in Redis, and is decided on there."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import secrets
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from llmqd.budgets.book import Refused
from llmqd.budgets.meter import Want
from llmqd.budgets.periods import NEVER
from llmqd.cluster.link import FAULTS
from llmqd.cluster.timing import BEAT, GONE

if TYPE_CHECKING:
    from llmqd.budgets.book import Book
    from llmqd.budgets.meter import Meter
    from llmqd.cluster.link import Link

logger = logging.getLogger(__name__)

_EVERY = 2.0
"""Seconds after which what others have spent is looked up even where nothing happens here."""
_LOOKED_UP, _AT_ONCE = 500, 200
"""Budgets that are looked up then, those named last; and those of one script."""
_KEPT = 86400
"""Seconds for which a budget stays in Redis after its period."""


class Sharer(Protocol):
    """The budgets of this daemon."""

    @property
    def book(self) -> Book: ...

    def share(self, sharing: Any) -> None: ...


class _Asked(NamedTuple):
    wants: list[Want]
    held: Callable[[], object]
    answer: asyncio.Future[Refused | Meter | bool]


class SharedBudgets:
    """What `budgets` of this daemon say to those of others.

    `me` is who we are among all; `node` the name of its ledger, which knows what was spent through this daemon alone;
    None: the ledger knows of all daemons.
    """

    def __init__(self, budgets: Sharer, prefix: str, node: str | None) -> None:
        self._book = budgets.book
        self._prefix = prefix
        self.me = secrets.token_hex(8)
        self._node = node
        self._link: Link | None = None
        self._alone = False
        self._asked: list[_Asked] = []
        self._changed: dict[Meter, None] = {}
        self._wanted = asyncio.Event()
        budgets.share(self)

    # What budgets do.

    async def reserve(self, wants: list[Want], held: Callable[[], object]) -> Refused | Meter | bool:
        """See Sharing."""
        if self._alone:
            return False
        asked = _Asked(wants, held, asyncio.get_running_loop().create_future())
        self._asked.append(asked)
        self._wanted.set()
        return await asked.answer

    def changed(self, meters: Iterable[Meter]) -> None:
        """See Sharing."""
        self._changed.update(dict.fromkeys(meters))
        self._wanted.set()

    # What the cluster does.

    def connected(self, link: Link | None) -> None:
        """Others can be asked by this link, or (None) not."""
        before, self._link = self._link, link
        if link is not None and link is not before:
            self.changed(self._book.all_meters())

    def go_alone(self, parts: int) -> None:
        """Nobody can be asked: this daemon goes on with one of so many parts of what is left."""
        self._alone = True
        self._book.divide(1, parts)
        asked, self._asked = self._asked, []
        for each in asked:
            _answer(each, False)

    def come_back(self) -> None:
        """Others can be asked again."""
        self._alone = False
        self._book.divide(1, 1)

    def leave(self, silent: int, parts: int) -> None:
        """So many of the parts of what is left are for daemons that may go on without being heard of."""
        self._book.divide(max(parts - silent, 1), parts)

    async def work(self, failed: Callable[[], None]) -> None:
        """Says what has changed and asks, until it is cancelled; `failed` is told that Redis cannot be reached."""
        looked_up, clock = 0.0, asyncio.get_running_loop().time
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_EVERY):
                    await self._wanted.wait()
            if clock() - looked_up >= _EVERY:
                self.changed(self._book.all_meters()[-_LOOKED_UP:])
                looked_up = clock()
            self._wanted.clear()
            link = self._link
            if link is None or not (self._asked or self._changed):
                continue
            if not await self.say(link):
                failed()
                await asyncio.sleep(BEAT)
                self._wanted.set()

    async def say(self, link: Link) -> bool:
        """Says all that has changed, and asks, in one round trip; whether it went well."""
        asked, self._asked = [each for each in self._asked if not each.answer.done()], []
        changed, self._changed = list(self._changed), {}
        batches = [changed[at : at + _AT_ONCE] for at in range(0, len(changed), _AT_ONCE)]
        meters = [*batches, *([want.meter for want in each.wants] for each in asked)]
        calls = [self._call([Want(meter, 0, 0) for meter in batch]) for batch in batches]
        calls += [self._call(each.wants, set_aside=True) for each in asked]
        spent = [[meter.spent for meter in each] for each in meters]
        starts = [[meter.window for meter in each] for each in meters]
        try:
            async with asyncio.timeout(GONE):
                replies = await link.budgets(calls)
        except FAULTS as error:
            logger.debug("cluster: %s", error)
            self._asked[:0] = asked
            self.changed([meter for each in meters for meter in each])
            if self._alone:
                self.go_alone(self._book.shares[1])
            return False
        for number, (_, _, told) in enumerate(replies):
            for place, meter in enumerate(meters[number]):
                if meter.window == starts[number][place]:
                    total, gone, aside = (int(each) for each in told[3 * place : 3 * place + 3])
                    meter.extra, meter.aside, meter.before = total - spent[number][place], aside, gone
        for each, (refuses, waits, _) in zip(asked, replies[len(batches) :], strict=True):
            self._decided(each, refuses, waits)
        return True

    def _decided(self, asked: _Asked, refuses: int, waits: int) -> None:
        wants = asked.wants
        if asked.answer.done():
            if not refuses and not waits:
                self.changed([want.meter for want in wants])  # nobody needs any more what was set aside
        elif refuses:
            want = wants[refuses - 1]
            _answer(asked, Refused(want.meter, want.likely))
        elif waits:
            _answer(asked, wants[waits - 1].meter)
        else:
            asked.held()
            _answer(asked, True)

    def _call(self, wants: list[Want], *, set_aside: bool = False) -> tuple[list[str], list[str]]:
        keys = [f"{self._prefix}:members"]
        arguments = [self.me, self._node or self.me, str(int(set_aside))]
        for meter, likely, most, bounded in wants:
            keys.append(self._key(meter))
            end = meter.window.end
            before, whole = "", "0"
            if self._node is None and meter.budget not in self._book.unknown:
                before, whole = (str(meter.spent), "1") if meter.before is None else (str(meter.before), "0")
            arguments += [
                self._spent(meter),
                before,
                whole,
                "" if set_aside else str(meter.most),
                str(likely if bounded else -1),
                str(most),
                str(self._book.room(meter)),
                "0" if end == NEVER else str(int(end) + _KEPT),
            ]
        return keys, arguments

    def _spent(self, meter: Meter) -> str:
        """What calls through this daemon have spent; nothing while its ledger has not told."""
        if self._node is None:
            return str(meter.mine)
        return "" if meter.budget in self._book.unknown else str(meter.spent)

    def _key(self, meter: Meter) -> str:
        budget = meter.budget
        what = budget.by, budget.names, budget.limit.unit, budget.limit.period, budget.zone, meter.value, meter.window
        return f"{self._prefix}:budget:{hashlib.sha256(repr(what).encode()).hexdigest()[:32]}"


def _answer(asked: _Asked, verdict: Refused | Meter | bool) -> None:
    if not asked.answer.done():
        asked.answer.set_result(verdict)
