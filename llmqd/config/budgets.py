"""The settings of `[[budget]]`, and how a budget is written: `20/day`, `1M tokens/month`, `500 calls/hour`."""

# ruff: noqa: RUF009 - setting() makes a dataclass field, as dataclasses.field() does

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Literal, get_args

from llmqd.config.kinds import Choice, Integer, Listing, Text, Zone
from llmqd.config.net_kinds import Name
from llmqd.config.setting import required, setting
from llmqd.usage import PICO

Unit = Literal["usd", "tokens", "calls"]
Period = Literal["hour", "day", "month", "life"]
Scope = Literal["all", "key", "user", "agent", "session"]

SCOPES: tuple[Scope, ...] = get_args(Scope)
PERIODS: tuple[Period, ...] = get_args(Period)

_WRITTEN = re.compile(
    r"\$?(\d{1,12}(?:\.\d{1,9})?)([kMG]?) ?(usd|\$|tokens?|calls?)?/(hour|day|month|life)", re.ASCII | re.IGNORECASE
)
_FACTORS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
_MOST = 10**12
"""Of tokens or calls; with the picodollars of _MOST_USD, sums of these stay within 64 bits."""
_MOST_USD = 10**6


@dataclass(frozen=True, slots=True)
class Allowance:
    """How much may be used in each period: picodollars where the unit is `usd`, else tokens or calls."""

    amount: int
    unit: Unit
    period: Period

    def __str__(self) -> str:
        if self.unit != "usd":
            return f"{self.amount} {self.unit}/{self.period}"
        return f"{(Decimal(self.amount) / PICO).normalize():f} USD/{self.period}"


def amount_text(amount: int, unit: Unit) -> str:
    """An amount for people: money to the hundredth of a cent, and finer where it is less."""
    if unit != "usd":
        return f"{amount} {unit}"
    value = Decimal(amount) / PICO
    rounded = value.quantize(Decimal("0.0001")) if abs(value) >= Decimal("0.01") else value.quantize(Decimal("1E-8"))
    return f"{rounded.normalize():f} USD"


def parse_allowance(text: str) -> Allowance:
    """The allowance that is written so. Raises ValueError."""
    found = _WRITTEN.fullmatch(text.strip())
    if found is None:
        raise ValueError(
            'must be an amount and a period, for example "20/day" (US dollars), "1M tokens/month", "500 calls/hour"'
            ' or "100/life"'
        )
    word = (found[3] or "usd").lower()
    unit: Unit = "usd" if word in ("usd", "$") else "tokens" if word.startswith("token") else "calls"
    amount = Decimal(found[1]) * _FACTORS[found[2].lower()]
    period = next(one for one in PERIODS if one == found[4].lower())
    if unit == "usd":
        if not 0 < amount <= _MOST_USD:
            raise ValueError(f"must be more than 0 and at most {_MOST_USD} USD")
        return Allowance(int(amount * PICO), unit, period)
    if amount != int(amount) or not 0 < amount <= _MOST:
        raise ValueError(f"must be a whole number of {unit} from 1 to {_MOST}")
    return Allowance(int(amount), unit, period)


@dataclass(frozen=True, slots=True)
class AllowanceKind:
    """An allowance in one word."""

    noun: str = "budget"

    def read(self, value: object) -> Allowance:
        if not isinstance(value, str):
            raise ValueError('must be text in quotes, for example "20/day"')
        return parse_allowance(value)

    def show(self, value: Allowance) -> object:
        return str(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What may be spent; every budget that a call falls under must have enough left. For one key: llmqd keys budget."""

    limit: Allowance = required(
        AllowanceKind(),
        'How much in which time: "20/day" (US dollars), "1M tokens/month", "500 calls/hour", "100/life".',
        example="20/day",
    )
    by: Scope = setting(
        Choice(SCOPES),
        "all",
        "Whose: all calls together, or each client key, user, agent or session by itself. A call without such a\n"
        "name is not counted.",
    )
    names: tuple[str, ...] = setting(
        Listing(Text()), [], "Which keys, users, agents or sessions; * and ? stand for any text. Empty: all.",
        example=["team-*"],
    )  # fmt: skip
    zone: str = setting(Zone(), "UTC", "Time zone in which hours, days and months begin.")
    alert_at: int = setting(
        Integer(most=100),
        80,
        "Percent of it that, once spent, raise the alert budget_low. 0: neither that nor demote_to.",
    )
    demote_to: str | None = setting(
        Choice(("high", "normal", "low", "batch"), digits=True),
        None,
        "Priority that calls have at most from alert_at on, so that others go first. Unset: as before.",
        example="low",
    )
    unpriced: str = setting(
        Choice(("refuse", "allow")),
        "refuse",
        "What becomes of calls whose price is not known, where the budget is money: refuse, or allow without counting.",
    )
    max_tracked: int = setting(
        Integer(least=1),
        10000,
        "How many keys, users, agents or sessions are kept in mind for this budget. Beyond it those that have been\n"
        "silent the longest begin anew.",
    )
    name: str | None = setting(
        Name(), None, "Name in refusals, alerts and figures. Unset: made of by and limit.", example="team"
    )

    def has(self, value: str) -> bool:
        """Whether it is for this key, user, agent or session."""
        return not self.names or any(fnmatchcase(value, one) for one in self.names)

    @property
    def title(self) -> str:
        """Its name."""
        return self.name or f"{self.by} {self.limit}"
