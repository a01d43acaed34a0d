"""`make bench`: start, memory, and the cost of a call and a chunk beside a bare forwarder, in one run."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import uvloop

from bench import load, mock

ROUNDS = 5
PLAIN_CALLS, STREAMS = 3000, 50
_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident_megabytes(pid: int) -> float:
    """Memory that a process holds now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def started(*args: str) -> tuple[subprocess.Popen[str], int]:
    """A process that says its port on its first line."""
    process = subprocess.Popen([sys.executable, *args], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def llmqd(upstream: str, directory: str) -> tuple[subprocess.Popen[str], int, float]:
    """llmqd with its ledger on disk and no rate limit; its port, and seconds from start to READY."""
    config = Path(directory, "llmqd.toml")
    port = 20000 + os.getpid() % 20000
    config.write_text(
        f'[server]\nlisten = ["127.0.0.1:{port}"]\nstate_directory = "{directory}"\n[log]\nlevel = "warning"\n'
        f'[[upstream]]\nname = "openai"\nbase_url = "{upstream}"\napi_key = "x"\nrequests_per_minute = 0\n'
    )
    import socket

    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(f"{directory}/notify")
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "llmqd", "serve", "--config", str(config)],
        env=os.environ | {"NOTIFY_SOCKET": f"{directory}/notify"},
        text=True,
    )
    while b"READY=1" not in notify.recv(4096):
        pass
    took = time.perf_counter() - began
    notify.close()
    return process, port, took


def cost(port: int, pid: int, body: bytes, connections: int, total: int) -> tuple[float, float]:
    """(calls a second, CPU microseconds a call) of the process that listens there."""
    before = cpu_seconds(pid)
    took = uvloop.run(load.calls(port, body, connections, total))
    return total / took, (cpu_seconds(pid) - before) / total * 1e6


def import_seconds(module: str) -> float:
    """Median time of a fresh interpreter that imports this, less that of one that imports nothing."""

    def once(code: str) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - began

    return statistics.median(once(f"import {module}") - once("pass") for _ in range(ROUNDS))


def row(name: str, *figures: str) -> None:
    """One line of the table."""
    print(f"{name:<42}" + "".join(f"{figure:>16}" for figure in figures))


def compared(
    name: str, measure: Callable[[int, int], tuple[float, float]], sides: dict[str, tuple[int, int]], per: int = 1
) -> None:
    """Measures both sides in turn and prints medians and the ratio of the CPU times."""
    results: dict[str, list[tuple[float, float]]] = {side: [] for side in sides}
    for _ in range(ROUNDS):
        for side, (port, pid) in sides.items():
            results[side].append(measure(port, pid))
    medians = {side: [statistics.median(each) for each in zip(*rows, strict=True)] for side, rows in results.items()}
    for side, (rate, cpu) in medians.items():
        row(f"{name}, {side}", f"{rate * per:,.0f}/s", f"{cpu / per:.1f} µs CPU")
    row(f"{name}, ratio of CPU", "", f"{medians['llmqd'][1] / medians['bare aiohttp'][1]:.2f} ×")


def main() -> None:
    """Runs everything and prints one table."""
    row("import llmqd", f"{import_seconds('llmqd'):.3f} s")
    row("import llmqd.daemon", f"{import_seconds('llmqd.daemon'):.3f} s")
    upstream, upstream_port = started("-m", "bench.mock")
    url = f"http://127.0.0.1:{upstream_port}"
    forwarder, forwarder_port = started("-m", "bench.forwarder", url)
    with tempfile.TemporaryDirectory() as directory:
        daemon, port, ready = llmqd(url, directory)
        try:
            row("start to READY", f"{ready:.3f} s")
            time.sleep(2)
            row("memory when idle", f"{resident_megabytes(daemon.pid):.0f} MB")
            sides = {"bare aiohttp": (forwarder_port, forwarder.pid), "llmqd": (port, daemon.pid)}
            for listener, pid in sides.values():
                cost(listener, pid, load.PLAIN, 32, 500)  # warm
            compared("plain call", lambda at, pid: cost(at, pid, load.PLAIN, 32, PLAIN_CALLS), sides)
            compared("streamed chunk", lambda at, pid: cost(at, pid, load.STREAM, 50, STREAMS), sides, mock.CHUNKS)
            row("memory after the load", f"{resident_megabytes(daemon.pid):.0f} MB")
        finally:
            for process in (daemon, forwarder, upstream):
                process.terminate()
                process.wait()


if __name__ == "__main__":
    main()
