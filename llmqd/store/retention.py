"""Decides what the database gives up next, by age and by size: the oldest texts first, then calls. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from llmqd.config.store import Store

What = Literal["texts", "words", "calls", "marks", "nodes", "pages"]
"""`words` is all of the index, `pages` are free space, given back to the file system; the others are rows, deleted."""

_SPARED = 86_400.0
"""Seconds: for the sake of size, texts of the last day go only when there are no older calls to be given up."""
_WAL = 64 << 20
"""Bytes of the cap that are left to the write-ahead log, or an eighth where that is less."""
_FOR_WORK = 512 << 20
"""Bytes of the cap, or a quarter where that is less, that are left to the index of words: while it is put in order, it
has some of itself twice."""
_SLACK_PAGES, _SLACK = 256, 16
"""Free space that may stay in the file for what comes next: so many pages, or one page in so many."""
_IN_MEMORY = 256 << 20
_BEFORE_ITS_CALL = 1.0
"""Seconds by which marks and nodes may be older than the oldest call by id and still be needed: of the calls of one
millisecond the first by id need not have come first, and clocks are corrected."""
_ROW_BYTES = {"texts": 256, "calls": 512}
_FEWEST, _MOST = 16, 20_000


@dataclass(frozen=True, slots=True)
class Terms:
    """What may stay: seconds for calls and texts, bytes for all of it. 0 is no bound."""

    calls: float = 0.0
    texts: float = 0.0
    max_size: int = 0

    @classmethod
    def of(cls, settings: Store) -> Terms:
        """As the settings say."""
        calls, texts, max_size = settings.retention, settings.texts_retention, settings.max_size
        if texts is None or (calls and not 0 < texts < calls):
            texts = calls
        if settings.backend == "memory":
            max_size = min(max_size or _IN_MEMORY, _IN_MEMORY)
        return cls(calls, texts, max_size)

    @property
    def wal(self) -> int:
        """Bytes that the write-ahead log may take."""
        return min(_WAL, self.max_size // 8) if self.max_size else _WAL

    @property
    def most(self) -> int | None:
        """Bytes that the database itself may take."""
        return self.max_size - self.wal - min(_FOR_WORK, self.max_size // 4) if self.max_size else None


@dataclass(frozen=True, slots=True)
class Extent:
    """How large the database is and what is oldest in it (Unix seconds; None: there is none).

    `session` is when the session was last seen whose nodes are the next that may have to go, `words` whether the index
    of words holds anything.
    """

    page_size: int
    pages: int
    free: int
    text: float | None = None
    call: float | None = None
    mark: float | None = None
    session: float | None = None
    words: bool = False

    @property
    def used(self) -> int:
        """Bytes in use."""
        return (self.pages - self.free) * self.page_size

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.pages * self.page_size


@dataclass(frozen=True, slots=True)
class Step:
    """What to give up: at most `count` rows that are older than `before` (Unix seconds), or so many pages.

    `for_size` where the cap demands it, so that it comes before the next records.
    """

    what: What
    count: int
    before: float = float("inf")
    for_size: bool = False


def next_step(terms: Terms, extent: Extent, now: float) -> Step | None:
    """The next thing to give up; None when all is well, or when nothing is left that could be."""
    if terms.most is not None and extent.used > terms.most:
        step = _for_size(terms.most, extent, now)
        if step is not None:
            return step
    if terms.most is not None and extent.size > terms.most and extent.free:
        return Step("pages", (extent.size - terms.most) // extent.page_size + 1, for_size=True)
    return _for_age(terms, extent, now) or _unused(extent)


def _for_size(most: int, extent: Extent, now: float) -> Step | None:
    spared = now - _SPARED
    excess = extent.used - most
    if extent.text is not None and (extent.text < spared or extent.call is None or extent.call >= spared):
        return _sized("texts", excess, for_size=True)
    if extent.text is None and extent.words:  # of texts that are gone: it is put in order later than they go
        return Step("words", 1, for_size=True)
    if extent.call is not None:
        return replace(_orphans(extent) or _sized("calls", excess, for_size=True), for_size=True)
    left = _orphans(replace(extent, call=now))
    return replace(left, for_size=True) if left else None


def _for_age(terms: Terms, extent: Extent, now: float) -> Step | None:
    if terms.texts and extent.text is not None and extent.text < now - terms.texts:
        return Step("texts", _MOST, before=now - terms.texts)
    if terms.calls and extent.call is not None and extent.call < now - terms.calls:
        return Step("calls", _MOST, before=now - terms.calls)
    orphans = _orphans(extent)
    if orphans is None and extent.call is None and terms.calls:
        return _orphans(replace(extent, call=now - terms.calls))
    return orphans


def _orphans(extent: Extent) -> Step | None:
    """Marks and nodes that are older than the oldest call: no call refers to them any more."""
    if extent.call is None:
        return None
    before = extent.call - _BEFORE_ITS_CALL
    if extent.mark is not None and extent.mark < before:
        return Step("marks", _MOST, before=before)
    if extent.session is not None and extent.session < before:
        return Step("nodes", _MOST, before=before)
    return None


def _unused(extent: Extent) -> Step | None:
    slack = max(_SLACK_PAGES, extent.pages // _SLACK)
    return Step("pages", extent.free - slack) if extent.free > slack else None


def _sized(what: What, excess: int, *, for_size: bool) -> Step:
    return Step(what, min(max(excess // _ROW_BYTES[what], _FEWEST), _MOST), for_size=for_size)


class Pace:
    """How much is given up at once, so that a step takes some 20 ms whatever the machine: records must not wait."""

    def __init__(self, least: int = _FEWEST, most: int = _MOST, aim: float = 0.02) -> None:
        self._least = least
        self._most = most
        self._aim = aim
        self.count = 8 * least

    def took(self, count: int, seconds: float) -> None:
        """So many took so long."""
        if seconds > self._aim:
            self.count = max(self._least, self.count // 2)
        elif count >= self.count and seconds < self._aim / 2:
            self.count = min(self._most, self.count * 2)
