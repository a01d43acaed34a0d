"""What a batch of entries comes to: rows to write and sums to add."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from llmqd.store.columns import Row
from llmqd.store.entries import Closed, Entry, Noted, Opened, Regrouped, Run, Seen
from llmqd.store.history import SLOT
from llmqd.store.spending import rows_of
from llmqd.store.spoken import Spoken


@dataclass(slots=True)
class Changes:
    """The entries between two runs or moves of calls, one per call: of several closes of one call the first counts; of
    several notes of one name the last.

    `run` is the run that the following entries tell of, `regrouped` what has to be moved before them; both are None
    when the stretch ends with the batch.
    """

    opened: dict[str, Opened] = field(default_factory=dict)
    closed: dict[str, Closed] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    run: str | None = None
    regrouped: Regrouped | None = None

    def note_rows(self) -> list[Row]:
        """Rows of `meta`, whose own names have no colon."""
        return [(f"note:{name}", text) for name, text in self.notes.items()]

    def rows_to_open(self) -> list[Row]:
        """Rows of calls that are still open at the end of the stretch."""
        return [entry.row for id_, entry in self.opened.items() if id_ not in self.closed]

    def rows_to_close(self, known: set[str]) -> list[Row]:
        """Rows of calls that ended, but for those that are `known` to have ended before."""
        return [entry.row for id_, entry in self.closed.items() if id_ not in known]

    def spoken(self, known: set[str]) -> list[Spoken]:
        """What was said in the calls that ended."""
        return [one.spoken for id_, one in self.closed.items() if one.spoken is not None and id_ not in known]

    def session_rows(self, known: set[str]) -> list[Row]:
        """What to add to each session, in the order of its columns but for its traits; all zeros where a call was only
        opened."""
        sums: dict[str, list[Any]] = {}
        for opened in self.opened.values():
            _seen(sums, opened.seen)
        for id_, closed in self.closed.items():
            row = _seen(sums, closed.seen)
            if row is None or id_ in known:
                continue
            tally = closed.tally
            row[4] += tally.requests
            row[5] += tally.errors
            row[6] += tally.input
            row[7] += tally.output
            row[8] += tally.input + tally.output
            row[9] += tally.cached
            row[10] += tally.cost_pico
            row[11] += tally.unknown_cost
        return [tuple(row) for row in sums.values()]

    def lane_rows(self, known: set[str]) -> list[Row]:
        """What to add to `lane_usage`, in the order of its columns: a row for each slot of time, lane and model."""
        sums: dict[tuple[int, str, str], list[Any]] = {}
        for id_, closed in self.closed.items():
            sent = closed.sent
            if sent is None or id_ in known:
                continue
            slot = int(sent.last // SLOT) * SLOT
            row = sums.setdefault((slot, sent.lane, sent.model), [slot, sent.lane, sent.model, sent.last, 0, 0, 0, 0])
            row[3] = max(row[3], sent.last)
            row[4] += sent.calls
            row[5] += sent.input
            row[6] += sent.output
            row[7] += sent.cached
        return [tuple(row) for row in sums.values()]

    def spending_rows(self, known: set[str]) -> list[Row]:
        """What to add to `spending`, in the order of its columns."""
        return rows_of(
            (closed.spent, None if closed.seen is None else closed.seen.session)
            for id_, closed in self.closed.items()
            if closed.spent is not None and id_ not in known
        )


def _seen(sums: dict[str, list[Any]], seen: Seen | None) -> list[Any] | None:
    if seen is None:
        return None
    row = sums.get(seen.session)
    if row is None:
        row = sums[seen.session] = [seen.session, seen.source, seen.first, seen.last, *([0] * 8)]
    else:
        row[2] = min(row[2], seen.first)
        row[3] = max(row[3], seen.last)
    return row


def changes(entries: Iterable[Entry]) -> Iterator[Changes]:
    """Cut entries into stretches, each ended by a run's beginning, by a move, or by the end of the batch."""
    stretch = Changes()
    for entry in entries:
        match entry:
            case Opened():
                stretch.opened.setdefault(entry.id, entry)
            case Closed():
                stretch.closed.setdefault(entry.id, entry)
            case Noted():
                stretch.notes[entry.name] = entry.text
            case Run():
                stretch.run = entry.id
                yield stretch
                stretch = Changes()
            case Regrouped():
                stretch.regrouped = entry
                yield stretch
                stretch = Changes()
    yield stretch
