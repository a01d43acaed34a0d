"""The limits of one lane in every dimension: says when a call may go, reserves what it needs, settles what it used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NamedTuple

import msgspec

from llmqd.config.limits import DIMENSIONS, Dimension, Limits
from llmqd.lane.amounts import Ask, counted, least, reserved
from llmqd.lane.gauge import Gauge
from llmqd.lane.limiting import Reset
from llmqd.lane.meters import Meter
from llmqd.lane.spacing import Patience
from llmqd.usage import LaneUsage, Usage

MOST_GROUPS = 256
"""Groups, configured or not, for which limits can be learned."""

_RATES = ("requests_per_minute", "requests_per_second")


class Block(NamedTuple):
    """Why a call may not go now.

    `until` is the moment at which to ask again; infinity where only the end of a running call helps. `group` is the
    model group that is held up; "" means that everybody is.
    """

    until: float
    dimension: Dimension
    group: str


@dataclass(frozen=True, slots=True)
class Figure:
    """One limit in figures. `limit` is in force, `configured` as set (0: not), `learned` None where nothing was.

    `used` is the share of the limit that is used up in its window, from 0 to 1.
    """

    dimension: Dimension
    group: str
    limit: float
    configured: float
    learned: float | None
    used: float
    algorithm: str


class _Charge(NamedTuple):
    """What a reservation has taken from one meter."""

    gauge: Gauge
    meter: Meter
    amount: float


class Reservation(msgspec.Struct):
    """What one attempt of a call holds of the limits, until it is settled or given back. `open` until then."""

    ask: Ask
    taken: float
    charges: tuple[_Charge, ...]
    open: bool = True
    sent: bool = False


class Gate:
    """All limits of one lane, those of the key and those of its model groups. Pure: times are monotonic seconds.

    A call passes in this order: `never_fits`, `block` (or `ready_at`), `take`, `poised`, `sent`, and once `settle` or
    `give_back`. After each of the last three, calls that wait may be free to go. Only who waits for the moment that
    `poised` gives may ask it. A call counts against the limits of the key and against those of its group; the key's
    assumed rate is waived where the group has a rate of its own.

    `wall_offset` is the wall clock (seconds since 1970) minus the monotonic one; windows of the wall clock need it.
    `patience` as in Even.
    """

    def __init__(self, limits: Limits, *, wall_offset: float = 0.0, patience: Patience = None) -> None:
        self._patience = patience
        self._wall_offset = wall_offset
        self._limits = limits
        self._share = 1.0
        self._gauges: dict[str, dict[Dimension, Gauge]] = {}
        self._in_force: dict[str, tuple[tuple[Gauge, Meter], ...]] = {}
        """What calls of a group count against, for as long as no limit changes."""
        self._configure(limits, 0.0, anew=False)

    def group_of(self, model: str | None) -> str:
        """The name of the first model group that this model fits; "" for none."""
        for group in self._limits.groups:
            if any(fnmatchcase(model or "", pattern) for pattern in group.models):
                return group.name
        return ""

    def manners(self, group: str) -> Limits:
        """How calls of a model group are counted against limits on tokens."""
        if not group:
            return self._limits
        return next((one.limits for one in self._limits.groups if one.name == group), self._limits)

    def never_fits(self, ask: Ask) -> str | None:
        """Why this call can never be sent, as a sentence; None where it can.

        Only what is certain counts, and only limits that were configured: a call that is merely expected to be too
        large reserves all there is.
        """
        for gauge, meter in self._metered(ask):
            if not gauge.configured:
                continue
            needed = least(ask, gauge.dimension, gauge.limits)
            if needed > max(gauge.configured, meter.capacity):
                where = f" of the models {gauge.group}" if gauge.group else ""
                what = "tokens" if gauge.in_tokens else "calls"
                return (
                    f"this call needs at least {needed:.0f} {what}, but {gauge.dimension}{where} is"
                    f" {gauge.configured:g}, so it could never be sent"
                )
        return None

    def block(self, ask: Ask, now: float) -> Block | None:
        """What keeps this call from going now; None when it may go.

        A limit of the key comes before one of its group, since it holds up everybody.
        """
        worst: Block | None = None
        for gauge, meter in self._metered(ask):
            if worst is not None and not worst.group and gauge.group:
                break
            at = meter.ready_at(self._need(gauge, meter, ask), now)
            if at > now and (worst is None or at > worst.until):
                worst = Block(at, gauge.dimension, gauge.group)
        return worst

    def ready_at(self, ask: Ask, now: float) -> float:
        """The moment from which this call may go as far as can be said now; infinity where a running one must end."""
        return max(
            (meter.ready_at(self._need(gauge, meter, ask), now) for gauge, meter in self._metered(ask)), default=now
        )

    def wait_for(self, position: int, ask: Ask, now: float, before: Ask | None = None) -> float:
        """Seconds until a call like `ask` at this position (1 is next) may go, if those before it are like `before`."""
        latest = now
        for gauge, meter in self._metered(ask):
            ahead = 0.0
            if position > 1:
                each = before or ask
                if gauge.limits.reserve_output == "refunded":  # what is not used will have come back by then
                    each = msgspec.structs.replace(each, max_tokens=None)
                ahead = self._need(gauge, meter, each) * (position - 1)
            latest = max(latest, meter.eta(ahead + self._need(gauge, meter, ask), now))
        return latest - now

    def take(self, ask: Ask, now: float, *, waited: bool) -> Reservation:
        """Reserves what a call needs; `block` must have allowed it. `waited`: it was waiting when its moment came."""
        charges = tuple([_Charge(gauge, meter, self._need(gauge, meter, ask)) for gauge, meter in self._metered(ask)])
        for gauge, meter, amount in charges:
            meter.take(amount, now, waited=waited)
            if now < gauge.first:
                gauge.first = now
        return Reservation(ask, now, charges)

    def poised(self, reservation: Reservation, now: float) -> float:
        """The call's request could leave now; gives the moment from which it may."""
        at = now
        for charge in reservation.charges:
            if (moment := charge.meter.poised(now, reservation.taken)) > at:
                at = moment
        return at

    def sent(self, reservation: Reservation, now: float) -> None:
        """The call's request has really left at `now`, or, reported again, not before."""
        if not reservation.open:
            return
        reservation.sent = True
        for charge in reservation.charges:
            charge.meter.sent(now, reservation.taken)

    def settle(self, reservation: Reservation, usage: Usage | None, now: float, *, counted: bool = True) -> None:
        """The call has ended. Replaces what was reserved by what was used, as far as `usage` tells.

        `counted` False means that the provider does not count it (refused or failed): everything goes back. Without
        usage, what was reserved stays. A reservation that is settled already is left alone.
        """
        if not reservation.open:
            return
        if not reservation.sent:
            self.sent(reservation, reservation.taken)
        reservation.open = False
        for charge in reservation.charges:
            used = self._used(reservation.ask, charge, usage) if counted else 0.0
            if used != charge.amount:
                charge.meter.correct(used - charge.amount, now, reservation.taken)
            charge.meter.finish(charge.amount, used, now)

    def adopt(self, ask: Ask, taken: float) -> Reservation:
        """Holds what a call was given that was let through elsewhere at `taken`, is counted already, and runs."""
        charges = tuple(_Charge(gauge, meter, self._need(gauge, meter, ask)) for gauge, meter in self._metered(ask))
        for charge in charges:
            charge.meter.adopt(charge.amount)
        reservation = Reservation(ask, taken, charges)
        reservation.sent = True
        return reservation

    def give_back(self, reservation: Reservation, now: float) -> None:
        """The call was never sent: everything is as if it had never been let through."""
        if reservation.sent:
            self.settle(reservation, None, now, counted=False)
            return
        if not reservation.open:
            return
        reservation.open = False
        for charge in reservation.charges:
            charge.meter.give_back(charge.amount, now, reservation.taken)
            charge.meter.finish(charge.amount, 0.0, now)

    def retune(self, limits: Limits, now: float, *, wall_offset: float | None = None) -> None:
        """Applies another configuration; what is used stays used, what was learned stays learned."""
        if wall_offset is not None:
            self._wall_offset = wall_offset
        self._configure(limits, now, anew=True)

    def lower(
        self,
        dimension: Dimension,
        group: str,
        amount: float | None,
        now: float,
        reset: Reset | None = None,
        used: float | None = None,
    ) -> None:
        """Sets a learned limit, which holds where it is below the configured one; None forgets it.

        In place of an assumed rate it holds even if it is above. `group` may be one that is not configured (calls are
        counted in the group that their Ask names). `reset` and `used` as in `Gauge.learn`. Raises ValueError for an
        amount that is not above 0.
        """
        if amount is not None and not amount > 0:
            raise ValueError(f"a learned limit must be above 0, not {amount}")
        gauges = self._gauges.get(group)
        if gauges is None:
            if amount is None or len(self._gauges) >= MOST_GROUPS:
                return
            gauges = self._gauges[group] = self._new_gauges(group, _without_limits(self._limits))
        gauges[dimension].learn(amount, reset, used, now, self._wall_offset)
        self._in_force.clear()

    def refused(self, dimension: Dimension | None, group: str, now: float) -> None:
        """The provider has refused a call because this limit is used up; None: nobody knows which."""
        gauge = self._gauges.get(group, {}).get(dimension) if dimension is not None else None
        if gauge is not None and gauge.meter is not None:
            gauge.meter.refused(now)

    def replay(self, past: Iterable[LaneUsage], now: float) -> None:
        """Counts what this key let through before its limits were counted here: before a restart, before a limit was
        set. `past` is in the order of time and complete as far as is known; to tell it again changes nothing. A step
        of it that reaches into what was counted here is left out."""
        meters: dict[Gauge, Meter] = {}
        for sent in past:
            ask = Ask(sent.model, self.group_of(sent.model))
            at = min(sent.last - self._wall_offset, now)
            for gauge in self._of(ask):
                if gauge.meter is None or at >= gauge.first:
                    continue
                if gauge not in meters:
                    meters[gauge] = gauge.new_meter(self._wall_offset)
                meters[gauge].seed(_amount(sent, ask, gauge), at)
        for gauge, meter in meters.items():
            gauge.recall(meter, now)
        self._in_force.clear()

    def count(self, sent: LaneUsage, now: float) -> None:
        """Counts what others have sent with the same key a short while ago, as if it had gone now."""
        ask = Ask(sent.model, self.group_of(sent.model))
        for gauge, meter in self._metered(ask):
            meter.seed(min(_amount(sent, ask, gauge), meter.capacity), now)
            gauge.first = min(gauge.first, now)

    def share(self, part: float, now: float) -> None:
        """Keeps to this part of every limit from now on: the rest is for others with the same key."""
        self._share = part
        for gauges in self._gauges.values():
            for gauge in gauges.values():
                gauge.share = part
                gauge.fit(now, self._wall_offset, anew=False)
        self._in_force.clear()

    def limit(self, dimension: Dimension, group: str = "") -> float:
        """The limit in force; 0 means none."""
        gauge = self._gauges.get(group, {}).get(dimension)
        return gauge.in_force if gauge else 0.0

    def figures(self, now: float) -> list[Figure]:
        """Every limit that is in force, the key's before those of groups."""
        return [
            Figure(
                gauge.dimension,
                gauge.group,
                gauge.in_force,
                gauge.configured,
                gauge.learned,
                gauge.meter.used(now),
                gauge.limits.algorithm,
            )
            for gauges in self._gauges.values()
            for gauge in gauges.values()
            if gauge.meter is not None
        ]

    def __repr__(self) -> str:
        metered = (gauge for gauges in self._gauges.values() for gauge in gauges.values() if gauge.meter is not None)
        return f"<Gate {', '.join(_told(gauge) for gauge in metered) or 'without limits'}>"

    def _configure(self, limits: Limits, now: float, *, anew: bool) -> None:
        before, self._limits = self._limits, limits
        wanted = {"": limits} | {group.name: group.limits for group in limits.groups}
        gone = {group.name for group in before.groups} - set(wanted)
        self._gauges = {name: gauges for name, gauges in self._gauges.items() if name not in gone}
        for name in [*wanted, *(one for one in self._gauges if one not in wanted)]:
            own = wanted.get(name) or _without_limits(limits)
            if name not in self._gauges:
                self._gauges[name] = self._new_gauges(name, own)
            for gauge in self._gauges[name].values():
                other_way = _way(gauge.limits) != _way(own)
                gauge.configure(own)
                gauge.fit(now, self._wall_offset, anew=anew and other_way)
        self._in_force.clear()

    def _new_gauges(self, group: str, limits: Limits) -> dict[Dimension, Gauge]:
        gauges = {dimension: Gauge(dimension, group, limits) for dimension in DIMENSIONS}
        for gauge in gauges.values():
            gauge.share, gauge.patience = self._share, self._patience
        return gauges

    def _of(self, ask: Ask) -> Iterator[Gauge]:
        own = self._gauges.get(ask.group, {}) if ask.group else {}
        waived = any(own[one].configured for one in _RATES if one in own)
        for gauge in self._gauges[""].values():
            if not (waived and gauge.assumed):
                yield gauge
        yield from own.values()

    def _metered(self, ask: Ask) -> tuple[tuple[Gauge, Meter], ...]:
        found = self._in_force.get(ask.group)
        if found is None:
            found = tuple((gauge, gauge.meter) for gauge in self._of(ask) if gauge.meter is not None)
            self._in_force[ask.group] = found
        return found

    @staticmethod
    def _need(gauge: Gauge, meter: Meter, ask: Ask) -> float:
        """What a call reserves; one that is expected to be too large, but need not be, reserves all there is."""
        if not gauge.in_tokens:
            return 1.0
        return min(reserved(ask, gauge.dimension, gauge.limits), meter.capacity)

    @staticmethod
    def _used(ask: Ask, charge: _Charge, usage: Usage | None) -> float:
        if usage is None or usage.source == "unknown" or not charge.gauge.in_tokens:
            return charge.amount
        return counted(ask, usage, charge.gauge.dimension, charge.gauge.limits)


def _way(limits: Limits) -> tuple[object, ...]:
    """How limits are counted, apart from how much they are."""
    return limits.algorithm, limits.burst, limits.quantum, limits.day_zone


def _without_limits(limits: Limits) -> Limits:
    """The same manners without any limit: for groups that only learning knows."""
    return Limits(
        requests_per_minute=0.0,
        burst=limits.burst,
        day_zone=limits.day_zone,
        algorithm=limits.algorithm,
        quantum=limits.quantum,
        reserve_output=limits.reserve_output,
        count_cached=limits.count_cached,
    )


def _amount(sent: LaneUsage, ask: Ask, gauge: Gauge) -> float:
    """What counted of calls that were sent earlier. What their requests had allowed as output is not known any more."""
    if not gauge.in_tokens:
        return sent.calls
    usage = Usage(input=round(sent.input), output=round(sent.output), cached=round(sent.cached), source="exact")
    return counted(ask, usage, gauge.dimension, gauge.limits)


def _told(gauge: Gauge) -> str:
    where = f"{gauge.group} " if gauge.group else ""
    return f"{where}{gauge.dimension} {gauge.in_force:g}{' learned' if gauge.learned is not None else ''}"
