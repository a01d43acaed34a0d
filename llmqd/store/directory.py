"""The journal's directory: its lock, the names of its files, and what was set aside in it."""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from llmqd.errors import StoreError

logger = logging.getLogger(__name__)

_SUFFIX = ".journal"
_ID_LENGTH = 32
_KEPT_BAD_FILES = 16
"""How many `.bad` files stay: enough to look into, not enough to fill a disk with."""


class JournalDirectory:
    """Names, creates and deletes segment files (`00000000000000000001.journal`, …) below a lock of its own.

    The lock file also holds the journal's id and, for the message to a second daemon, the holder's process id.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock: int | None = None
        self.id = ""

    def segment(self, number: int) -> Path:
        """The file of segment `number`."""
        return self._path / f"{number:020d}{_SUFFIX}"

    def open(self) -> dict[int, int]:
        """Create the directory if need be, lock it, and return the size of each segment in it, by number.

        Raises StoreError when it is in use or cannot be used.
        """
        try:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self._path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            self._take_lock(self._lock)
            return {number: self.segment(number).stat().st_size for number in self._numbers()}
        except StoreError:
            self.close()
            raise
        except OSError as error:
            self.close()
            reason = error.strerror if error.filename is None else f"{error.strerror}: {error.filename}"
            raise StoreError(f"the journal in {self._path} cannot be used: {reason}") from error

    def _take_lock(self, fd: int) -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 64, _ID_LENGTH).strip().decode("ascii", "replace") or "unknown"
            raise StoreError(
                f"the journal in {self._path} is in use by another llmqd (process {holder}): "
                f"stop that one or give this one a state directory of its own"
            ) from None
        known = os.pread(fd, _ID_LENGTH, 0)
        # Where the id is lost, the database reads what is left of the journal from its beginning: harmless, as
        # records are recognised by their ids.
        name = known if len(known) == _ID_LENGTH else secrets.token_hex(_ID_LENGTH // 2).encode()
        os.pwrite(fd, b"%b %10d\n" % (name, os.getpid()), 0)
        self.id = name.decode("ascii", "replace")

    def _numbers(self) -> Iterable[int]:
        for path in self._path.glob(f"*{_SUFFIX}"):
            if path.stem.isascii() and path.stem.isdigit():
                yield int(path.stem)

    def create(self, number: int) -> int:
        """A descriptor that appends to a new, empty segment file. Raises OSError."""
        # Truncated, because it can exist only if its very first line could not be written.
        return os.open(self.segment(number), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC, 0o600)

    def replace(self, number: int, lines: Iterable[bytes]) -> int:
        """Put other lines in the place of a segment that nobody appends to, all at once; the size. Raises OSError."""
        path = self.segment(number)
        other = path.with_suffix(".thinner")
        try:
            with os.fdopen(os.open(other, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.writelines(lines)
                file.flush()
                os.fsync(file.fileno())
                size = file.tell()
            other.rename(path)
        except OSError:
            other.unlink(missing_ok=True)
            raise
        return size

    def delete(self, numbers: Iterable[int]) -> None:
        """Delete segments; one that cannot be deleted is left and said."""
        for number in numbers:
            try:
                self.segment(number).unlink(missing_ok=True)
            except OSError as error:
                logger.warning("journal segment %s cannot be deleted: %s", self.segment(number), error.strerror)

    def set_aside(self, number: int, lines: list[bytes]) -> None:
        """Append damaged lines to the segment's `.bad` file. Never raises: they are of no use to the daemon."""
        if not lines:
            return
        path = self.segment(number).with_suffix(".bad")
        logger.error("%d damaged or unknown lines in %s, set aside in %s", len(lines), self.segment(number), path)
        try:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as file:
                file.writelines(lines)
            for old in sorted(self._path.glob("*.bad"))[:-_KEPT_BAD_FILES]:
                old.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("damaged lines cannot be set aside in %s: %s", path, error.strerror)

    def sync(self) -> None:
        """Have new names reach the medium. Raises OSError."""
        fd = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def close(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
