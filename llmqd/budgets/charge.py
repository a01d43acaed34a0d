"""What a call that has ended counts for in budgets: the one rule for the daemon's memory and for the ledger."""

from __future__ import annotations

from typing import NamedTuple

SLOT = 900
"""Seconds of which one row of `spending` tells: hours begin at a quarter of an hour in every zone."""

_MAY_HAVE_WORKED = frozenset({"cut", "cancelled", "interrupted", "failed"})
_NEVER_ARRIVED = frozenset({"upstream_unreachable", "shutting_down"})


class Amount(NamedTuple):
    """What calls come to: how many, their tokens, and their cost in picodollars."""

    calls: int = 0
    tokens: int = 0
    pico: int = 0

    def plus(self, other: Amount) -> Amount:
        """Both together."""
        return Amount(self.calls + other.calls, self.tokens + other.tokens, self.pico + other.pico)


NOTHING = Amount()


def charged(
    *,
    status: str,
    error: str | None,
    http_status: int | None,
    waited: bool,
    attempts: int,
    tokens: int | None,
    pico: int | None,
    reserved: tuple[int, int],
) -> Amount:
    """What a call counts for.

    `waited`: it is of a kind that waits for its turn; others cost nothing. `tokens` and `pico` are None where they are
    not known; then `reserved`, what was set aside for it (tokens, picodollars), stands for what the upstream may have
    done all the same, because it may have to be paid.
    """
    if not waited or not attempts or status in ("refused", "abandoned"):
        return NOTHING
    if status == "failed" and tokens is None and error in _NEVER_ARRIVED:
        return NOTHING
    if tokens is not None:
        return Amount(1, tokens, reserved[1] if pico is None else pico)
    good = status == "failed" or http_status is None or http_status < 400
    if pico is None and good and status in _MAY_HAVE_WORKED:
        return Amount(1, *reserved)
    return Amount(1, 0, pico or 0)
