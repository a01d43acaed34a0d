"""How a budget and its state are said to people."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from llmqd.budgets.periods import NEVER, zone_of
from llmqd.config.budgets import amount_text

if TYPE_CHECKING:
    from llmqd.budgets.meter import Meter


def named(meter: Meter) -> str:
    """Which budget it is."""
    budget = meter.budget
    return f"the budget {budget.title!r}" + (f" of {budget.by} {meter.value!r}" if budget.by != "all" else "")


def figures(meter: Meter) -> str:
    """How much of it is spent and set aside."""
    unit, period = meter.budget.limit.unit, meter.budget.limit.period
    within = "in all" if period == "life" else f"this {period}"
    aside = f" and {amount_text(meter.likely, unit)} set aside for calls that run" if meter.likely else ""
    part = "" if meter.bound is None else "; a part of what is left is kept for daemons that cannot be asked"
    return f"{amount_text(meter.used, unit)} of {amount_text(meter.limit, unit)} {within} are spent{aside}{part}"


def reset(meter: Meter, now: float) -> tuple[str, float | None]:
    """When it begins anew, as a sentence and in seconds from now."""
    end = meter.window.end
    if end == NEVER:
        return "it never begins anew; it can be raised", None
    zone = zone_of(meter.budget.zone)
    at = datetime.fromtimestamp(end, UTC).astimezone(zone).isoformat(timespec="seconds")
    return f"it begins anew at {at}", max(end - now, 1.0)
