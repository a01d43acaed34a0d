"""What came out of a row, and whether that is what must: pure arithmetic on what upstream and clients counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.queue_rows import Row, Target
from bench.queue_upstream import Spec, meter
from tests.fake_upstream.limiters import TokenLimit, Tokens

QUIET = 30.0
"""Seconds without a 429 after which a lane counts as settled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One row's result. `verdict`: `met`, `missed`, or `not supported` with the reason in `notes`."""

    name: str
    verdict: str
    target: str
    calls: int = 0
    upstream_429: int = 0
    client_429: int = 0
    client_errors: int = 0
    faults: int = 0
    utilisation: float | None = None
    settled: float | None = None
    notes: list[str] = field(default_factory=list)


def judged(
    row: Row, counted: dict[str, Any], client_429: int, client_errors: int, notes: list[str], until: float
) -> Figures:
    """The figures of a row that ran until the Unix time `until`; `counted` is what its upstream tells."""
    began: float | None = counted["began"]
    utilisation = settled = None
    refused = counted["refused"]
    if began is not None:
        utilisation = used(row, counted["accepted"], began + row.steady_after, until)
        if row.spec.change is not None:
            after = [at for at in counted["refused_at"] if at >= began + row.spec.change[0]]
            settled = settle_time(after)
            refused -= len(after)
    met = meets(row.target, refused, client_429 + client_errors, utilisation, settled)
    return Figures(
        name=row.name,
        verdict="met" if met else "missed",
        target=str(row.target),
        calls=len(counted["accepted"]),
        upstream_429=counted["refused"],
        client_429=client_429,
        client_errors=client_errors,
        faults=counted["faulty"],
        utilisation=utilisation,
        settled=settled,
        notes=notes,
    )


def meets(target: Target, refused: int, client_errors: int, utilisation: float | None, settled: float | None) -> bool:
    """Whether the target is reached in every part."""
    if refused > target.refused:
        return False
    if client_errors > target.client_errors:
        return False
    if target.utilisation is not None:
        low, high = target.utilisation
        if utilisation is None or not low <= utilisation <= high:
            return False
    return target.settled is None or (settled is not None and settled <= target.settled)


def used(row: Row, accepted: Sequence[tuple[float, int, int, int]], start: float, end: float) -> float | None:
    """Accepted by allowed between two times; of several limits the one used most, as that is the one that binds."""
    if end <= start:
        return None
    calls = [Tokens(*tokens) for at, *tokens in accepted if start <= at < end]
    minutes, spec = (end - start) / 60, row.spec
    shares = [sum(map(count, calls)) / (limit * minutes) for count, limit in _limits(spec)]
    if spec.kind is not None:
        factor = 1.0 if spec.change is None else spec.change[1]
        shares.append(len(calls) / (spec.per_minute * factor * minutes))
    if spec.concurrency:
        seconds = sum(spec.seconds + spec.seconds_per_token * call.output for call in calls)
        shares.append(seconds / (spec.concurrency * minutes * 60))
    return max(shares, default=None)


def _limits(spec: Spec) -> list[tuple[Callable[[Tokens], float], float]]:
    return [(TokenLimit(meter(kind, size), charging).counted, size) for charging, kind, size in spec.tokens.values()]


def settle_time(refused_at: Sequence[float]) -> float | None:
    """Seconds from the first 429 to the last before a quiet time; None without any."""
    if not refused_at:
        return None
    last = first = refused_at[0]
    for at in refused_at:
        if at - last > QUIET:
            break
        last = at
    return last - first
