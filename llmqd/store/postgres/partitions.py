"""Decides into which stretches of days the large tables are cut, and which of them go. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

from llmqd.call import new_call_id
from llmqd.store.entries import Closed, Entry, Opened
from llmqd.store.retention import Terms

DAY = 86_400
_MOST = 30
"""Partitions of a table that retention leaves, about: each question that goes by another key looks into all of them."""
_FOR_EVER = 30
"""Days of one, where nothing ever goes for its age."""
_TEXTS_OF_A_DAY = 32
"""Bits that number the texts of one day."""
_TIME_OF_ID = 10
"""Characters of a call's id that tell its time. The first of them is 0 for a thousand years to come."""
_TO_BASE_32 = str.maketrans("0123456789abcdefghjkmnpqrstvwxyz", "0123456789abcdefghijklmnopqrstuv")
_NAME = re.compile(r"(calls|texts|words)_(\d+)_(\d+)")

TABLES = ("calls", "texts", "words")
"""What is cut: calls by their ids, texts and their words by theirs, all of which sort by time."""


class Partition(NamedTuple):
    """Rows of a table from the day `first` on, up to but without the day `end`; days since 1970 in UTC."""

    table: str
    first: int
    end: int

    @property
    def name(self) -> str:
        """Its name as a table."""
        return f"{self.table}_{self.first}_{self.end}"

    @classmethod
    def named(cls, name: str) -> Partition | None:
        """The inverse of `name`; None for another table."""
        found = _NAME.fullmatch(name)
        return cls(found[1], int(found[2]), int(found[3])) if found else None

    def bounds(self) -> tuple[str, str]:
        """The first key in it and the first behind it, as SQL."""
        if self.table == "calls":
            first, end = (new_call_id(day * DAY)[:_TIME_OF_ID] for day in (self.first, self.end))
            return (f"'{first}'" if self.first else "''"), f"'{end}'"
        return str(self.first << _TEXTS_OF_A_DAY), str(self.end << _TEXTS_OF_A_DAY)


def first_text(at: float) -> int:
    """The least id of a text that is put down at that time (Unix seconds)."""
    return max(int(at // DAY), 0) << _TEXTS_OF_A_DAY


def day_of_call(call_id: str) -> int | None:
    """The day on which a call came, by its id; None for an id that tells none: its place is always there."""
    if not call_id.startswith("0"):
        return None
    try:
        return int(call_id[:_TIME_OF_ID].ljust(_TIME_OF_ID, "0").translate(_TO_BASE_32), 32) // 1000 // DAY
    except ValueError:
        return None


def days_of(entries: Iterable[Entry]) -> tuple[set[int], set[int]]:
    """(the days of calls, the days of texts) for which there must be a place before these entries are written."""
    calls: set[int | None] = set()
    texts: set[int] = set()
    for entry in entries:
        if isinstance(entry, Opened | Closed):
            calls.add(day_of_call(entry.id))
        if isinstance(entry, Closed) and entry.spoken is not None and entry.spoken.texts:
            texts.add(max(int(entry.spoken.at // DAY), 0))
    return {day for day in calls if day is not None}, texts


@dataclass(frozen=True, slots=True)
class Cut:
    """How wide partitions are, in days."""

    calls: int
    texts: int

    @classmethod
    def of(cls, terms: Terms) -> Cut:
        """Some thirty of each table, whatever is kept."""
        calls, texts = (max(ceil(kept / DAY / _MOST), 1) if kept else _FOR_EVER for kept in (terms.calls, terms.texts))
        return cls(calls, texts)

    def lacking(self, there: Iterable[Partition], calls: Iterable[int], texts: Iterable[int]) -> list[Partition]:
        """What has to be made for these days beside what is `there`."""
        made: list[Partition] = []
        known = [*there]
        for table, days, width in (
            ("calls", calls, self.calls), ("texts", texts, self.texts), ("words", texts, self.texts),
        ):  # fmt: skip
            for day in sorted(days):
                mine = [one for one in [*known, *made] if one.table == table]
                if any(one.first <= day < one.end for one in mine):
                    continue
                first = day - day % width
                # Others may be of another width, from when something else was kept.
                least = max([first, *(one.end for one in mine if one.end <= day)])
                end = min([first + width, *(one.first for one in mine if one.first > day)])
                made.append(Partition(table, least, end))
        return made


def outdated(terms: Terms, there: Iterable[Partition], now: float) -> list[Partition]:
    """Those of which everything is older than it may be."""
    kept = {"calls": terms.calls, "texts": terms.texts, "words": terms.texts}
    return [one for one in there if kept[one.table] and one.end * DAY <= now - kept[one.table]]


def given_up(there: Sequence[Partition], now: float) -> list[Partition]:
    """What goes next for the sake of size: the oldest texts with their words, then the oldest calls; never what is of
    the last day."""
    old = sorted((one for one in there if (one.end + 1) * DAY <= now), key=lambda one: one.first)
    texts = next((one for one in old if one.table == "texts"), None)
    if texts is not None:
        return [texts, *(one for one in old if one.table == "words" and one.first < texts.end and one.end <= texts.end)]
    return [one for one in old if one.table == "calls"][:1]
