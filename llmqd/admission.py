"""Lets a call in: past the guards, within the budgets and its key's own rates, while its key may be used."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from llmqd.background import Beside
from llmqd.errors import InvalidKey, NotAllowed
from llmqd.lane.turn import Turn

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from llmqd.auth.callers import Caller
    from llmqd.auth.key import ClientKey
    from llmqd.auth.key_lanes import KeyLanes
    from llmqd.auth.keyring import Keyring
    from llmqd.budgets.budgets import Budgets
    from llmqd.call import Call, Record
    from llmqd.config.budgets import Budget
    from llmqd.guards.doing import Doing
    from llmqd.guards.guards import Guards
    from llmqd.lane.lane import Lane
    from llmqd.lane.lanes import Lanes
    from llmqd.lane.standing import Standing
    from llmqd.lane.throttle import Demand
    from llmqd.routing import Hop

logger = logging.getLogger(__name__)

_EVERY = 0.5
"""Seconds after which it is looked again whether the keys of waiting calls may still be used."""
_KEEP_USES_EVERY = 10.0


class Admission(Beside):
    """Stands before the lanes of the upstreams. An async context manager: inside, calls whose key is revoked or
    expires while they wait are sent away, and it is kept when keys were last used.
    """

    def __init__(
        self,
        keyring: Keyring,
        key_lanes: KeyLanes,
        lanes: Lanes,
        guards: Guards,
        budgets: Budgets,
        *,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(
            self._watch, name="keys", logger=logger, dead="the keys of waiting calls will not be looked at any more"
        )
        self._keyring = keyring
        self._key_lanes = key_lanes
        self._lanes = lanes
        self._guards = guards
        self._budgets = budgets
        self._clock = clock
        self._unusable: frozenset[str] = frozenset()

    def check(self, call: Call, caller: Caller) -> None:
        """Raises InvalidKey where the key of this call may not be used any more: its turn has come too late."""
        if caller.key is not None:
            self._keyring.check(caller.key.name)

    def check_unmetered(self, call: Call) -> None:
        """For what costs money that no answer tells of. Raises BudgetExceeded."""
        self._budgets.check_unmetered(call)

    def enter(
        self, record: Record, caller: Caller, demand: Demand, standing: Standing, doing: Doing | None = None
    ) -> Entry:
        """`async with` it asks the guards, sets aside what the call needs of its budgets, and waits for its key's own
        rates; leaving settles all of it.

        `doing` is what it is about to do. Entering raises what a Turn raises, NotAllowed and BudgetExceeded.
        """
        turn = None
        if caller.key is not None:
            self._budgets.set_key(caller.key.name, caller.key.allowances)
            lane = self._key_lanes.lane(caller.key)
            turn = None if lane is None else Turn(lane, record.call, demand, standing)
        return Entry(self._guards, self._budgets, record, demand, doing, turn)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await super().__aexit__(kind, error, trace)
        await asyncio.to_thread(self._keyring.keep_uses)

    async def _watch(self) -> None:
        kept = self._clock()
        while True:
            await asyncio.sleep(_EVERY)
            try:
                self.sweep()
                if self._clock() - kept > _KEEP_USES_EVERY:
                    kept = self._clock()
                    await asyncio.to_thread(self._keyring.keep_uses)
            except Exception:  # the next look may go better; without any, revoked keys still get no turn
                logger.exception("the keys of waiting calls could not be looked at")

    def sweep(self) -> None:
        """Sends away who waits with a key that may not be used any more, and puts the keys' budgets in force."""
        usable = self._keyring.usable()
        self._budgets.set_keys(budgets_of(key for key in self._keyring if key.name in usable))
        lanes: Iterable[Lane] = [*self._lanes, *self._key_lanes]
        gone = frozenset(key.name for key in self._keyring) - usable
        if gone - self._unusable or self._keyring.fault is not None:
            for lane in lanes:
                for ticket in list(lane.tickets()):
                    name = ticket.call.key
                    if name is not None and name not in usable and not name.startswith("uid-"):
                        lane.cancel(ticket, InvalidKey("the key of this call was revoked while it waited", known=True))
        for name in gone:
            self._key_lanes.forget(name)
        self._unusable = gone


class Entry:
    """One call's way in; see `Admission.enter`. `turn` is that of its key's own rates, where it has any."""

    __slots__ = ("_budgets", "_demand", "_doing", "_guards", "_record", "_turn")

    def __init__(
        self, guards: Guards, budgets: Budgets, record: Record, demand: Demand, doing: Doing | None, turn: Turn | None
    ) -> None:
        self._guards = guards
        self._budgets = budgets
        self._record = record
        self._demand = demand
        self._doing = doing
        self._turn = turn

    async def __aenter__(self) -> None:
        try:
            await self._guards.enter(self._record.call, self._doing)
            await self._budgets.hold(self._record, self._demand)
            if self._turn is not None:
                await self._turn.__aenter__()
        except BaseException:
            self._release()
            raise
        if self._turn is not None:
            self._turn.sent()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._turn is not None:
                if error is None:
                    self._turn.used(self._record.outcome.usage)
                else:
                    self._turn.failed()
                await self._turn.__aexit__(kind, error, trace)
        finally:
            self._release()

    def _release(self) -> None:
        self._budgets.release(self._record.call.id)
        self._guards.leave(self._record.call.id)


def budgets_of(keys: Iterable[ClientKey]) -> dict[str, tuple[Budget, ...]]:
    """The budgets of client keys, by the names of the keys that have any."""
    return {key.name: key.allowances for key in keys if key.budgets}


def allowed_hops(hops: Sequence[Hop], caller: Caller, model: str | None, *, asks_model: bool) -> Sequence[Hop]:
    """Those places to which this caller may send a call to this model. Raises NotAllowed where there are none.

    `asks_model`: what is sent can make a model work, so that a key for some models must name one of them.
    """
    key = caller.key
    if key is None:
        return hops
    if asks_model and not key.may_use_model(model):
        named = "a call that names no model" if model is None else f"the model {model!r}"
        raise NotAllowed(f"the key {key.name!r} does not allow {named}; it allows {', '.join(key.models)}", retry=False)
    allowed = [hop for hop in hops if key.may_use_upstream(hop.upstream.name)]
    if not allowed:
        raise NotAllowed(
            f"the key {key.name!r} does not allow the upstream {hops[0].upstream.name!r}; it allows"
            f" {', '.join(key.upstreams)}",
            retry=False,
        )
    return allowed
