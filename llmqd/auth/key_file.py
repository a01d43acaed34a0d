"""The file of client keys: read and written whole, by the daemon's user alone, by one program at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import orjson

from llmqd.auth.key import ClientKey
from llmqd.errors import KeyFileError
from llmqd.private import give_to_owner, write_private

NAME, USES_NAME = "keys.json", "key-uses.json"
_VERSION = 1


class KeyFile:
    """The keys of one state directory, and beside them when each was last used."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / NAME
        self.uses_path = directory / USES_NAME

    def stamp(self) -> tuple[int, int, int] | None:
        """What changes whenever the file does; None where there is none. Some microseconds."""
        try:
            status = os.stat(self.path)
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size

    def read(self) -> tuple[ClientKey, ...]:
        """Every key, revoked ones too. Raises KeyFileError where the file is there and cannot be used."""
        try:
            data = orjson.loads(self.path.read_bytes())
            if data["version"] != _VERSION:
                raise KeyFileError(f"{self.path} was written by a newer llmqd (version {data['version']})")
            return tuple(msgspec.convert(each, ClientKey) for each in data["keys"])
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise KeyFileError(f"{self.path} cannot be read: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise KeyFileError(f"{self.path} is damaged ({error}); restore it from a backup") from error

    @contextmanager
    def changing(self) -> Iterator[dict[str, ClientKey]]:
        """The keys by name, to be changed inside; written when it is left well. Others wait meanwhile.

        Raises KeyFileError.
        """
        try:
            self.path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            lock = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise KeyFileError(f"{self.path.parent} cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            give_to_owner(lock, self.path.parent)
            keys = {key.name: key for key in self.read()}
            yield keys
            _write(self.path, {"version": _VERSION, "keys": [asdict(key) for key in keys.values()]})
        finally:
            os.close(lock)

    def read_uses(self) -> dict[str, float]:
        """When each key was last used, by name; what cannot be read is not known."""
        try:
            found = orjson.loads(self.uses_path.read_bytes())
            return {str(name): float(at) for name, at in found.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    def write_uses(self, uses: Mapping[str, float]) -> None:
        """Keeps when each key was last used. Raises KeyFileError."""
        _write(self.uses_path, dict(uses))


def _write(path: Path, data: Any) -> None:
    try:
        write_private(path, orjson.dumps(data, option=orjson.OPT_INDENT_2))
    except OSError as error:
        raise KeyFileError(f"{path} cannot be written: {error.strerror}") from error
