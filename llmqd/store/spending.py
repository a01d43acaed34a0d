"""What calls count for in budgets, summed up with each record: what a daemon that starts must know of its budgets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from llmqd.budgets.charge import SLOT, Amount, charged
from llmqd.store.entries import IMPORTED, Spent
from llmqd.store.position import BEGINNING, Position

if TYPE_CHECKING:
    from llmqd.store.columns import Row

KEPT = 33 * 86_400
"""Seconds for which quarters of an hour are kept: the longest month, in any zone."""
ALL_TIME = 0

ADD = """
INSERT INTO spending (slot, by, value, calls, tokens, cost_pico, last) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (slot, by, value) DO UPDATE SET
    calls = spending.calls + excluded.calls,
    tokens = spending.tokens + excluded.tokens,
    cost_pico = spending.cost_pico + excluded.cost_pico,
    last = max(spending.last, excluded.last)
"""

TRIM = f"DELETE FROM spending WHERE slot > {ALL_TIME} AND slot < ?"

RUNNING = f"""
SELECT received_at, client_key, user_id, agent, session_id, reserved_tokens, reserved_pico
FROM calls WHERE status = 'running' AND queued_ms IS NOT NULL AND coalesce(lane, '') <> '{IMPORTED}'
"""
"""Calls under which the daemon died: the upstream has them, so they count as they were expected to."""

TRIM_SESSIONS = """
DELETE FROM spending WHERE by = 'session' AND value NOT IN (SELECT session_id FROM sessions)
"""

_ASK = """
SELECT position, value, calls, tokens, cost_pico
FROM (SELECT value AS position FROM meta WHERE key = 'position') AS reached
LEFT JOIN (
    SELECT value, CAST(total(calls) AS INTEGER) AS calls, CAST(total(tokens) AS INTEGER) AS tokens,
        CAST(total(cost_pico) AS INTEGER) AS cost_pico, max(last) AS last
    FROM spending WHERE slot {which} AND by = ?
    GROUP BY value ORDER BY last DESC LIMIT ?
) AS spent ON true
ORDER BY last DESC
"""
WITHIN = _ASK.format(which=">= ? AND slot < ?")
OF_ALL_TIME = _ASK.format(which=f"= {ALL_TIME}")
"""With how far into the journal they go, in one statement, so that both are of the same moment."""

MOVE = f"""
{ADD.partition("VALUES")[0]} SELECT slot, by, ?, calls, tokens, cost_pico, last
FROM spending WHERE by = 'session' AND value = ?
{ADD[ADD.index("ON CONFLICT") :]}
"""
GONE = "DELETE FROM spending WHERE by = 'session' AND value = ?"

ENDED = f"""
SELECT received_at, status, error, http_status, queued_ms, attempts, usage_source, input_tokens, output_tokens,
    cost_pico, reserved_tokens, reserved_pico
FROM calls WHERE session_id = ? AND id >= ? AND id < ? AND status <> 'running' AND coalesce(lane, '') <> '{IMPORTED}'
"""
"""The calls of a session in a range of ids, as far as they have ended."""


class Spending(NamedTuple):
    """What the ledger knows was spent: by value, the latest first, of all that is in the journal before `position`."""

    rows: list[tuple[str, Amount]]
    position: Position


def spending(found: Sequence[Mapping[str, Any]]) -> Spending:
    """What the rows of WITHIN or OF_ALL_TIME say."""
    rows = [
        (row["value"], Amount(row["calls"], row["tokens"], row["cost_pico"]))
        for row in found
        if row["value"] is not None
    ]
    return Spending(rows, Position.parse(found[0]["position"]) if found else BEGINNING)


def rows_of(calls: Iterable[tuple[Spent, str | None]]) -> list[Row]:
    """What to add to `spending` for these calls, each with its session, in the order of its columns."""
    sums: dict[tuple[int, str, str], Row] = {}
    for spent, session in calls:
        quarter, added = int(spent.at // SLOT) * SLOT, (*spent.amount, spent.at)
        for by, value in (
            ("all", ""), ("key", spent.key), ("user", spent.user), ("agent", spent.agent), ("session", session),
        ):  # fmt: skip
            if value is not None:
                _add(sums, (quarter, by, value), added)
    for (_, by, value), added in [*sums.items()]:
        _add(sums, (ALL_TIME, by, value), added)
    return [(*key, *summed) for key, summed in sums.items()]


def _add(sums: dict[tuple[int, str, str], Row], key: tuple[int, str, str], added: Row) -> None:
    """Calls, tokens, picodollars, and when the last of them was received."""
    before = sums.get(key)
    if before is not None:
        calls, tokens, pico, last = before
        added = calls + added[0], tokens + added[1], pico + added[2], max(last, added[3])
    sums[key] = added


def interrupted(found: Iterable[Sequence[Any]]) -> list[Row]:
    """What to add for the rows of RUNNING."""
    return rows_of(
        (Spent(at, key, user, agent, Amount(1, tokens or 0, pico or 0)), session)
        for at, key, user, agent, session, tokens, pico in found
    )


def moved(found: Iterable[Sequence[Any]], before: str, into: str) -> list[Row]:
    """What to add for the calls of rows of ENDED that are of another session now: less for one, more for the other."""
    calls = []
    for at, status, error, http_status, queued_ms, attempts, source, given, made, pico, *reserved in found:
        amount = charged(
            status=status,
            error=error,
            http_status=http_status,
            waited=queued_ms is not None,
            attempts=attempts,
            tokens=None if source in (None, "unknown") else (given or 0) + (made or 0),
            pico=pico,
            reserved=(reserved[0] or 0, reserved[1] or 0),
        )
        calls.append((at, amount))
    less = [(Spent(at, None, None, None, Amount(*(-part for part in amount))), before) for at, amount in calls]
    more = [(Spent(at, None, None, None, amount), into) for at, amount in calls]
    return [row for row in rows_of([*less, *more]) if row[1] == "session"]
