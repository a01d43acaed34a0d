"""What came out of a row, and whether that is what must: pure arithmetic on what upstream and clients counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bench.queue.rows import QUIET, Row, Target
from bench.queue.yardstick import rate, steady, used

_MOST = 1.01
"""A utilisation beyond this is a fault of the yardstick."""
_NEAR = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One row's result. `verdict`: `met`, `missed`, or `not supported` with the reason in `notes`. `best` is the
    utilisation that a client gets which knows all that the upstream knows."""

    name: str
    verdict: str
    target: str
    calls: int = 0
    upstream_429: int = 0
    client_429: int = 0
    client_errors: int = 0
    faults: int = 0
    utilisation: float | None = None
    best: float | None = None
    per_minute: float | None = None
    settled: float | None = None
    notes: list[str] = field(default_factory=list)


def judged(
    row: Row, counted: dict[str, Any], client_429: int, client_errors: int, notes: list[str], until: float
) -> Figures:
    """The figures of a row that ran until the Unix time `until`; `counted` is what its upstream tells."""
    began: float | None = counted["began"]
    utilisation = settled = per_minute = None
    refused = counted["refused"]
    if began is not None:
        span = steady(began, row.steady_after, until)
        utilisation = used(row.spec, counted["accepted"], counted["places"], span)
        per_minute = rate(counted["accepted"], span)
        if row.spec.change is not None:
            after = [at for at in counted["refused_at"] if at >= began + row.spec.change[0]]
            settled = settle_time(after)
            refused -= len(after)
    figures = Figures(
        name=row.name,
        verdict="",
        target=str(row.target),
        calls=len(counted["accepted"]),
        upstream_429=counted["refused"],
        client_429=client_429,
        client_errors=client_errors,
        faults=counted["faulty"],
        utilisation=utilisation,
        per_minute=per_minute,
        settled=settled,
        notes=notes,
    )
    return replace(figures, verdict="met" if meets(row.target, figures, refused) else "missed")


def meets(target: Target, figures: Figures, refused: int) -> bool:
    """Whether the target is reached in every part; `refused` are the 429s that count."""
    if refused > target.refused or figures.client_429 + figures.client_errors > target.client_errors:
        return False
    if target.utilisation is not None and not target.utilisation <= (figures.utilisation or 0.0) <= _MOST:
        return False
    rate_ = figures.per_minute or 0.0
    if target.per_minute is not None and abs(rate_ / target.per_minute - 1) > _NEAR:
        return False
    return target.settled is None or (figures.settled is not None and figures.settled <= target.settled)


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
