"""The journal on disk: segment files that the call path appends to and the writer reads, and nobody ever changes."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import sys
from pathlib import Path
from typing import Protocol

from llmqd.store.directory import JournalDirectory
from llmqd.store.lines import line, parse
from llmqd.store.position import BEGINNING, Batch, Position
from llmqd.store.thinning import thinned

logger = logging.getLogger(__name__)


class Journal(Protocol):
    """An append-only sequence of entries that is read by position and shortened from its beginning.

    `append`, `end`, `behind` and `size` belong to the event loop's thread; `read` and `sync` may run in another one.
    """

    @property
    def id(self) -> str:
        """Names this journal: positions of another one mean nothing here."""

    @property
    def end(self) -> Position:
        """The position behind the last entry."""

    @property
    def size(self) -> int:
        """Bytes held."""

    def open(self) -> None:
        """Take the journal into use. Raises StoreError where that is impossible, OSError where it is for now."""

    def append(self, entry: bytes) -> None:
        """Add one entry, whole or not at all. Raises OSError when it cannot be stored."""

    def read(self, position: Position, max_bytes: int, max_entries: int) -> Batch | None:
        """Entries from `position` on, at least one if there is one; None when nothing follows."""

    def set_aside(self, segment: int, entry: bytes) -> None:
        """Keep an entry that nobody understands beside the journal. Never raises."""

    def thin(self, after: int) -> int:
        """Leave out what was said in the oldest finished segment behind that one; how many texts, 0 where there are
        none (left). Never while `read` runs. Raises OSError."""

    async def drop_before(self, position: Position) -> None:
        """Forget the entries that `position` has left behind, as far as whole segments go."""

    def behind(self, position: Position) -> int:
        """Bytes from `position` to the end."""

    def sync(self) -> None:
        """Have all that was appended reach the medium. Raises OSError when it may not have."""

    def close(self) -> None:
        """Release files and lock."""


class FileJournal:
    """A journal in a directory of its own, which it locks against a second daemon.

    Every start opens a new segment, so that a line which a crash cut off is never continued. `header` is the first
    entry of every segment. A segment is closed for good when it has reached `segment_size` bytes or a write to it
    failed. What cannot be read is copied to `<segment>.bad` beside it.
    """

    def __init__(self, directory: Path, *, segment_size: int, header: bytes) -> None:
        self._directory = JournalDirectory(directory)
        self._segment_size = segment_size
        self._header = header
        self._fd: int | None = None
        self._retired: list[int] = []
        self.end = BEGINNING
        """The position behind the last entry."""
        self._segments: tuple[int, ...] = ()
        self._finished: dict[int, int] = {}
        self._thin: set[int] = set()
        self._new_names = False

    def __repr__(self) -> str:
        return f"<FileJournal {len(self._segments)} segments, {self.size} bytes, end {self.end}>"

    @property
    def id(self) -> str:
        """A random name, given to the directory when it was made."""
        return self._directory.id

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(self._finished.values()) + self.end.offset

    def open(self) -> None:
        """Lock the directory, find earlier segments and begin a new one.

        Raises StoreError when another daemon holds the lock or the directory cannot be used, OSError when only the
        new segment cannot be written at present (disk full): then the journal is readable, and `append` tries again.
        """
        self._finished = self._directory.open()
        self._segments = tuple(sorted(self._finished))
        if self._segments:
            last = self._segments[-1]
            self.end = Position(last, self._finished.pop(last))
        self._begin_segment()

    def append(self, entry: bytes) -> None:
        """Add one entry with one write(2). Raises OSError when it cannot be stored; nothing of it remains then."""
        data = line(entry)
        fd, (segment, offset) = self._fd, self.end
        if fd is None or offset + len(data) > self._segment_size:
            fd = self._begin_segment()
            segment, offset = self.end
        written = os.write(fd, data)
        if written != len(data):
            self._undo(fd, offset)
            raise _cut_short(self._directory.segment(segment))
        self.end = Position(segment, offset + written)

    def _undo(self, fd: int, size: int) -> None:
        """Take back a write that ended early; where that fails too, leave the segment for good."""
        try:
            os.ftruncate(fd, size)
        except OSError:
            self._retired.append(fd)
            self._fd = None

    def _begin_segment(self) -> int:
        """Put a new segment, with its header, behind the present one. Raises OSError and changes nothing."""
        segment = self.end.segment + 1
        fd = self._directory.create(segment)
        header = line(self._header)
        try:
            if os.write(fd, header) != len(header):
                raise _cut_short(self._directory.segment(segment))
        except OSError:
            os.close(fd)
            self._directory.delete([segment])
            raise
        if self._fd is not None:
            self._retired.append(self._fd)
        if self.end.segment:
            self._finished[self.end.segment] = self.end.offset
        self._fd = fd
        self._new_names = True
        # The end moves first: a reader that sees the new name must also see that the segment before it is finished.
        self.end = Position(segment, len(header))
        self._segments = (*self._segments, segment)
        return fd

    def read(self, position: Position, max_bytes: int, max_entries: int) -> Batch | None:
        """Entries from `position` on, of one segment; None when nothing follows. Safe in another thread.

        About `max_bytes` are read at once, more where a single entry is longer. Raises OSError.
        """
        end = self.end
        segments = [number for number in self._segments if position.segment <= number <= end.segment]
        for segment in segments:
            offset = position.offset if segment == position.segment else 0
            batch = self._read_segment(segment, offset, end, max_bytes, max_entries)
            if batch is not None:
                return batch
        return None

    def _read_segment(self, segment: int, offset: int, end: Position, max_bytes: int, max_entries: int) -> Batch | None:
        finished = segment < end.segment
        try:
            file = self._directory.segment(segment).open("rb", buffering=0)
        except FileNotFoundError:
            if not finished:
                raise
            logger.error("journal segment %s is gone; its entries are skipped", self._directory.segment(segment))
            return None
        with file:
            stop = os.fstat(file.fileno()).st_size if finished else end.offset
            while offset < stop:
                data = os.pread(file.fileno(), min(max_bytes, stop - offset), offset)
                whole = offset + len(data) >= stop
                parsed = parse(data, offset, final=finished and whole, max_entries=max_entries)
                if parsed.end > offset:
                    self._directory.set_aside(segment, parsed.bad)
                    entries = [(payload, Position(segment, at)) for payload, at in parsed.entries]
                    return Batch(entries, Position(segment, parsed.end), len(parsed.bad))
                if whole or not data:
                    break
                max_bytes *= 2
        return None

    def set_aside(self, segment: int, entry: bytes) -> None:
        """Copy an entry that nobody understands to the segment's `.bad` file. Never raises."""
        self._directory.set_aside(segment, [line(entry)])

    def thin(self, after: int) -> int:
        """Rewrites a segment without texts. Safe in another thread while entries are appended; positions in it are
        others afterwards. Raises OSError."""
        for segment in [number for number in self._segments if number > after and number not in self._thin]:
            if segment >= self.end.segment:
                break
            whole = parse(self._directory.segment(segment).read_bytes(), 0, final=True, max_entries=sys.maxsize)
            payloads, gone = thinned(payload for payload, _ in whole.entries)
            self._thin.add(segment)
            if gone:
                self._directory.set_aside(segment, whole.bad)
                self._finished[segment] = self._directory.replace(segment, map(line, payloads))
                self._new_names = True
                return gone
        return 0

    async def drop_before(self, position: Position) -> None:
        """Delete the segments before `position`'s. A file that cannot be deleted now goes at the next start."""
        dropped = [number for number in self._segments if number < position.segment]
        if not dropped:
            return
        self._segments = tuple(number for number in self._segments if number >= position.segment)
        for number in dropped:
            self._finished.pop(number, None)
            self._thin.discard(number)
        await asyncio.to_thread(self._directory.delete, dropped)

    def behind(self, position: Position) -> int:
        """Bytes from `position` to the end."""
        if position.segment == self.end.segment:
            return self.end.offset - position.offset
        rest = max(0, self._finished.get(position.segment, 0) - position.offset)
        return (
            rest + sum(size for number, size in self._finished.items() if number > position.segment) + self.end.offset
        )

    def sync(self) -> None:
        """fsync(2) what was appended, new file names included. One call at a time; safe in another thread.

        Raises OSError. The kernel may then have dropped what it could not write, but the entries are still read from
        the page cache and reach the database.
        """
        # Those that are done with are taken first: the one in use may become one of them at any moment.
        retired, self._retired = self._retired, []
        fd, new_names = self._fd, self._new_names
        try:
            while retired:
                done_with = retired.pop()
                try:
                    os.fsync(done_with)
                finally:
                    os.close(done_with)
        finally:
            self._retired.extend(retired)
        if fd is not None:
            os.fsync(fd)
        if new_names:
            self._new_names = False
            self._directory.sync()

    def close(self) -> None:
        """Close the files and give the lock back. No other method may run or follow."""
        for fd in (*self._retired, *([] if self._fd is None else [self._fd])):
            os.close(fd)
        self._retired.clear()
        self._fd = None
        self._directory.close()


def _cut_short(path: Path) -> OSError:
    return OSError(errno.ENOSPC, "the write ended early: no space left", str(path))
