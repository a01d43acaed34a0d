"""The settings of `[guards]`: what becomes of sessions that run away."""

# ruff: noqa: RUF009 - setting() makes a dataclass field, as dataclasses.field() does

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from llmqd.config.kinds import Choice, Duration, Integer, Listing, Money, Text
from llmqd.config.setting import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Guards:
    """What becomes of sessions that run away: the same again and again, or too much money an hour (docs/guards.md)."""

    action: str = setting(
        Choice(("off", "alert", "demote", "pause", "refuse")),
        "alert",
        "alert: runaway_session is told, no more. demote: its calls get the priority demote_to as well. pause: they\n"
        "wait. refuse: they get 403. Each holds for `lasting`. off: nobody looks.",
    )
    repeats: int = setting(
        Integer(least=3, most=1000),
        10,
        "How often in a row the same tool is called with the same arguments, the same message is sent, or a cycle of\n"
        "two or three of these is gone through.",
    )
    within: float = setting(
        Duration(least=1), "10m", "Time in which that must happen, and over which the cost of an hour is measured."
    )
    cost_per_hour: Decimal | None = setting(
        Money("USD an hour"),
        None,
        "US dollars an hour at which a session may spend, over at least `repeats` calls. Unset: any.",
        example=5,
    )
    ignore_tools: tuple[str, ...] = setting(
        Listing(Text()),
        [],
        "Tools that may be called again and again, such as those that wait for something; * and ? stand for any text.",
        example=["wait*", "*_status"],
    )
    demote_to: str = setting(
        Choice(("high", "normal", "low", "batch"), digits=True),
        "batch",
        "Priority that calls of such a session have at most, with demote.",
    )
    lasting: float = setting(
        Duration(least=1), "5m", "How long a session is held so; then it begins with a clean sheet."
    )
    max_sessions: int = setting(
        Integer(least=1),
        10000,
        "Sessions that are watched at once, some 2 KiB each; those that have been silent the longest are forgotten.",
    )
