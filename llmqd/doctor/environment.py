"""The environment that the unit gives the daemon, for commands that are typed at a shell."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

_DEFAULTS, _CREDENTIALS = Path("/etc/default/llmqd"), Path("/etc/llmqd/credentials")


def unit_environment(
    environ: Mapping[str, str], *, defaults: Path = _DEFAULTS, credentials: Path = _CREDENTIALS
) -> dict[str, str]:
    """`environ` with what `EnvironmentFile=` and `LoadCredential=` would add, as far as it may be read.

    What stands in `environ` already stays.
    """
    found = dict(_assignments(defaults))
    if _is_directory(credentials):
        found["CREDENTIALS_DIRECTORY"] = str(credentials)
    return found | dict(environ)


def _assignments(path: Path) -> list[tuple[str, str]]:
    """The lines NAME=VALUE of a file as systemd reads them (systemd.exec(5)); what is none is passed over."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        name, equals, value = line.strip().partition("=")
        if not equals or name.startswith(("#", ";")):
            continue
        try:
            found.append((name.strip(), "".join(shlex.split(value)) if value[:1] in "\"'" else value.strip()))
        except ValueError:
            continue
    return found


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir() and any(path.iterdir())
    except OSError:
        return False
