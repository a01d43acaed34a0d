"""How the running daemon is, by its own word and by that of the kernel."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from llmqd import __version__
from llmqd.cli.client import DaemonClient
from llmqd.cli.locate import Located
from llmqd.doctor.finding import Finding, fault, ok, warning
from llmqd.errors import DaemonRefused, DaemonUnreachable

_FEW_SOCKETS = 4096
_LIMIT = re.compile(r"^Max (open files|core file size)\s+(\S+)", re.MULTILINE)


def look_at_daemon(located: Located) -> Iterator[Finding]:
    """What `GET /health` says."""
    try:
        health = DaemonClient(located).ask("GET", "/health", accept=(200, 503))
    except DaemonUnreachable as error:
        text, _, advice = str(error).partition("\n")
        yield fault("daemon", text, advice)
        return
    except DaemonRefused as error:
        yield warning("daemon", f"it does not say how it is: {error}", "show the admin token in $LLMQD_ADMIN_TOKEN")
        return
    if health["status"] == "stopping":
        yield fault("daemon", f"the daemon at {located} is stopping", "systemctl start llmqd")
    for text in health["faults"]:
        yield fault("daemon", f"it says itself: {text}")
    if (lost := health["store"]["lost"]) > 0:
        yield fault("daemon", f"{lost} records were lost since its start, as neither journal nor memory had room")
    if health["version"] != __version__:
        yield warning(
            "daemon",
            f"version {health['version']} runs at {located}, {__version__} is installed",
            "systemctl restart llmqd",
        )
    yield ok("daemon", f"{health['version']} answers at {located}: {health['status']}")


def look_at_process(process: int, proc: Path = Path("/proc")) -> Iterator[Finding]:
    """What the kernel allows the daemon, by its process id."""
    try:
        limits = dict(_LIMIT.findall((proc / str(process) / "limits").read_text()))
    except OSError:
        return  # it has gone, or belongs to somebody else
    files = limits.get("open files", "unlimited")
    if files.isdigit() and int(files) < _FEW_SOCKETS:
        yield warning(
            "daemon",
            f"it may open {files} files; every call takes two sockets, so some {int(files) // 2} calls at once fail",
            "raise LimitNOFILE= (systemctl edit llmqd)",
        )
    if limits.get("core file size", "0") != "0":
        yield warning(
            "daemon", "a crash may write its memory, keys included, to disk", "set LimitCORE=0 (systemctl edit llmqd)"
        )
