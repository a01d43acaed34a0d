"""When a call may go and what it takes: limits, pauses and what was learned, brought together for one lane."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from llmqd.lane.amounts import NO_TOKENS, Ask, Tokens, counted_tokens, reserved_tokens
from llmqd.lane.brake import Brake, Pause
from llmqd.lane.estimate import BodySize, EstimateError, Estimator
from llmqd.lane.gate import Figure, Gate, Reservation
from llmqd.lane.learn import Change, Found, Learned, Learner

if TYPE_CHECKING:
    from llmqd.config.limits import Dimension as Setting
    from llmqd.config.limits import Limits
    from llmqd.lane.spacing import Patience
    from llmqd.providers.limit_values import Dimension, Observed
    from llmqd.providers.refusals import Verdict
    from llmqd.usage import LaneUsage, Sample, Usage

_IN_TOKENS: Mapping[Dimension, Setting] = {
    "tokens": "tokens_per_minute",
    "input_tokens": "input_tokens_per_minute",
    "output_tokens": "output_tokens_per_minute",
}


class Demand(msgspec.Struct, frozen=True):
    """What a request says about its size: the body, and the longest answer it allows (None: it does not say)."""

    size: BodySize = BodySize(0)
    max_tokens: int | None = None
    choices: int = 1


class Hold(NamedTuple):
    """Why a call may not go now: ask again at `until`, or after the next answer (infinite). `group` "" is everybody."""

    until: float
    group: str


class Grant(msgspec.Struct):
    """One attempt of a call that was let through: what it holds, until it is settled or given back."""

    ask: Ask
    size: BodySize
    at: float
    reservation: Reservation
    era: int
    answered: bool = False
    """The provider has said yes or no to it; what is still to come is the usage."""
    tokens: Tokens = NO_TOKENS


class Known(NamedTuple):
    """What a throttle knows beside what is used: the operator's pause; by model group, pauses and what was learned."""

    operator: Pause | None
    pauses: dict[str, Pause]
    found: dict[str, Found]


class _Group:
    """What is kept for each model group: its brake and, while the lane learns, what was learned of its limits."""

    def __init__(self, brake: Brake, learner: Learner | None) -> None:
        self.brake = brake
        self.learner = learner
        self.lowered: set[Setting] = set()
        """The limits that the gate has from the learner."""
        self.applied = -1
        """Which of the learner's `changes` the gate knows."""


class Throttle:
    """Decides for one lane. Pure: times are monotonic seconds, `noise` gives 0 to 1, `patience` as in Gate.

    A call passes in this order: `ask`, `hold` until it is None, `take`, `poised`, `sent` when the moment is there that
    this gave, then `answered` or `refused`, and at its end `settle`; or `give_back` if it was never sent.
    """

    def __init__(
        self, limits: Limits, *, learns: bool, noise: Callable[[], float], wall_offset: float, patience: Patience = None
    ) -> None:
        self._noise = noise
        self._wall_offset = wall_offset
        self._gate = Gate(limits, wall_offset=wall_offset, patience=patience)
        self._estimator = Estimator()
        self._groups: dict[str, _Group] = {}
        self._gone_pauses = 0
        self._operator: Pause | None = None
        self.in_flight = 0
        self._limits = limits
        self.learns = learns
        """Whether limits are learned."""
        self.by_tokens = _limits_tokens(limits)
        """Whether any limit counts tokens."""

    def retune(self, limits: Limits, *, learns: bool, now: float) -> None:
        """Applies another configuration; what is used stays used, and no pause ends.

        What was learned stays, up to what is configured now. Without learning it is forgotten; with learning again it
        begins anew.
        """
        if limits != self._limits:
            self._limits = limits
            self.by_tokens = _limits_tokens(limits)
            self._gate.retune(limits, now)
        self.learns = learns
        names = {"", *(group.name for group in limits.groups)}
        for name, group in list(self._groups.items()):
            if name not in names and group.brake.paused(now) is None:
                self._gone_pauses += group.brake.pauses
                del self._groups[name]
                continue
            if not learns:
                group.learner = None
            elif group.learner is None:
                group.learner = Learner(self._configured(name))
            else:
                group.learner.retune(self._configured(name), now)
            group.applied = -1
            self._apply(name, now)

    def ask(self, model: str | None, demand: Demand) -> Ask:
        """What a call is going to need."""
        return self._estimator.ask(
            model,
            demand.size,
            group=self._gate.group_of(model),
            max_tokens=demand.max_tokens,
            choices=demand.choices,
            in_flight=self.in_flight,
        )

    def cost(self, ask: Ask) -> float:
        """What a call's turn is charged with among those who share: tokens where tokens are limited, else one call."""
        return max(ask.input_tokens + ask.output_tokens, 1.0) if self.by_tokens else 1.0

    def never_fits(self, ask: Ask) -> str | None:
        """Why this call can never be sent; None where it can."""
        return self._gate.never_fits(ask)

    def hold(self, ask: Ask, now: float) -> Hold | None:
        """What keeps a call from going now; None when it may go."""
        if self._operator is not None and (pause := self._operator_pause(now)) is not None:
            return Hold(math.inf if pause.until is None else pause.until, "")
        group = self._group(ask.group)
        at = group.brake.ready_at(now)
        if group.learner is not None and (learned := group.learner.ready_at(now)) > at:
            at = learned
        if at > now:
            return Hold(at, ask.group)
        block = self._gate.block(ask, now)
        return None if block is None else Hold(block.until, block.group)

    def take(self, ask: Ask, size: BodySize, now: float, *, waited: bool) -> Grant:
        """Lets a call go; `hold` must have been None."""
        self.in_flight += 1
        group = self._group(ask.group)
        reservation, tokens = self._gate.take(ask, now, waited=waited), self._tokens(ask)
        grant = Grant(ask, size, now, reservation, group.brake.granted(now), tokens=tokens)
        if group.learner is not None:
            group.learner.granted(now, waited=waited, in_flight=self.in_flight, tokens=tokens)
        return grant

    def poised(self, grant: Grant, now: float) -> float:
        """The request of a granted call could leave now; gives the moment from which it may."""
        return self._gate.poised(grant.reservation, now)

    def sent(self, grant: Grant, now: float) -> None:
        """The request of a granted call leaves now."""
        self._gate.sent(grant.reservation, now)

    def answered(self, grant: Grant, observed: Sequence[Observed], now: float) -> list[Change]:
        """An answer that is no refusal has begun. Gives the limits that were learned by it."""
        grant.answered = True
        group = self._group(grant.ask.group)
        group.brake.answered(grant.era, now)
        if group.learner is not None:
            group.learner.began(grant.at, now)
            if observed:
                group.learner.answered(observed, grant.at, now)
        return self._apply(grant.ask.group, now)

    def refused(self, grant: Grant, verdict: Verdict, observed: Iterable[Observed], now: float) -> list[Change]:
        """The provider refused the call; it is settled as not counted. Gives the limits that were learned by it."""
        grant.answered = True
        group = self._group(grant.ask.group)
        ends_at = group.brake.refused(verdict.wait, verdict.reason, grant.era, now, now - grant.at)
        hit: tuple[Dimension, ...] = (verdict.dimension or "requests",)
        if group.learner is not None:
            left = self.in_flight - 1
            hit = group.learner.refused(verdict, grant.at, now, ends_at=ends_at, in_flight=left, tokens=grant.tokens)
            group.learner.answered(observed, grant.at, now)
        self.in_flight -= 1
        self._gate.settle(grant.reservation, None, now, counted=False)
        changed = self._apply(grant.ask.group, now)
        for dimension in hit:
            self._gate.refused(_IN_TOKENS.get(dimension), grant.ask.group, now)
        return changed

    def settle(self, grant: Grant, usage: Usage | None, now: float, *, counted: bool) -> None:
        """A call has ended; `usage` is what it really used, `counted` whether the provider counts it."""
        if not grant.reservation.open:
            return
        if not grant.answered:
            self._group(grant.ask.group).brake.left(grant.era)
        self.in_flight -= 1
        self._gate.settle(grant.reservation, usage, now, counted=counted)
        if usage is not None and counted:
            self._estimator.learn(grant.ask, grant.size, usage, count_cached=self._limits.count_cached)
            if (learner := self._group(grant.ask.group).learner) is not None:
                limits = self._gate.manners(grant.ask.group)
                learner.settled(grant.tokens, counted_tokens(grant.ask, usage, limits), grant.at)

    def give_back(self, grant: Grant, now: float) -> None:
        """A call that was let through is never sent."""
        if not grant.reservation.open:
            return
        group = self._group(grant.ask.group)
        group.brake.left(grant.era)
        if group.learner is not None:
            group.learner.unsent(grant.at, grant.tokens)
        self.in_flight -= 1
        self._gate.give_back(grant.reservation, now)

    def adopt(self, ask: Ask, size: BodySize, taken: float, now: float) -> Grant:
        """Takes over a call that was let through elsewhere at `taken`; what it takes is counted already."""
        self.in_flight += 1
        era = self._group(ask.group).brake.granted(now)
        return Grant(ask, size, taken, self._gate.adopt(ask, taken), era, tokens=self._tokens(ask))

    def count(self, past: Iterable[LaneUsage], now: float) -> None:
        """Counts what others have sent with the same key a short while ago."""
        for sent in past:
            self._gate.count(sent, now)

    def share(self, part: float, now: float) -> None:
        """Keeps to this part of every limit, learned ones included: the rest is for others with the same key."""
        self._gate.share(part, now)

    def known(self, now: float) -> Known:
        """Pauses and what was learned, for another throttle of the same lane to go on with."""
        pauses = {name: pause for name, group in self._groups.items() if (pause := group.brake.paused(now)) is not None}
        found = {name: group.learner.export() for name, group in self._groups.items() if group.learner is not None}
        return Known(self._operator_pause(now), pauses, found)

    def take_over(self, known: Known, now: float) -> None:
        """Goes on with what another throttle of the same lane knew."""
        self._operator = known.operator
        for name, pause in known.pauses.items():
            brake = self._group(name).brake
            if pause.until is not None and pause.until > now:
                brake.refused(pause.until - now, pause.reason, brake.granted(now), now)
        for name, found in known.found.items():
            if (learner := self._group(name).learner) is not None:
                learner.restore(found, now)
                self._apply(name, now)

    def wait_for(self, position: int, ask: Ask, now: float, before: Ask | None = None) -> float | None:
        """Seconds until a call like this at `position` (1 is next) may go; None while nobody can know.

        `before` is what those before it need on the average; None: as much as this one.
        """
        pause = self.paused(now, ask.group)
        if pause is not None and pause.until is None:
            return None
        wait = self._gate.wait_for(position, ask, now, before)
        if not math.isfinite(wait):
            return None
        if pause is None or pause.until is None:
            return wait
        return wait + max(pause.until - now - self._gate.wait_for(1, ask, now), 0.0)

    def pause(self, until: float | None, reason: str) -> None:
        """An operator's pause of everything, until then or until `resume`."""
        self._operator = Pause(until, reason, by_operator=True)

    def resume(self) -> None:
        """Ends every pause at once; where the upstream had refused, the next call goes as a probe."""
        self._operator = None
        for group in self._groups.values():
            group.brake.resume()

    def group_of(self, model: str | None) -> str:
        """The group of models whose limits hold for this one; "" for none."""
        return self._gate.group_of(model)

    def paused(self, now: float, group: str | None = None) -> Pause | None:
        """The pause in force: the operator's, or the longest of the upstream's (of this group, if one is named)."""
        longest = self._operator_pause(now)
        if longest is not None:
            return longest
        for name, each in self._groups.items():
            pause = each.brake.paused(now) if group is None or name == group else None
            if pause is not None and (longest is None or (pause.until or 0.0) > (longest.until or 0.0)):
                longest = pause
        return longest

    @property
    def pauses(self) -> int:
        """How often the upstream has made this lane pause."""
        return self._gone_pauses + sum(group.brake.pauses for group in self._groups.values())

    @property
    def requests_per_minute(self) -> float:
        """The rate in force for the whole key; 0 is none."""
        return self._gate.limit("requests_per_minute")

    def unlimited(self, now: float) -> bool:
        """Whether nothing holds any call back, nor is there anything to be learned."""
        bounded = self.learns or self._gate.figures(now) or self.paused(now)
        return not bounded and all(each.brake.open for each in self._groups.values())

    def figures(self, now: float) -> list[Figure]:
        """Every limit in force."""
        return self._gate.figures(now)

    def learned(self, now: float) -> list[tuple[str, Learned]]:
        """What was learned, with the model group that it is for."""
        return [
            (name, each)
            for name, group in self._groups.items()
            if group.learner is not None
            for each in group.learner.limits(now)
        ]

    def recall(self, past: Iterable[LaneUsage], samples: Iterable[Sample], now: float) -> None:
        """Takes in what the ledger knows of the time before: what was used of the limits, what calls were like."""
        self._gate.replay(past, now)
        self._estimator.seed(samples, count_cached=self._limits.count_cached)

    def error(self) -> EstimateError:
        """How good the estimates of tokens have been lately."""
        return self._estimator.error()

    def _operator_pause(self, now: float) -> Pause | None:
        if self._operator is not None and self._operator.until is not None and self._operator.until <= now:
            self._operator = None
        return self._operator

    def _group(self, name: str) -> _Group:
        group = self._groups.get(name)
        if group is None:
            brake = Brake(self._noise, wall_offset=self._wall_offset)
            group = self._groups[name] = _Group(brake, Learner(self._configured(name)) if self.learns else None)
        return group

    def _configured(self, name: str) -> dict[Dimension, float]:
        limits = next((group.limits for group in self._limits.groups if group.name == name), self._limits)
        return {
            # 0 says that there is none: then only a refusal or a header teaches one. Unset is where the search begins.
            "requests": 0.0 if limits.assumed else limits.requests_per_minute or math.inf,
            "tokens": limits.tokens_per_minute,
            "input_tokens": limits.input_tokens_per_minute,
            "output_tokens": limits.output_tokens_per_minute,
            "concurrency": float(limits.max_concurrent),
        }

    def _apply(self, name: str, now: float) -> list[Change]:
        """Brings the gate in line with what was learned."""
        group, changed = self._groups[name], list[Change]()
        if (changes := 0 if group.learner is None else group.learner.changes) == group.applied:
            return changed
        group.applied = changes
        lowered: set[Setting] = set()
        for learned in group.learner.limits(now) if group.learner is not None else ():
            setting = learned.setting
            if setting is None or learned.amount <= 0:
                continue
            lowered.add(setting)
            before = self._gate.limit(setting, name)
            self._gate.lower(setting, name, learned.amount, now, learned.reset, learned.used)
            if self._gate.limit(setting, name) != before:
                changed.append(Change(learned, before))
        for setting in group.lowered - lowered:
            self._gate.lower(setting, name, None, now)
        group.lowered = lowered
        return changed

    def _tokens(self, ask: Ask) -> Tokens:
        """What a call takes of limits on tokens, as its provider counts: what is learned is compared with that."""
        return reserved_tokens(ask, self._gate.manners(ask.group))


def _limits_tokens(limits: Limits) -> bool:
    return any(
        each.tokens_per_minute or each.input_tokens_per_minute or each.output_tokens_per_minute
        for each in (limits, *(group.limits for group in limits.groups))
    )
