"""How much of what an upstream allowed was taken: accepted calls, replayed through its limits, in any span of time."""

from __future__ import annotations

from collections.abc import Sequence

from bench.queue.upstream import Spec, meter
from tests.fake_upstream.limiters import EPSILON, Charging, TokenLimit, Tokens

MINUTE = 60.0
_MOMENT = 1e-6
"""Seconds before the end of a window at which it is not over yet in floating-point times of any size."""

Accepted = tuple[float, int, int, int]
"""An accepted call: Unix time, tokens in, tokens out, tokens it might have produced."""


def steady(began: float, steady_after: float, until: float) -> tuple[float, float]:
    """The span that is measured: whole minutes, as far as there are any, up to the end.

    Over whole minutes a sliding window allows its limit, however unevenly it is used.
    """
    length = max(until - began - steady_after, 0.0)
    whole = length // MINUTE * MINUTE
    return until - (whole or length), until


def used(
    spec: Spec, accepted: Sequence[Accepted], places: Sequence[Sequence[float]], span: tuple[float, float]
) -> float | None:
    """Accepted by allowed in a span; of several limits the one used most, as that is the one that binds.

    None where the span is empty or nothing is limited. At most 1 but for what a sliding window lets through that counts
    calls only when they end.
    """
    start, end = span
    if end <= start:
        return None
    began = accepted[0][0] if accepted else start
    shares = [
        _Replay(began, kind, size, charging).share(spec, accepted, span)
        for charging, kind, size in spec.tokens.values()
    ]
    if spec.kind is not None:
        shares.append(_Replay(began, spec.kind, spec.per_minute, None).share(spec, accepted, span))
    if spec.concurrency:
        busy = sum(max(min(times[1] if len(times) > 1 else end, end) - max(times[0], start), 0.0) for times in places)
        shares.append(busy / (spec.concurrency * (end - start)))
    return max(shares, default=None)


def rate(accepted: Sequence[Accepted], span: tuple[float, float]) -> float:
    """Accepted calls a minute."""
    start, end = span
    return sum(start <= call[0] < end for call in accepted) / (end - start) * MINUTE


class _Replay:
    """One limit, counting again from the beginning what it counted. Without a charging it counts calls."""

    def __init__(self, began: float, kind: str, per_minute: float, charging: Charging | None) -> None:
        self._began = began
        self._kind = kind
        self._charging = charging
        self._meter = meter(kind, per_minute)
        # What is refunded later counts from the beginning as what is left of it in the end: otherwise the reservations
        # that happen to be open at both edges of a span would decide about it.
        self._limit = TokenLimit(self._meter, "input" if charging is None or charging == "refunded" else charging)
        self._calls = charging is None
        self._per_minute = per_minute

    def share(self, spec: Spec, accepted: Sequence[Accepted], span: tuple[float, float]) -> float:
        """Charged by allowed.

        Allowed is what comes at the limit's pace, and what had been saved before as far as it was used up, less what
        had been taken before its time, plus what is taken before its time. So neither a burst spent late nor a debt is
        mistaken for speed, and whoever just keeps the pace is not blamed for the burst that is left, nor for what was
        left of a window in whose midst the span begins.
        """
        start, end = span
        change = (self._began + spec.change[0], spec.change[1]) if spec.change is not None and self._calls else None
        # What has been saved in a fixed window can be used until that ends, and is gone then.
        moments = (start, min(self._meter.keeps_until(start) - _MOMENT, end), end)
        totals, saved = list[float](), list[float]()
        calls, number = list(accepted), 0
        for moment in moments:
            while number < len(calls) and calls[number][0] < moment:
                at = calls[number][0]
                if change is not None and at >= change[0]:
                    self._scale(change[1], at)
                    change = None
                self._charge(spec, calls[number])
                number += 1
            self._limit.settle(moment)
            totals.append(self._limit.total)
            saved.append(self._meter.saved(moment))
        before, left, after = saved
        allowed = self._per_minute / MINUTE * (end - start) + min(before, 0.0) - min(after, 0.0)
        allowed += max(max(before, 0.0) - max(left, 0.0), 0.0)
        charged = totals[-1] - totals[0]
        return charged / allowed if allowed > EPSILON else 1.0  # all had been taken before the span began

    def _charge(self, spec: Spec, call: Accepted) -> None:
        at, *counts = call
        tokens = Tokens(*counts)
        ends = at + spec.seconds + spec.seconds_per_token * tokens.output
        if self._charging is None:
            tokens = Tokens(1, 0, 0)
        elif self._charging == "refunded":
            alone = TokenLimit(meter(self._kind, self._per_minute), "refunded")
            alone.start(at, tokens, ends)
            alone.settle(ends)
            tokens = Tokens(round(alone.total), 0, 0)
        self._limit.start(at, tokens, ends)

    def _scale(self, factor: float, at: float) -> None:
        self._meter.scale(factor, at)
        self._per_minute *= factor
