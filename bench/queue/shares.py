"""Who goes before whom, from the order's own code: floods, weights, equal shares, priorities, ageing."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable

from bench.queue.measures import Measure
from llmqd.lane.queue import CallQueue, Ticket
from tests.calls import a_call

_GRANTS = 500
_FLOODED = 1000
_HIGH, _NORMAL, _LOW, _BATCH = 1, 5, 7, 9
_AGEING = 300.0


def shares() -> list[Measure]:
    """Every promise about the order."""
    waited, passed = flooded(), overtaken()
    ratio, jain, served = weighted(3.0), equal(), aged()
    return [
        Measure("one call beside another tenant's flood of 1,000", f"{waited} grants before it", "≤ 2", waited <= 2),
        Measure("weights 3 : 1 over 500 grants", f"{ratio:.3f} : 1", "3 : 1 ± 2 %", abs(ratio / 3 - 1) <= 0.02),
        Measure("Jain's index, ten tenants, costs of 1 to 20, 500 grants", f"{jain:.4f}", "≥ 0.99", jain >= 0.99),
        Measure("a high call behind 1,000 low ones", f"{passed} grants before it", "0", passed == 0),
        Measure(
            f"a batch call under constant high load, ageing {_AGEING:.0f} s",
            f"served after {served:.0f} s",
            f"≤ {_AGEING:.0f} s",
            served <= _AGEING,
        ),
    ]


def flooded() -> int:
    """How many calls of a tenant who has filled the queue, and is being served, go before another's only one."""
    queue = CallQueue()
    for _ in range(_FLOODED):
        queue.add(_ticket("flood"))
    for _ in range(_FLOODED // 10):
        queue.take()
    return _before(queue, _ticket("single"))


def overtaken() -> int:
    """How many low calls go before a high one that comes later."""
    queue = CallQueue()
    for _ in range(_FLOODED):
        queue.add(_ticket("low", priority=_LOW))
    queue.take()
    return _before(queue, _ticket("high", priority=_HIGH))


def weighted(weight: float) -> float:
    """Grants of a tenant with this weight for each of one with weight 1, while both wait all the time."""
    grants = _served({"heavy": weight, "light": 1.0}, lambda: 1.0)[0]
    return grants["heavy"] / grants["light"]


def equal() -> float:
    """Jain's index of the costs served to ten equal tenants, whose calls cost from 100 to 2,000 tokens."""
    rng = random.Random(7)
    costs = _served({f"tenant {number}": 1.0 for number in range(10)}, lambda: _cost(rng))[1]
    return sum(costs.values()) ** 2 / (len(costs) * sum(cost * cost for cost in costs.values()))


def aged() -> float:
    """Seconds until a batch call is served, one grant a second, while high calls never cease to wait."""
    queue = CallQueue(ageing=_AGEING)
    batch = _ticket("batch", priority=_BATCH)
    queue.add(batch)
    for second in range(1, 10 * round(_AGEING)):
        for _ in range(2):
            queue.add(_ticket("high", priority=_HIGH, since=float(second)))
        queue.head(float(second))
        if queue.take() is batch:
            return float(second)
    return math.inf


def _served(tenants: dict[str, float], cost: Callable[[], float]) -> tuple[Counter[str], Counter[str]]:
    """Grants and costs of each tenant, all of whom have two calls waiting at any time."""
    queue = CallQueue()
    grants, costs = Counter[str](), Counter[str]()
    for name, weight in tenants.items():
        for _ in range(2):
            queue.add(_ticket(name, weight=weight, cost=cost()))
    for _ in range(_GRANTS):
        taken = queue.take()
        grants[taken.flow] += 1
        costs[taken.flow] += round(taken.cost)
        queue.add(_ticket(taken.flow, weight=taken.weight, cost=cost()))
    return grants, costs


def _before(queue: CallQueue, ticket: Ticket) -> int:
    queue.add(ticket)
    grants = 0
    while queue.take() is not ticket:
        grants += 1
    return grants


def _cost(rng: random.Random) -> float:
    return math.exp(rng.uniform(math.log(100), math.log(2000)))


def _ticket(
    flow: str, *, priority: int = _NORMAL, since: float = 0.0, weight: float = 1.0, cost: float = 1.0
) -> Ticket:
    return Ticket(a_call(priority=priority), since, flow=flow, weight=weight, cost=cost)
