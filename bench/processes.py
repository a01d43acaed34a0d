"""Processes that are measured: started on a CPU of their own, with what they and their children have used so far."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_PAGE = os.sysconf("SC_PAGE_SIZE")


def pinned(cpu: int) -> list[str]:
    """What to put in front of a command so that it runs there; nothing on a machine with one CPU."""
    return ["taskset", "-c", str(cpu)] if (os.cpu_count() or 1) > 1 else []


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            found += [int(child) for child in task.read_text().split()]
    return found


def cpu_seconds(pid: int) -> float:
    """Time on a CPU that a process and its children have used so far, user and system, to the nanosecond."""
    total = 0
    for each in family(pid):
        for task in Path(f"/proc/{each}/task").glob("*/schedstat"):
            try:
                total += int(task.read_text().split()[0])
            except (FileNotFoundError, ProcessLookupError):
                continue  # a thread that has just ended
    return total / 1e9


def resident(pid: int) -> int:
    """Bytes of memory that a process and its children hold now."""
    return sum(int(Path(f"/proc/{each}/statm").read_text().split()[1]) for each in family(pid)) * _PAGE


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(slots=True)
class Running:
    """A process that listens on a port of the loopback."""

    process: subprocess.Popen[bytes]
    port: int
    seconds: float = 0.0
    """From its start until it accepted a connection, or said READY."""

    @property
    def pid(self) -> int:
        """Of the process itself; its children count with it."""
        return self.process.pid

    def stop(self) -> None:
        """Ends it, by force where asking does not help."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start(
    command: Sequence[str], port: int, log: IO[bytes], environ: Mapping[str, str] | None = None, within: float = 120.0
) -> Running:
    """Starts a program and waits until its port accepts. Raises RuntimeError when it ends or does not come up."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **(environ or {})})
    running = Running(process, port)
    while time.perf_counter() - began < within:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                running.seconds = time.perf_counter() - began
                return running
        if process.poll() is not None:
            raise RuntimeError(f"{command[0]} ended with {process.returncode}; see {log.name}")
        time.sleep(0.005)
    running.stop()
    raise RuntimeError(f"{command[0]} does not listen after {within:.0f} s; see {log.name}")
