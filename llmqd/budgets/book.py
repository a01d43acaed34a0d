"""Keeps what each budget has spent and set aside, and decides whether a call may go. Pure: time is passed in."""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from llmqd.budgets.charge import SLOT, Amount
from llmqd.budgets.meter import Meter, Want
from llmqd.budgets.periods import Window, window
from llmqd.config.budgets import SCOPES, Budget, Unit

if TYPE_CHECKING:
    from llmqd.store.position import Position

_HEARD = 100_000
"""Calls that ended and are remembered one by one while the ledger is asked; then they are summed up."""

_PATTERN = re.compile(r"[*?\[]")

Values = tuple[str | None, ...]
"""What a call is for, in the order of SCOPES: "" for all, then the names of key, user, agent, session."""


class Need(NamedTuple):
    """What a call is for, when it came (Unix seconds), what it probably takes and what it takes at most.

    `priced` is False where its price is not known.
    """

    values: Values
    at: float
    likely: Amount
    most: Amount
    priced: bool = True


class Refused(NamedTuple):
    """There is not enough left. `unpriced`: nobody can know what the call costs; `needs` is in the budget's unit."""

    meter: Meter
    needs: int
    unpriced: bool = False


class Held(NamedTuple):
    """What is set aside for one call: the meter, the beginning of its period, what is likely and what at most."""

    meter: Meter
    start: float
    likely: int
    most: int


class _Heard(NamedTuple):
    position: Position
    at: float
    values: Values
    amount: Amount


class Book:
    """All meters of all budgets. `settings` are those of the configuration; those of keys come by `set_key`."""

    def __init__(self, settings: Sequence[Budget]) -> None:
        self._general: tuple[Budget, ...] = tuple(dict.fromkeys(settings))
        self._of_key: dict[str, tuple[Budget, ...]] = {}
        self._meters: dict[Budget, OrderedDict[str, Meter]] = {budget: OrderedDict() for budget in self._general}
        self._held: dict[str, list[Held]] = {}
        self._heard: deque[_Heard] | None = None
        self.shares = 1, 1
        """Of what is left of each budget so many of so many parts may be spent."""
        self.unknown: set[Budget] = set(self._general)
        """Budgets of which it has still to be asked what was spent before."""

    def present(self, now: float) -> list[Meter]:
        """Every meter, in the period of now (Unix seconds); those of all and of single keys even if nobody has called.

        Meters whose period is over, and that nothing is set aside in, are nobody's any more and go.
        """
        for budget, meters in self._meters.items():
            for value, meter in list(meters.items()):
                if now >= meter.window.end and not meter.most:
                    del meters[value]
            for value in ("",) if budget.by == "all" else budget.names if budget.by == "key" else ():
                if value not in meters and not _PATTERN.search(value):
                    self._meter(budget, value, now)
        return self.all_meters()

    def all_meters(self) -> list[Meter]:
        """Every meter that there is by now."""
        return [meter for meters in self._meters.values() for meter in meters.values()]

    def divide(self, shares: int, parts: int) -> None:
        """From now on only so many of the parts of what is left of each budget may be spent as far as can be asked."""
        if (shares, parts) != self.shares:
            self.shares = shares, parts
            for meter in self.all_meters():
                meter.bound = None
                self.room(meter)

    def room(self, meter: Meter) -> int:
        """What may be spent of it in all, as far as can be asked."""
        shares, parts = self.shares
        if shares == parts:
            return meter.limit
        if meter.bound is None:
            taken = meter.used + meter.most + meter.aside
            meter.bound = taken + max(meter.limit - taken, 0) * shares // parts
        return meter.bound

    @property
    def budgets(self) -> list[Budget]:
        """All that are in force."""
        return list(self._meters)

    @property
    def empty(self) -> bool:
        """Whether there are no budgets at all."""
        return not self._meters

    def replace(self, settings: Sequence[Budget]) -> None:
        """Puts other budgets of the configuration in force; those that stay go on."""
        self._general = tuple(dict.fromkeys(settings))
        self._keep()

    def set_keys(self, of_key: Mapping[str, tuple[Budget, ...]]) -> None:
        """Puts the budgets of client keys in force, by the names of the keys."""
        if self._of_key != of_key:
            self._of_key = dict(of_key)
            self._keep()

    def set_key(self, name: str, budgets: tuple[Budget, ...]) -> bool:
        """Puts the budgets of one key in force; whether that changes anything."""
        if self._of_key.get(name, ()) == budgets:
            return False
        self._of_key[name] = budgets
        self._keep()
        return True

    def _keep(self) -> None:
        """Budgets that differ from one before only in how much or what then take over what it has spent."""
        wanted = dict.fromkeys([*self._general, *(one for each in self._of_key.values() for one in each)])
        gone = {_same(budget): budget for budget in self._meters if budget not in wanted}
        meters: dict[Budget, OrderedDict[str, Meter]] = {}
        for budget in wanted:
            former = budget if budget in self._meters else gone.pop(_same(budget), None)
            if former is None:
                self.unknown.add(budget)
                meters[budget] = OrderedDict()
                continue
            meters[budget] = self._meters[former]
            if former != budget:
                if former in self.unknown:
                    self.unknown.add(budget)
                for meter in meters[budget].values():
                    meter.renew(budget)
        self._meters = meters
        self.unknown &= set(meters)

    def applying(self, values: Values) -> list[tuple[Budget, str]]:
        """The budgets that a call falls under, each with what it is for."""
        found = []
        for budget in (*self._general, *self._of_key.get(values[1] or "", ())):
            value = values[SCOPES.index(budget.by)]
            if value is not None and budget.has(value):
                found.append((budget, value))
        return found

    def meters(self, values: Values, at: float) -> list[Meter]:
        """The meters of a call that came at that time."""
        return [self._meter(budget, value, at) for budget, value in self.applying(values)]

    def find(self, budget: Budget, value: str) -> Meter | None:
        """The meter of a value; None where nothing is known of it."""
        meters = self._meters.get(budget)
        return None if meters is None else meters.get(value)

    def decide(self, need: Need) -> Refused | Meter | list[Meter]:
        """The meters of a call that may go; the one that lets it wait for calls that run; or a refusal.

        A call may go as long as the budget holds even if all that run take the most that they can, so that only its own
        estimate can be wrong.
        """
        meters: list[Meter] = []
        blocking: Meter | None = None
        for budget, value in self.applying(need.values):
            meter = self._meter(budget, value, need.at)
            unit = budget.limit.unit
            if unit == "usd" and not need.priced:
                if budget.unpriced == "refuse":
                    return Refused(meter, 0, unpriced=True)
                if meter.used < meter.limit:
                    meters.append(meter)
                    continue
            likely = of_unit(need.likely, unit)
            limit = self.room(meter)
            if meter.used >= limit or meter.used + likely > limit:
                return Refused(meter, likely)
            if meter.used + meter.most + meter.aside + likely > limit:
                blocking = blocking or meter
            meters.append(meter)
        return blocking or meters

    def wants(self, need: Need) -> list[Want]:
        """What a call would take of each of its meters."""
        found = []
        for meter in self.meters(need.values, need.at):
            likely, most = of_unit(need.likely, meter.unit), of_unit(need.most, meter.unit)
            bounded = meter.unit != "usd" or need.priced
            found.append(Want(meter, likely, max(likely, most), bounded))
        return found

    def hold(self, call_id: str, need: Need, meters: Sequence[Meter]) -> None:
        """Sets aside what a call needs until it ends."""
        held = []
        for meter in meters:
            likely, most = of_unit(need.likely, meter.budget.limit.unit), of_unit(need.most, meter.budget.limit.unit)
            meter.likely += likely
            meter.most += max(likely, most)
            held.append(Held(meter, meter.window.start, likely, max(likely, most)))
        self._held[call_id] = held

    def release(self, call_id: str) -> list[Meter]:
        """What was set aside for a call is free again; the meters that it was set aside in."""
        held = self._held.pop(call_id, None)
        if held is None:
            return []
        for meter, start, likely, most in held:
            if meter.window.start == start:
                meter.likely -= likely
                meter.most -= most
        return [one.meter for one in held]

    def settle(self, values: Values, at: float, amount: Amount, position: Position) -> list[Meter]:
        """A call that came at `at` has ended, and is in the journal before `position`. The meters that it counts in."""
        if self._heard is not None:
            self._hear(_Heard(position, at, values, amount))
        meters = []
        for budget, value in self.applying(values):
            meter = self._meter(budget, value, None, at)
            if meter.window.start <= at < meter.window.end:
                meter.spent += of_unit(amount, budget.limit.unit)
                meter.mine += of_unit(amount, budget.limit.unit)
                meters.append(meter)
        return meters

    def listen(self) -> None:
        """From now on it is remembered which calls end, so that an answer of the ledger can be told apart from them."""
        if self._heard is None:
            self._heard = deque()

    def listened(self) -> None:
        """The ledger has answered."""
        self._heard = None

    def recalled(self, budget: Budget, when: Window, rows: Iterable[tuple[str, Amount]], position: Position) -> None:
        """What was spent in a period, of all calls that are in the journal before `position`; the latest first."""
        meters = self._meters.get(budget)
        if meters is None:
            return
        unit = budget.limit.unit
        for meter in meters.values():
            if meter.window == when:
                meter.spent = meter.extra = 0
                meter.bound = None
        for value, amount in reversed(list(rows)):
            if budget.has(value):
                meter = self._meter(budget, value, when.start)
                if meter.window == when:
                    meter.spent = of_unit(amount, unit)
        for heard in self._heard or ():
            whose = heard.values[SCOPES.index(budget.by)]
            if heard.position > position and whose is not None and budget.has(whose):
                meter = self._meter(budget, whose, None, heard.at)
                if meter.window == when and when.start <= heard.at < when.end:
                    meter.spent += of_unit(heard.amount, unit)

    def _meter(self, budget: Budget, value: str, at: float | None, first: float = 0.0) -> Meter:
        """The meter of a value, in the period of `at`; as it is where that is None, begun at `first` if it is new."""
        meters = self._meters[budget]
        meter = meters.get(value)
        if meter is None:
            begin = first if at is None else at
            meter = meters[value] = Meter(budget, value, window(budget.limit.period, budget.zone, begin))
            self._forget(meters, budget.max_tracked)
        else:
            meters.move_to_end(value)
            if at is not None and meter.turn(at):
                self.unknown.add(budget)
        return meter

    def _forget(self, meters: OrderedDict[str, Meter], most: int) -> None:
        """Those that have been silent the longest go; not those for whom something is set aside."""
        passed = 0
        while len(meters) > most and passed < len(meters) - 1:
            value, meter = next(iter(meters.items()))
            if meter.most or meter.likely:
                meters.move_to_end(value)
                passed += 1
            else:
                del meters[value]

    def _hear(self, heard: _Heard) -> None:
        assert self._heard is not None
        if len(self._heard) >= _HEARD:
            summed: dict[tuple[Values, int], _Heard] = {}
            for one in self._heard:
                key = one.values, int(one.at // SLOT)
                before = summed.get(key)
                # Together they count as the last of them: rather too much is taken for spent than too little.
                summed[key] = one if before is None else one._replace(amount=before.amount.plus(one.amount))
            self._heard = deque([*summed.values()][-_HEARD // 2 :])
        self._heard.append(heard)


def of_unit(amount: Amount, unit: Unit) -> int:
    """An amount in the unit of a budget."""
    return amount.pico if unit == "usd" else amount.tokens if unit == "tokens" else amount.calls


def _same(budget: Budget) -> tuple[object, ...]:
    """What budgets have in common that count the same."""
    return budget.by, budget.names, budget.limit.unit, budget.limit.period, budget.zone
