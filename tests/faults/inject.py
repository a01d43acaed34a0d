"""Steps the daemon's wall clock, breaks its disk, takes its DNS away: by a library that is preloaded into it."""

from __future__ import annotations

import mmap
import shutil
import struct
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_SOURCE = Path(__file__).with_name("inject.c")
_SIZE = 32


def available() -> bool:
    """Whether the library can be built here."""
    return shutil.which("gcc") is not None


class Injection:
    """The switches of one daemon; without a compiler there are none, and `environ` is empty."""

    def __init__(self, directory: Path, below: Path) -> None:
        self._file = directory / "inject"
        self._file.write_bytes(bytes(_SIZE))
        self.environ: Mapping[str, str] = {}
        if available():
            library = directory / "inject.so"
            command = ["gcc", "-shared", "-fPIC", "-O1", "-o", str(library), str(_SOURCE), "-ldl"]
            subprocess.run(command, check=True, capture_output=True)
            self.environ = {
                "LD_PRELOAD": str(library),
                "LLMQD_INJECT": str(self._file),
                "LLMQD_INJECT_BELOW": str(below),
            }
        with self._file.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _SIZE)

    @contextmanager
    def clock(self, seconds: float) -> Iterator[None]:
        """The wall clock is so many seconds ahead."""
        with self._set(0, int(seconds * 1e9)):
            yield

    @contextmanager
    def disk(self, number: int) -> Iterator[None]:
        """Everything that writes in the state directory fails with this errno."""
        with self._set(1, number):
            yield

    @contextmanager
    def no_names(self) -> Iterator[None]:
        """No name of a host can be resolved."""
        with self._set(2, 1):
            yield

    @contextmanager
    def _set(self, place: int, value: int) -> Iterator[None]:
        struct.pack_into("q", self._map, 8 * place, value)
        try:
            yield
        finally:
            struct.pack_into("q", self._map, 8 * place, 0)
