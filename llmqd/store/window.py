"""The stretch of time that a question about usage is asked of, in whole hours or days."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from llmqd.store.rollups import DAY, HOUR


class Window(NamedTuple):
    """From `start` on, up to but without `end`: whole hours, or whole days in UTC, in Unix seconds."""

    start: int
    end: int

    @classmethod
    def around(cls, since: float, until: float, step: int = HOUR) -> Window:
        """The hours (or days, with `step`) that hold all of the time from `since` to `until`."""
        start = int(since // step) * step
        return cls(start, max(-int(-until // step) * step, start))

    def pieces(self) -> Iterator[tuple[int, int, int]]:
        """What of `usage` makes up the window, as (step, from, to): whole days where it can be, hours at its ends."""
        first, last = -(-self.start // DAY) * DAY, self.end // DAY * DAY
        if first >= last:
            yield HOUR, self.start, self.end
            return
        if self.start < first:
            yield HOUR, self.start, first
        yield DAY, first, last
        if last < self.end:
            yield HOUR, last, self.end

    def steps(self, step: int) -> range:
        """When each hour or day of it begins."""
        return range(self.start, self.end, step)
