"""Roll-ups: what calls come to by hour and by day, kept up with each record so that no question has to read calls.

A row of `usage` sums the calls that were received within one hour (`step` 3600) or one day in UTC (86400), of all or of
one model, agent, user, key (without one: address) or upstream (`by`, `value`; `part` is the upstream of a model). Each
call is in six rows of each step. Rows of one `by` add up to all calls.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import NamedTuple

from llmqd.store.columns import CALL_COLUMNS, OUTCOME_COLUMNS, Row
from llmqd.store.histogram import added, bucket, packed

HOUR, DAY = 3600, 86_400
STEPS = (HOUR, DAY)
DIMENSIONS = ("model", "agent", "user", "key", "upstream")
"""What usage can be told apart by; `all` is not told apart."""
_LONGEST = 256
"""Characters of a value: names of models come from request bodies and could be anything."""

SUMS = (
    "calls",
    "errors",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "cost_pico",
    "cost_input_pico",
    "cost_output_pico",
    "cost_cache_read_pico",
    "cost_cache_write_pico",
    "unknown_cost_count",
    "cache_hits",
    "function_calls",
    "queued_ms",
    "total_ms",
    "first_ms",
    "streams",
)
"""Columns that are added up, as the schema describes them."""
_KEY = ("by", "step", "start", "value", "part")
_HISTOGRAMS = ("latency", "ttft")
COLUMNS = (*_KEY, *SUMS, "shortest_ms", "longest_ms", *_HISTOGRAMS)


def _extreme(column: str, of: str) -> str:
    """The least or the greatest of both; of one of them where the other is not known."""
    return f"{of}(coalesce(usage.{column}, excluded.{column}), coalesce(excluded.{column}, usage.{column}))"


ADD_USAGE = f"""
INSERT INTO usage ({", ".join(COLUMNS)}) VALUES ({", ".join("?" * len(COLUMNS))})
ON CONFLICT ({", ".join(_KEY)}) DO UPDATE SET
    {", ".join(f"{column} = usage.{column} + excluded.{column}" for column in SUMS)},
    shortest_ms = {_extreme("shortest_ms", "min")},
    longest_ms = {_extreme("longest_ms", "max")},
    latency = add_histograms(usage.latency, excluded.latency),
    ttft = add_histograms(usage.ttft, excluded.ttft)
"""
"""`add_histograms` is `histogram.added`, which the connection must have been given."""

READ = (
    "id",
    "received_at",
    "model",
    "agent",
    "user_id",
    "client",
    "upstream",
    "stream",
    "session_id",
    "conversation",
    "tags",
    "status",
    "http_status",
    "queued_ms",
    "first_byte_ms",
    "total_ms",
    "function_calls",
    "usage_source",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "reasoning_tokens",
    "cost_pico",
    "cost_input_pico",
    "cost_output_pico",
    "cost_cache_read_pico",
    "cost_cache_write_pico",
    "client_key",
)
"""The columns of `calls` from which everything here is made."""


class Ended(NamedTuple):
    """A call that has ended, as far as roll-ups know it: fields named as in READ."""

    id: str
    received_at: float
    model: str | None
    agent: str | None
    user: str | None
    address: str | None
    upstream: str
    stream: int
    session: str | None
    conversation: str | None
    tags: str | None
    status: str
    http_status: int | None
    queued_ms: float | None
    first_byte_ms: float | None
    total_ms: float | None
    function_calls: int | None
    usage_source: str | None
    input: int | None
    output: int | None
    cached: int | None
    cache_write_5m: int | None
    cache_write_1h: int | None
    reasoning: int | None
    cost: int | None
    cost_input: int | None
    cost_output: int | None
    cost_cache_read: int | None
    cost_cache_write: int | None
    client_key: str | None = None

    @property
    def answered(self) -> bool:
        """Whether the upstream answered with 2xx, even if the answer was cut later."""
        return 200 <= (self.http_status or 0) < 300

    @property
    def hour(self) -> int:
        """When the hour began in which it was received, in Unix seconds."""
        return int(self.received_at // HOUR) * HOUR


_take = itemgetter(*[(*CALL_COLUMNS, *OUTCOME_COLUMNS).index(column) for column in READ])


def ended(row: Row) -> Ended:
    """A call from the values of CALL_COLUMNS and OUTCOME_COLUMNS."""
    return Ended._make(_take(row))


def usage_rows(calls: Iterable[Ended]) -> list[Row]:
    """What to add to `usage`, in the order of COLUMNS."""
    alike: dict[_Whose, list[_One]] = {}
    for call in calls:
        answered = call.answered
        # Without an answer nothing was measured. The beginning of a stream is about the time to the first token.
        took = call.total_ms if answered else None
        first = call.first_byte_ms if answered and call.stream else None
        one = _One(
            _figures(call, took, first, answered=answered),
            took,
            None if took is None else bucket(took),
            None if first is None else bucket(first),
        )
        whose = call.hour, call.model, call.agent, call.user, call.client_key or call.address, call.upstream
        group = alike.get(whose)
        if group is None:
            alike[whose] = [one]
        else:
            group.append(one)
    # Mostly many calls of a batch are alike in all of these, and are added up once for all six.
    hours: dict[tuple[str, int, str, str], list[_Whose]] = {}
    for whose in alike:
        hour, model, agent, user, key, upstream = whose
        for by, value, part in (
            ("all", "", ""),
            ("model", model, upstream),
            ("agent", agent, ""),
            ("user", user, ""),
            ("key", key, ""),
            ("upstream", upstream, ""),
        ):
            hours.setdefault((by, hour, value[:_LONGEST] if value else "", part), []).append(whose)
    columns: dict[tuple[_Whose, ...], Row] = {}
    rows: list[Row] = []
    for (by, hour, value, part), those in hours.items():
        together = tuple(those)
        summed = columns.get(together)
        if summed is None:
            summed = columns[together] = _columns([one for whose in those for one in alike[whose]])
        rows.append((by, HOUR, hour, value, part, *summed))
    return rows + _days(rows)


def _days(hours: Sequence[Row]) -> list[Row]:
    """The rows of days; mostly all rows of a batch are of one hour, and then these are the same."""
    days: dict[Row, Row] = {}
    for by, _, hour, *rest in hours:
        day = (by, DAY, hour - hour % DAY, *rest)
        key = day[:5]
        before = days.get(key)
        days[key] = day if before is None else _sum(before, day)
    return [*days.values()]


def _sum(one: Row, other: Row) -> Row:
    first = len(_KEY)
    last = first + len(SUMS)
    sums = [mine + yours for mine, yours in zip(one[first:last], other[first:last], strict=True)]
    shortest = min((ms for ms in (one[last], other[last]) if ms is not None), default=None)
    longest = max((ms for ms in (one[last + 1], other[last + 1]) if ms is not None), default=None)
    histograms = [added(mine, yours) for mine, yours in zip(one[last + 2 :], other[last + 2 :], strict=True)]
    return (*one[:first], *sums, shortest, longest, *histograms)


_Whose = tuple[int, str | None, str | None, str | None, str | None, str]
"""What a call is counted by: its hour, model, agent, user, key and upstream."""


class _One(NamedTuple):
    """What one call adds to each of its rows: `took` with its bucket, `first` the bucket of its first byte."""

    figures: tuple[int, ...]
    took: float | None
    latency: int | None
    first: int | None


def _columns(calls: Sequence[_One]) -> Row:
    """Calls added up: the columns behind the key. A batch has many such rows, most of them of a call or two."""
    if len(calls) == 1:
        [one] = calls
        latency = b"" if one.latency is None else packed({one.latency: 1})
        return (*one.figures, one.took, one.took, latency, b"" if one.first is None else packed({one.first: 1}))
    times = [one.took for one in calls if one.took is not None]
    return (
        *map(sum, zip(*[one.figures for one in calls], strict=True)),
        min(times, default=None),
        max(times, default=None),
        packed(Counter([one.latency for one in calls if one.latency is not None])),
        packed(Counter([one.first for one in calls if one.first is not None])),
    )


def _figures(call: Ended, took: float | None, first: float | None, *, answered: bool) -> tuple[int, ...]:
    """What one call adds, in the order of SUMS. `took` and `first` are None where that is not known."""
    return (
        1,
        0 if answered else 1,
        call.input or 0,
        call.output or 0,
        call.cached or 0,
        (call.cache_write_5m or 0) + (call.cache_write_1h or 0),
        call.reasoning or 0,
        call.cost or 0,
        call.cost_input or 0,
        call.cost_output or 0,
        call.cost_cache_read or 0,
        call.cost_cache_write or 0,
        1 if call.usage_source is not None and call.cost is None else 0,
        1 if answered and call.cached else 0,
        call.function_calls or 0,
        round(call.queued_ms or 0.0),
        round(took or 0.0),
        round(first or 0.0),
        0 if first is None else 1,
    )
