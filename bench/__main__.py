"""`make bench`: what a call and a chunk cost in llmqd and in what it is compared with, all in one interleaved run."""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from bench import load, report
from bench.peers import PEERS, SERVED_ON
from bench.processes import Running, cpu_seconds, free_port, pinned, resident

BUILD = Path("build/bench")
CHUNKS, INTERVAL = 200, 20
"""Events of a stream, and milliseconds between two of them where it is paced: 50 a second."""
PLAIN_CONNECTIONS, STREAM_CONNECTIONS, PACED_STREAMS = 32, 50, 1000
RATE = 100.0
_SLOW = 5
"""A peer that takes so many times the bare forwarder's CPU gets a tenth of the calls."""


@dataclass(slots=True)
class Side:
    """One program in the comparison, and every figure that was taken of it. `streams`: whether it answers any."""

    name: str
    running: Running
    headers: Mapping[str, str] = field(default_factory=dict)
    figures: dict[str, list[float]] = field(default_factory=dict)
    share: float = 1.0
    streams: bool = True

    def note(self, name: str, value: float) -> None:
        """Adds a figure."""
        self.figures.setdefault(name, []).append(value)


def started(*args: str) -> tuple[subprocess.Popen[str], int]:
    """A Python process that says its port on its first line."""
    process = subprocess.Popen([sys.executable, *args], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def llmqd(upstream: str, directory: str, source: Path | None = None) -> tuple[subprocess.Popen[bytes], int, float]:
    """llmqd with its ledger on disk and no rate limit; its port, and seconds from start to READY.

    Ledger, detection, texts and metrics are on, as they are by default. `source` is another version's tree.
    """
    config, port = Path(directory, "llmqd.toml"), free_port()
    config.write_text(
        f'[server]\nlisten = ["127.0.0.1:{port}"]\nstate_directory = "{directory}"\n'
        f'[[upstream]]\nname = "openai"\nbase_url = "{upstream}"\napi_key = "x"\nrequests_per_minute = 0\n'
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(f"{directory}/notify")
        environ = os.environ | {"NOTIFY_SOCKET": f"{directory}/notify", "PYTHONPATH": str(source or Path.cwd())}
        began = time.perf_counter()
        process = subprocess.Popen(
            [*pinned(SERVED_ON), sys.executable, "-m", "llmqd", "serve", "--config", str(config)],
            env=environ,
            cwd=source,
            stderr=subprocess.DEVNULL,
        )
        while b"READY=1" not in notify.recv(4096):
            pass
        return process, port, time.perf_counter() - began


@contextlib.contextmanager
def mock_upstream() -> Iterator[int]:
    """The mock in C, compiled where that has not been done; gives its port."""
    program, source = BUILD / "mock", Path(__file__).with_name("native") / "mock.c"
    BUILD.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cc", "-O2", "-o", str(program), str(source)], check=True)
    process = subprocess.Popen(
        [*pinned(1 - SERVED_ON), str(program), str(CHUNKS), str(INTERVAL)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def all_sides(upstream: int, names: list[str], base: str | None) -> Iterator[list[Side]]:
    """llmqd, and of the peers those whose name begins with one of `names`."""
    url = f"http://127.0.0.1:{upstream}"
    with contextlib.ExitStack() as stack:
        sides: list[Side] = []
        for name, source in (("llmqd", None), *(() if base is None else ((f"llmqd {base}", worktree(base)),))):
            directory = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
            process, port, ready = llmqd(url, directory, source)
            running = Running(process, port, ready)
            stack.callback(running.stop)
            sides.append(Side(name, running))
        log = stack.enter_context((BUILD / "peers.log").open("wb"))
        for peer in PEERS:
            if not any(peer.name.lower().startswith(name.lower()) for name in names):
                continue
            try:
                running = peer.run(BUILD.absolute(), upstream, log)
            except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
                print(f"{peer.name} is not measured: {error}", flush=True)
                continue
            stack.callback(running.stop)
            sides.append(Side(peer.name, running, peer.headers(upstream)))
        for side in sides:
            side.note("start s", side.running.seconds)
        yield sides


def worktree(rev: str) -> Path:
    """The tree of another version of llmqd."""
    name = subprocess.run(["git", "rev-parse", "--short", rev], check=True, capture_output=True, text=True).stdout
    path = (BUILD / f"base-{name.strip()}").absolute()
    if not path.exists():
        subprocess.run(["git", "worktree", "add", "--detach", str(path), rev], check=True, stdout=subprocess.DEVNULL)
    return path


def cost(side: Side, body: bytes, connections: int, total: int) -> tuple[float, float]:
    """Calls a second, and CPU microseconds a call."""
    before = cpu_seconds(side.running.pid)
    took = uvloop.run(load.calls(side.running.port, body, connections, total, side.headers))
    return total / took, (cpu_seconds(side.running.pid) - before) / total * 1e6


def plain(side: Side) -> None:
    """Plain calls, each connection with the next as soon as the last is answered."""
    rate, cpu = cost(side, load.PLAIN, PLAIN_CONNECTIONS, max(64, int(1500 * side.share)))
    side.note("calls/s", rate)
    side.note("µs/call", cpu)


def undelayed(side: Side) -> None:
    """Streams whose chunks come as fast as they are read."""
    rate, cpu = cost(side, load.STREAM, STREAM_CONNECTIONS, max(10, int(50 * side.share)))
    side.note("chunks/s", rate * CHUNKS)
    side.note("µs/chunk", cpu / CHUNKS)


def latency(side: Side, direct: int) -> None:
    """What a plain call takes longer than without the program in between, at a rate that leaves it idle mostly."""
    added = []
    for port, headers in ((direct, None), (side.running.port, side.headers)):
        taken = sorted(uvloop.run(load.latencies(port, RATE, 3.0, headers)))
        added.append((statistics.median(taken), taken[int(len(taken) * 0.99)]))
    (direct50, direct99), (through50, through99) = added
    side.note("added p50 ms", (through50 - direct50) * 1000)
    side.note("added p99 ms", (through99 - direct99) * 1000)


def paced(side: Side, direct: int, streams: int) -> None:
    """Many streams at once, each at the pace of a model."""
    alone = sorted(uvloop.run(load.paced(direct, streams, CHUNKS)).first)
    held, before = resident(side.running.pid), cpu_seconds(side.running.pid)
    seen = uvloop.run(load.paced(side.running.port, streams, CHUNKS, headers=side.headers))
    side.note("paced µs/chunk", (cpu_seconds(side.running.pid) - before) / streams / CHUNKS * 1e6)
    side.note("KB/stream", (resident(side.running.pid) - held) / streams / 1000)
    first = sorted(seen.first)
    if first:
        side.note("TTFT p50 ms", (statistics.median(first) - statistics.median(alone)) * 1000)
        side.note("TTFT p99 ms", (first[int(len(first) * 0.99)] - alone[int(len(alone) * 0.99)]) * 1000)
    side.note("stalls", seen.stalls)
    side.note("intact %", 100 * seen.intact / streams)


def endurance(side: Side, total: int) -> None:
    """Memory after a tenth of `total` plain calls, and after all of them; no two of them say the same."""
    for name, more in (("MB after 1/10", total // 10), ("MB after all", total - total // 10)):
        cost(side, load.PLAIN, PLAIN_CONNECTIONS, more)
        side.note(name, resident(side.running.pid) / 1e6)


def measure(sides: list[Side], rounds: int, upstream: int, streams: int) -> None:
    """All figures, the sides in turn within each round."""
    for side in list(sides):
        side.note("idle MB", resident(side.running.pid) / 1e6)
        try:
            _, side_cpu = cost(side, load.PLAIN, PLAIN_CONNECTIONS, 64)  # to warm it
        except (AssertionError, OSError, EOFError) as error:
            print(f"{side.name} is not measured: it does not answer the calls: {error}", flush=True)
            sides.remove(side)
            continue
        try:
            cost(side, load.STREAM, STREAM_CONNECTIONS, STREAM_CONNECTIONS)
        except (AssertionError, OSError, EOFError) as error:
            print(f"{side.name} is measured without streams: it does not answer them: {error}", flush=True)
            side.streams = False
        side.share = 0.1 if side_cpu > _SLOW * 1000 else 1.0
    steps: list[Callable[[Side], None]] = [plain, undelayed, lambda side: latency(side, upstream)]
    for step in steps:
        for number in range(rounds):
            print(f"\r{number + 1}/{rounds} of step {steps.index(step) + 1}/4 ", end="", file=sys.stderr, flush=True)
            for side in sides:
                if side.streams or step is not undelayed:
                    step(side)
    for side in sides:
        if streams and side.streams and side.share == 1.0:
            paced(side, upstream, streams)
    for side in sides:
        side.note("after MB", resident(side.running.pid) / 1e6)


def main() -> None:
    """Measures, prints the table, and leaves it in build/bench."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--base", help="another version of llmqd to compare with, as a git revision")
    parser.add_argument("--peers", default=",".join(peer.name for peer in PEERS), help="names, or how they begin")
    parser.add_argument("--calls", type=int, default=100_000, help="after which memory is looked at, 0 for none")
    parser.add_argument("--streams", type=int, default=PACED_STREAMS, help="paced streams at once, 0 for none")
    options = parser.parse_args()
    os.sched_setaffinity(0, {1 - SERVED_ON} if (os.cpu_count() or 1) > 1 else {0})
    names = [name for name in options.peers.split(",") if name]
    with mock_upstream() as upstream, all_sides(upstream, names, options.base) as sides:
        measure(sides, options.rounds, upstream, options.streams)
        if options.calls:
            endurance(sides[0], options.calls)
        report.write(BUILD, {side.name: side.figures for side in sides})


if __name__ == "__main__":
    main()
