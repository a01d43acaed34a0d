"""Runs a program under a system call filter as systemd would set it up, without systemd: libseccomp by ctypes."""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import mmap
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Sequence

_ALLOW = 0x7FFF0000
_EPERM = 0x00050000 | errno.EPERM
_MASKED_EQUAL = 7
_WRITE_AND_EXEC = mmap.PROT_WRITE | mmap.PROT_EXEC

_PR_SET_NO_NEW_PRIVS = 38


class _Compare(ctypes.Structure):
    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("mask", ctypes.c_uint64),
        ("value", ctypes.c_uint64),
    )


def available() -> bool:
    """Whether this machine can confine a program so."""
    return platform.machine() in ("x86_64", "aarch64") and ctypes.util.find_library("seccomp") is not None


def system_calls(filters: Iterable[str]) -> set[str]:
    """The calls that `SystemCallFilter=` lines leave, sets expanded as the installed systemd knows them."""
    allowed: set[str] = set()
    for line in filters:
        for word in line.removeprefix("~").split():
            names = _members(word)
            allowed = allowed - names if line.startswith("~") else allowed | names
    return allowed | _members("@default")


def run(command: Sequence[str], *, allowed: set[str]) -> subprocess.CompletedProcess[str]:
    """Runs a command that may use only these calls (any other fails with EPERM) and no writable, executable memory."""
    launcher = [sys.executable, __file__, ",".join(sorted(allowed)), *command]
    return subprocess.run(launcher, capture_output=True, text=True, timeout=120)


def main(allowed: str, *command: str) -> None:
    """Confines this process, then becomes the command."""
    library = ctypes.CDLL(ctypes.util.find_library("seccomp"), use_errno=True)
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(_EPERM))
    for name in set(allowed.split(",")) - {"mmap", "mprotect"}:
        if (number := library.seccomp_syscall_resolve_name(name.encode())) >= 0:
            library.seccomp_rule_add_array(context, _ALLOW, number, 0, None)
    _deny_writable_code(library, context)
    ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if library.seccomp_load(context) != 0:
        raise OSError("the kernel does not take the filter")
    os.execv(command[0], command)


def _deny_writable_code(library: ctypes.CDLL, context: ctypes.c_void_p) -> None:
    """What MemoryDenyWriteExecute= forbids (systemd.exec(5)): mmap of both at once, mprotect to executable."""
    for name, mask, harmless in (
        ("mmap", _WRITE_AND_EXEC, (0, mmap.PROT_WRITE, mmap.PROT_EXEC)),
        ("mprotect", mmap.PROT_EXEC, (0,)),
    ):
        number = library.seccomp_syscall_resolve_name(name.encode())
        for value in harmless:
            rule = (_Compare * 1)(_Compare(2, _MASKED_EQUAL, mask, value))
            library.seccomp_rule_add_array(context, _ALLOW, number, 1, rule)


def _members(word: str) -> set[str]:
    """The system calls of a set such as `@system-service`, sets in it included."""
    if not word.startswith("@"):
        return {word}
    listed = subprocess.run(["systemd-analyze", "syscall-filter", word], capture_output=True, text=True, check=True)
    names = [line.strip() for line in listed.stdout.splitlines()[1:]]
    return set().union(*(_members(name) for name in names if name and not name.startswith("#")))


if __name__ == "__main__":
    main(*sys.argv[1:])
