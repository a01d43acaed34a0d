"""A real PostgreSQL server for tests: started once, on a socket in a directory of its own, gone with its data.

As root it runs as the user `postgres`, as PostgreSQL refuses to run as root; otherwise as whoever runs the tests.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_PATIENCE = 60.0


class NoPostgres(Exception):
    """There is none on this machine; the text says what to install."""


class Postgres:
    """A running server. Each `database` is new and empty."""

    def __init__(self, binaries: Path, directory: Path, user: str) -> None:
        self._binaries = binaries
        self._directory = directory
        self._user = user
        self._databases = 0

    def dsn(self, database: str) -> str:
        """The address of one of its databases."""
        return f"postgresql://{self._user}@/{database}?host={self._directory}"

    def database(self) -> str:
        """The address of a new database."""
        self._databases += 1
        name = f"test_{self._databases}"
        self._run("createdb", "-h", str(self._directory), "-U", self._user, name)
        return self.dsn(name)

    def start(self) -> None:
        """Makes the data directory, unless it is there, and starts the server."""
        data = self._directory / "data"
        if not data.exists():
            self._run("initdb", "-D", str(data), "-U", self._user, "-A", "trust", "--no-sync", "-E", "UTF8")
        options = f"-c listen_addresses= -c unix_socket_directories={self._directory} -c fsync=off -c jit=off"
        self._run(
            "pg_ctl", "-D", str(data), "-w", "-t", "60", "-l", str(self._directory / "log"), "-o", options, "start"
        )

    def stop(self) -> None:
        """Stops it at once; what was written stays."""
        self._run("pg_ctl", "-D", str(self._directory / "data"), "-m", "fast", "-w", "-t", "60", "stop")

    def kill(self) -> None:
        """Ends it as a crash does: nobody is told, nothing is put in order."""
        self._run("pg_ctl", "-D", str(self._directory / "data"), "-m", "immediate", "-w", "-t", "60", "stop")

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._binaries / program), *arguments]
        done = subprocess.run(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=2 * _PATIENCE, check=False,
            cwd="/", **as_user(self._user),
        )  # fmt: skip
        if done.returncode:
            raise AssertionError(f"{' '.join(command)}: {done.stderr.decode()}")


def as_user(user: str) -> dict[str, Any]:
    """What subprocess needs to run something as that user, where it is another one."""
    if os.geteuid() != 0:
        return {}
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def binaries() -> Path:
    """Where initdb and pg_ctl are: Debian keeps those of each version in a directory of its own. Raises NoPostgres."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    if not found and not on_path:
        raise NoPostgres("there is no PostgreSQL server here: apt-get install postgresql")
    return (found[-1] if found else Path(str(on_path)).resolve()).parent


@contextmanager
def server() -> Iterator[Postgres]:
    """A running server. Raises NoPostgres."""
    path = binaries()
    if os.geteuid() == 0:
        user = "postgres"
        if not any(entry.pw_name == user for entry in pwd.getpwall()):
            raise NoPostgres(
                "PostgreSQL does not run as root and there is no user postgres: apt-get install postgresql"
            )
    else:
        user = pwd.getpwuid(os.geteuid()).pw_name
    directory = Path(tempfile.mkdtemp(prefix="llmqd-pg-", dir="/tmp"))  # a socket's path must be short
    if os.geteuid() == 0:
        shutil.chown(directory, user, user)
    try:
        running = Postgres(path, directory, user)
        running.start()
        try:
            yield running
        finally:
            running.stop()
    finally:
        _remove(directory)


def _remove(directory: Path) -> None:
    for _ in range(20):
        shutil.rmtree(directory, ignore_errors=True)
        if not directory.exists():
            return
        time.sleep(0.1)
