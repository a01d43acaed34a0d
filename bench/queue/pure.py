"""The figures that need no process and no network: order and cost of the queue's own code."""

from __future__ import annotations

from bench.queue.cost import cost
from bench.queue.measures import Measure
from bench.queue.shares import shares


async def pure() -> list[Measure]:
    """All of them."""
    return [*shares(), *await cost()]
