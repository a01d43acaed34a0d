"""Keeps from others what the process holds: its memory, a key on its command line, and small files of its own."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
from pathlib import Path

_PR_SET_DUMPABLE = 4
_ARG_START, _ARG_END = 45, 46
"""Places in /proc/self/stat behind the name in brackets, which is the second field (proc(5): 48 and 49)."""


def close_memory() -> None:
    """No core dump is written of this process, and no other of its user may read its memory or environment."""
    with contextlib.suppress(OSError, ValueError):  # a system call filter may forbid it; the unit has done it then
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def wipe_from_command_line(secret: str) -> None:
    """Overwrites this text where the kernel shows the arguments to everybody (/proc/PID/cmdline, ps)."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        start, end = int(fields[_ARG_START]), int(fields[_ARG_END])
    except (OSError, ValueError, IndexError):
        return
    wanted = secret.encode("utf-8", "surrogateescape")
    if not wanted or end <= start:
        return
    arguments = ctypes.string_at(start, end - start)
    at = arguments.find(wanted)
    while at >= 0:
        ctypes.memset(start + at, ord("x"), len(wanted))
        at = arguments.find(wanted, at + len(wanted))


def write_private(path: Path, content: bytes) -> None:
    """Writes a file for the owner of its directory alone, whole or not at all, and on its medium. Raises OSError."""
    new = path.with_name(f".{path.name}.new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        os.fchmod(file.fileno(), 0o600)  # it may have been left there with another mode
        give_to_owner(file.fileno(), path.parent)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)


def give_to_owner(descriptor: int, directory: Path) -> None:
    """What root makes in the daemon's directory must belong to the daemon. Raises OSError."""
    if os.geteuid() == 0:
        owner = directory.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
