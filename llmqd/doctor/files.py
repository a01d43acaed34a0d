"""Who may read and write the daemon's files, and how much room there is for more."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from llmqd.config.secret import SecretError, SecretSource, secret_path
from llmqd.doctor.finding import Finding, fault, ok, warning

_LITTLE, _TOO_LITTLE = 1 << 30, 256 << 20
"""Bytes of free space below which there is a warning, and a fault."""
_FEW_FILES = 1000


_INSTANCES = "instances"
"""Where systemd keeps the state of llmqd@NAME.service: the directory is root's, each instance is looked at apart."""


def look_at_configuration(path: Path, sources: Iterable[tuple[str, SecretSource]]) -> Iterator[Finding]:
    """The file itself, and the files of the secrets that it names (each with the setting's name)."""
    status = _status(path)
    if isinstance(status, Finding):
        yield status
        return
    plain = [setting for setting, source in sources if source.scheme == "plain"]
    if status.st_mode & 0o022:
        yield fault(
            "configuration",
            f"{path} can be written by {_others(status.st_mode & 0o022)}, who can send every key where they like",
            f"chmod go-w {path}",
        )
    elif plain and status.st_mode & 0o004:
        yield fault(
            "configuration",
            f"{path} holds a secret in plain ({', '.join(plain)}) and can be read by everybody on this machine",
            f"chmod o-r {path}, or keep the secret elsewhere: credential:NAME, file:/path or env:NAME",
        )
    else:
        yield ok("configuration", f"{path} is in force and can be changed by {_owner(status)} alone")


def look_at_secrets(sources: Iterable[tuple[str, SecretSource]], environ: dict[str, str]) -> Iterator[Finding]:
    """The files in which secrets lie."""
    for setting, source in sources:
        if source.scheme not in ("file", "credential"):
            continue
        try:
            path = secret_path(source, environ)
            status = path.stat()
        except (SecretError, OSError):
            continue  # that it is missing is said where the configuration is read
        if status.st_mode & 0o007:
            yield fault(
                "secrets",
                f"{path} ({setting}) can be used by everybody on this machine: its permissions are {_mode(status)}",
                f"chmod o-rwx {path}",
            )
        else:
            yield ok("secrets", f"{path} ({setting}) is closed to others")


def look_at_state(directory: Path) -> Iterator[Finding]:
    """The state directory with all that lies in it."""
    status = _status(directory)
    if isinstance(status, Finding):
        yield status
        return
    if not stat.S_ISDIR(status.st_mode):
        yield fault("permissions", f"{directory} is no directory", "remove it, or name another one in state_directory")
        return
    if status.st_mode & 0o007:
        yield fault(
            "permissions",
            f"{directory}, which holds what was said in calls, is open to everybody: its permissions are"
            f" {_mode(status)}",
            f"chmod o-rwx {directory}",
        )
    if os.geteuid() not in (0, status.st_uid):
        yield warning(
            "permissions",
            f"{directory} belongs to {_owner(status)}; not everything can be looked at",
            f"run this as root or as {_owner(status)}",
        )
        return
    wrong = list(_wrong(directory, status.st_uid))
    yield from wrong
    if not wrong and not status.st_mode & 0o007:
        yield ok("permissions", f"{directory} and what lies in it belong to {_owner(status)} alone")


def _wrong(directory: Path, owner: int) -> Iterator[Finding]:
    """Files of the daemon that others may use, or that it may not."""
    for path in sorted(directory.rglob("*")):
        if path.relative_to(directory).parts[0] == _INSTANCES:
            continue
        try:
            status = path.lstat()
        except OSError:
            continue  # it went while this was looked at
        if status.st_uid != owner:
            name = _name(owner)
            yield fault(
                "permissions",
                f"{path} belongs to {_owner(status)} instead of {name}: the daemon may not be able to use it",
                f"chown {name}: {path}",
            )
        elif stat.S_ISREG(status.st_mode) and status.st_mode & 0o007:
            yield fault(
                "permissions",
                f"{path} is open to everybody: its permissions are {_mode(status)}",
                f"chmod o-rwx {path}",
            )


def look_at_disk(directory: Path) -> Finding:
    """Room for the database and the journal."""
    place = directory
    while True:
        try:
            disk = os.statvfs(place)
            break
        except FileNotFoundError:
            place = place.parent
        except OSError as error:
            return fault("disk", f"{place} cannot be looked at: {error.strerror}")
    free, total = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
    room = f"{_size(free)} of {_size(total)} are free for {directory}"
    if disk.f_flag & os.ST_RDONLY:
        return fault(
            "disk",
            f"the file system of {directory} is read-only: records wait in memory and go when it is full",
            "see what the kernel says of it (dmesg), then mount it for writing",
        )
    if disk.f_files and disk.f_favail < _FEW_FILES:
        return fault("disk", f"only {disk.f_favail} more files can be made for {directory}", "delete files there")
    advice = "make room, or bound the ledger with [store] retention, texts_retention and max_size"
    if free < _TOO_LITTLE:
        return fault("disk", f"only {room}", advice)
    if free < _LITTLE:
        return warning("disk", f"only {room}", advice)
    return ok("disk", room)


def _status(path: Path) -> os.stat_result | Finding:
    try:
        return path.stat()
    except FileNotFoundError:
        return warning("permissions", f"{path} does not exist yet; the daemon makes it when it starts")
    except OSError as error:
        return fault("permissions", f"{path} cannot be looked at: {error.strerror}", "run this as root")


def _others(bits: int) -> str:
    return "everybody on this machine" if bits & 0o007 else "its group"


def _mode(status: os.stat_result) -> str:
    return f"{stat.S_IMODE(status.st_mode):04o}"


def _owner(status: os.stat_result) -> str:
    return _name(status.st_uid)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _size(number: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.3g} {unit}" if number < 1000 else f"{number:.0f} {unit}"
        number /= 1024
    return f"{number:.3g} TiB" if number < 1000 else f"{number:.0f} TiB"
