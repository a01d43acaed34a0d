"""`/api/v1/budgets`: what is spent of each budget, and what is left."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from msgspec import UNSET, Struct

from llmqd.budgets.periods import NEVER
from llmqd.usage import PICO
from llmqd.web.api import inputs
from llmqd.web.api.values import percent, rfc3339

if TYPE_CHECKING:
    from llmqd.budgets.budgets import Budgets
    from llmqd.budgets.meter import Meter
    from llmqd.web.api.endpoint import Asked


class Budget(Struct, kw_only=True):
    """A budget of one key, user, agent or session (`value`), or of all calls together (null).

    Amounts are US dollars, tokens or calls (`unit`). `reserved` is set aside for calls that run, `remaining` what is
    left beside both. From `alert_at` percent on it is `low`; `exceeded`: calls are refused until `resets_at` (null:
    never).
    """

    name: str
    by: Literal["all", "key", "user", "agent", "session"]
    value: str | None
    unit: Literal["usd", "tokens", "calls"]
    period: Literal["hour", "day", "month", "life"]
    zone: str
    limit: Decimal
    spent: Decimal
    reserved: Decimal
    remaining: Decimal
    used_percent: float
    state: Literal["ok", "low", "exceeded"]
    alert_at: int
    demote_to: str | None
    starts_at: str | None
    resets_at: str | None

    @classmethod
    def of(cls, meter: Meter) -> Budget:
        """What a meter says."""
        budget, (start, end) = meter.budget, meter.window
        unit, life = budget.limit.unit, end == NEVER
        scale = PICO if unit == "usd" else 1
        return cls(
            name=budget.title,
            by=budget.by,
            value=meter.value if budget.by != "all" else None,
            unit=unit,
            period=budget.limit.period,
            zone=budget.zone,
            limit=Decimal(meter.limit) / scale,
            spent=Decimal(meter.used) / scale,
            reserved=Decimal(meter.likely) / scale,
            remaining=Decimal(max(meter.limit - meter.used - meter.likely, 0)) / scale,
            used_percent=percent(meter.used, meter.limit),
            state=meter.state,
            alert_at=budget.alert_at,
            demote_to=budget.demote_to,
            starts_at=None if life else rfc3339(start),
            resets_at=None if life else rfc3339(end),
        )


class BudgetPage(Struct):
    """Budgets, those that are used up the most first. `complete` is false while the ledger has not told all yet."""

    budgets: list[Budget]
    total: int
    waiting_calls: int
    complete: bool


class BudgetList:
    """The handler."""

    def __init__(self, budgets: Budgets) -> None:
        self._budgets = budgets

    async def list_budgets(self, asked: Asked[inputs.Budgets, Any]) -> BudgetPage:
        """What is spent of each budget and what is left, of those who have called in its present period."""
        query = asked.query
        meters = [
            meter
            for meter in self._budgets.present()
            if (query.by is UNSET or meter.by == query.by)
            and (query.value is UNSET or (meter.by != "all" and meter.value == query.value))
            and (query.state is UNSET or meter.state == query.state)
            and (asked.key is None or (meter.by == "key" and meter.value == asked.key))
        ]
        meters.sort(key=lambda meter: (-meter.used / meter.limit, meter.title, meter.value))
        return BudgetPage(
            [Budget.of(meter) for meter in meters[query.offset : query.offset + query.limit]],
            len(meters),
            self._budgets.waiting,
            not self._budgets.book.unknown,
        )
