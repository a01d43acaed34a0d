"""A figure that is not a row: what was measured, as text, beside what must come out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Measure:
    """One line of the second table. `met` is None where there is no target."""

    name: str
    value: str
    target: str = ""
    met: bool | None = None


def quantile(values: Sequence[float], part: float) -> float:
    """The value that this part of all does not exceed. Raises ValueError where there are none."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    return ordered[min(int(part * len(ordered)), len(ordered) - 1)]


def milliseconds(values: Sequence[float]) -> str:
    """p50, p99 and the longest of some times in milliseconds."""
    return f"p50 {quantile(values, 0.5):.2f}, p99 {quantile(values, 0.99):.2f}, max {max(values):.2f} ms"
