"""Holds calls to the budgets: sets aside before they are sent, settles when they end, tells when one runs low."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from llmqd.budgets.book import Book, Need, Refused, Values
from llmqd.budgets.charge import NOTHING, charged
from llmqd.budgets.meter import Meter
from llmqd.budgets.periods import NEVER
from llmqd.budgets.saying import figures, named, reset
from llmqd.budgets.together import Together
from llmqd.config.budgets import Budget, amount_text
from llmqd.controls import parse_priority
from llmqd.errors import BudgetExceeded, DeadlineExceeded, QueueFull, ShuttingDown
from llmqd.events.kinds import Alert, Event

if TYPE_CHECKING:
    from llmqd.budgets.expectations import Expectations
    from llmqd.budgets.together import Sharing
    from llmqd.call import Call, Record
    from llmqd.lane.throttle import Demand
    from llmqd.store.position import Position

logger = logging.getLogger(__name__)

_PATIENCE = 0.5
"""Seconds that a call waits for what the ledger knows of a budget that is new; then it goes by what is known."""
_SOON = 60.0
"""Seconds to the next period within which an SDK may as well try again by itself."""


class Journal(Protocol):
    """Where records are written, as far as budgets know it."""

    @property
    def end(self) -> Position: ...


class _Waiter:
    """A call that waits until calls that run have ended."""

    __slots__ = ("call_id", "meter", "need", "turn")

    def __init__(self, call_id: str, need: Need, turn: asyncio.Future[None]) -> None:
        self.call_id = call_id
        self.need = need
        self.turn = turn
        self.meter: Meter | None = None
        """Where it waits; None where it does not any more."""


class Budgets:
    """Stands before all lanes. `provider` gives whose prices an upstream has; `clock` is monotonic, `wall` Unix time,
    both in seconds.

    At most `max_waiting` calls wait here (0: any number), and only while calls that run could use up the rest.
    """

    def __init__(
        self,
        settings: Sequence[Budget],
        expectations: Expectations,
        journal: Journal,
        *,
        provider: Callable[[str], str | None],
        announce: Callable[[Event], object],
        clock: Callable[[], float],
        wall: Callable[[], float],
        max_waiting: int = 0,
    ) -> None:
        self.book = Book(settings)
        self.expectations = expectations
        self.max_waiting = max_waiting
        self.wanted, self.tried = asyncio.Event(), asyncio.Event()
        self._journal = journal
        self._provider = provider
        self._announce = announce
        self._clock = clock
        self._wall = wall
        self._waiting: dict[Meter, deque[_Waiter]] = {}
        self._together = Together(self.book)
        self._closed = False
        self._asked: set[Budget] = set()
        self._ask()
        self.tried.clear()
        self.wanted.set()

    def __repr__(self) -> str:
        return f"<Budgets {len(self.book.budgets)} in force, {self.waiting} calls wait>"

    @property
    def waiting(self) -> int:
        """How many calls wait for others to end."""
        return sum(map(len, self._waiting.values())) + self._together.waiting

    def share(self, sharing: Sharing) -> None:
        """From now on other daemons spend of the same budgets."""
        self._together.begin(sharing)

    def present(self) -> list[Meter]:
        """Every meter, in the period of now; those of all and of named keys even if nobody has called."""
        return self.book.present(self._wall())

    def replace(self, settings: Sequence[Budget], max_waiting: int) -> None:
        """Puts other budgets of the configuration in force."""
        self.max_waiting = max_waiting
        self.book.replace(settings)
        self._changed()

    def set_keys(self, of_key: Mapping[str, tuple[Budget, ...]]) -> None:
        """Puts the budgets of client keys in force, by the names of the keys."""
        self.book.set_keys(of_key)
        self._changed()

    def set_key(self, name: str, budgets: tuple[Budget, ...]) -> None:
        """Puts the budgets of one key in force."""
        if self.book.set_key(name, budgets):
            self._changed()

    def regrouped(self) -> None:
        """Calls belong to other sessions than was thought."""
        moved = {budget for budget in self.book.budgets if budget.by == "session"}
        self.book.unknown |= moved
        self._asked -= moved
        self._ask()

    def listen(self) -> list[Budget]:
        """The ledger is asked now: the budgets of which it is to tell what was spent."""
        self.book.listen()
        return list(self.book.unknown)

    def known(self, asked: Sequence[Budget]) -> None:
        """The ledger has told all of these, unless more is wanted meanwhile: then all are asked for once more."""
        if not self.wanted.is_set():
            self.book.unknown.difference_update(asked)
            self._asked.difference_update(asked)
        if not self.book.unknown:
            self.book.listened()

    def close(self) -> None:
        """Sends all who wait away, and everybody who would wait later."""
        self._closed = True
        for waiters in list(self._waiting.values()):
            for waiter in waiters:
                if not waiter.turn.done():
                    waiter.turn.set_exception(ShuttingDown())
        self._waiting.clear()
        self._together.close(ShuttingDown())

    async def hold(self, record: Record, demand: Demand) -> None:
        """Sets aside what a call needs; waits while calls that run may take the rest, as long as the call may wait.

        The call gets a lower priority where a budget that runs low says so. Raises BudgetExceeded, DeadlineExceeded,
        QueueFull, ShuttingDown. `release` must follow.
        """
        if self.book.empty:
            return
        call = record.call
        values = values_of(call)
        applying = [budget for budget, _ in self.book.applying(values)]
        if not applying:
            return
        if not self.tried.is_set() and not self.book.unknown.isdisjoint(applying):
            await self._known()
        expected = self.expectations.of(call, demand, self._provider(call.upstream))
        need = Need(values, call.received_at, *expected)
        call.reserved_tokens, call.reserved_pico = expected.likely.tokens, expected.likely.pico
        if self.book.unknown:
            self._ask()
        agreed = await self._agreed(call, need) if self._together.sharing is not None else False
        if isinstance(agreed, Refused):
            raise self._refused(agreed, need)
        if not agreed:
            await self._hold_here(call, need)
        self._demote(call, values)

    async def _agreed(self, call: Call, need: Need) -> Refused | bool:
        """Whether it was set aside among all daemons; False where nobody can be asked."""
        try:
            async with asyncio.timeout(self._left(call)):
                return await self._together.hold(call.id, need, lambda meter: self._may_wait(call, meter))
        except TimeoutError:
            raise _too_late("of a budget") from None

    async def _hold_here(self, call: Call, need: Need) -> None:
        decision = self.book.decide(need)
        if isinstance(decision, Refused):
            raise self._refused(decision, need)
        if isinstance(decision, Meter) or any(meter in self._waiting for meter in decision):
            first = decision if isinstance(decision, Meter) else next(one for one in decision if one in self._waiting)
            await self._wait(call, need, first)
        else:
            self.book.hold(call.id, need, decision)

    def check_unmetered(self, call: Call) -> None:
        """For what costs money that no answer tells of: batches, WebSockets. Raises BudgetExceeded."""
        for meter in self.book.meters(values_of(call), call.received_at):
            if meter.used >= meter.limit:
                raise self._refused(Refused(meter, 0), Need(values_of(call), call.received_at, NOTHING, NOTHING))
            if meter.unit != "calls" and meter.budget.unpriced == "refuse":
                raise BudgetExceeded(
                    f"what batches and WebSockets take is not told by any answer, so {named(meter)} cannot bear them;"
                    ' unpriced = "allow" at the budget lets them through uncounted',
                    retry=False,
                )

    def closed(self, record: Record) -> None:
        """A record was just written into the journal: what its call used is spent."""
        if self.book.empty:
            return  # the first budget learns from the ledger what calls were like before it
        call, outcome = record.call, record.outcome
        self.expectations.learn(record)
        usage, cost = outcome.usage, outcome.cost
        amount = charged(
            status=outcome.status,
            error=outcome.error,
            http_status=outcome.http_status,
            waited=outcome.queued_ms is not None,
            attempts=outcome.attempts,
            tokens=None if usage is None or usage.source == "unknown" else usage.total,
            pico=None if cost is None else cost.total,
            reserved=(call.reserved_tokens, call.reserved_pico),
        )
        freed = self.book.release(call.id)
        if amount.calls:
            changed = self.book.settle(values_of(call), call.received_at, amount, self._journal.end)
            for meter in changed:
                self._tell(meter, call)
            self._together.changed(changed)
        self._serve(freed)

    def release(self, call_id: str) -> None:
        """A call has ended, whatever came of it. May be said more than once."""
        if freed := self.book.release(call_id):
            self._serve(freed)

    def _changed(self) -> None:
        self._ask()
        self._serve(list(self._waiting))

    def _ask(self) -> None:
        """Asks for what nobody has asked for yet."""
        new = self.book.unknown - self._asked
        self._asked |= new
        if new:
            self.book.listen()
            self.tried.clear()
            self.wanted.set()

    async def _known(self) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                await self.tried.wait()
        except TimeoutError:
            self.tried.set()  # once is enough

    def _left(self, call: Call) -> float | None:
        """Seconds for which a call may wait yet."""
        return None if call.max_wait is None else max(call.max_wait - (self._clock() - call.arrived), 0.0)

    def _may_wait(self, call: Call, meter: Meter) -> None:
        if self._closed:
            raise ShuttingDown()
        if call.no_queue:
            raise QueueFull(
                f"the rest of {named(meter)} is set aside for calls that run, and this one must not wait",
                retry_after=1.0, retry=True,
            )  # fmt: skip
        if self.max_waiting and self.waiting >= self.max_waiting:
            raise QueueFull(
                f"{self.waiting} calls wait already for calls that run to show what they leave of {named(meter)}",
                retry_after=1.0, retry=True,
            )  # fmt: skip

    async def _wait(self, call: Call, need: Need, meter: Meter) -> None:
        self._may_wait(call, meter)
        waiter = _Waiter(call.id, need, asyncio.get_running_loop().create_future())
        self._enqueue(waiter, meter)
        try:
            async with asyncio.timeout(self._left(call)):
                await waiter.turn
        except TimeoutError:
            raise _too_late(f"of {named(meter)}") from None
        finally:
            self._leave(waiter)

    def _enqueue(self, waiter: _Waiter, meter: Meter) -> None:
        waiter.meter = meter
        self._waiting.setdefault(meter, deque()).append(waiter)

    def _leave(self, waiter: _Waiter) -> None:
        meter, waiter.meter = waiter.meter, None
        if meter is not None and waiter in (waiters := self._waiting.get(meter, deque())):
            waiters.remove(waiter)
            if not waiters:
                self._waiting.pop(meter, None)
            self._serve([meter])

    def _serve(self, meters: Iterable[Meter]) -> None:
        """Lets those go who wait at these meters, in their order, as far as there is enough now."""
        meters = dict.fromkeys(meters)
        self._together.changed(meters)
        for meter in meters:
            while waiters := self._waiting.get(meter):
                waiter = waiters[0]
                decision = None if waiter.turn.done() else self.book.decide(waiter.need)
                if decision is meter:
                    break
                waiters.popleft()
                waiter.meter = None
                if not waiters:
                    del self._waiting[meter]
                if isinstance(decision, Meter):
                    self._enqueue(waiter, decision)
                elif isinstance(decision, Refused):
                    waiter.turn.set_exception(self._refused(decision, waiter.need))
                elif decision is not None:
                    self.book.hold(waiter.call_id, waiter.need, decision)
                    self._together.changed(decision)
                    waiter.turn.set_result(None)

    def _demote(self, call: Call, values: Values) -> None:
        for budget, value in self.book.applying(values):
            meter = self.book.find(budget, value)
            if budget.demote_to is not None and meter is not None and meter.low:
                call.priority = max(call.priority, parse_priority(budget.demote_to))

    def _refused(self, refused: Refused, need: Need) -> BudgetExceeded:
        meter = refused.meter
        budget, (_, end) = meter.budget, meter.window
        unit = budget.limit.unit
        if refused.unpriced:
            return BudgetExceeded(
                f"the price of this call is not known, so {named(meter)} cannot bear it: set a [[price]] for its"
                ' model, or unpriced = "allow" at the budget',
                retry=False,
            )
        if not meter.spent_told:
            meter.spent_told = True
            self._alert("budget_exceeded", f"{named(meter)} is used up: {figures(meter)}; calls are refused", meter)
        when, wait = reset(meter, need.at)
        soon = wait is not None and wait <= _SOON
        return BudgetExceeded(
            f"{named(meter)} is used up: {figures(meter)}, and this call needs about"
            f" {amount_text(refused.needs, unit)}; {when}",
            retry_after=wait if end != NEVER else None,
            retry=soon,
        )

    def _tell(self, meter: Meter, call: Call) -> None:
        if meter.used >= meter.limit and not meter.spent_told:
            meter.spent_told = meter.low_told = True
            self._alert("budget_exceeded", f"{named(meter)} is used up: {figures(meter)}; calls are refused", meter)
        elif meter.low and not meter.low_told:
            meter.low_told = True
            percent = meter.used * 100 // meter.limit
            when, _ = reset(meter, call.received_at)
            self._alert("budget_low", f"{percent} % of {named(meter)}: {figures(meter)}; {when}", meter)

    def _alert(self, name: str, message: str, meter: Meter) -> None:
        session = meter.value if meter.budget.by == "session" else None
        self._announce(Alert(name=name, message=message, session=session))


def values_of(call: Call) -> Values:
    """What a call is for, in the order of SCOPES."""
    return "", call.key, call.user, call.agent, call.session.id


def _too_late(of_what: str) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"the rest {of_what} was set aside for calls that run, all the time that this one could wait",
        retry_after=1.0, retry=True,
    )  # fmt: skip
