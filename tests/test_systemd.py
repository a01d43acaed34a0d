"""What systemd is told, received on a socket of the test's own."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmqd.systemd import Notifier, passed_sockets


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A socket in systemd's place and the value of NOTIFY_SOCKET for it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        abstract = request.param == "abstract"
        name = f"@llmqd-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
        sock.bind("\0" + name[1:] if abstract else name)
        sock.settimeout(5)
        yield sock, name


Said = list[tuple[Callable[[Notifier], None], bytes]]

SAID: Said = [
    (Notifier.ready, b"READY=1"),
    (Notifier.stopping, b"STOPPING=1"),
    (Notifier.watchdog, b"WATCHDOG=1"),
    (lambda notifier: notifier.status("3 waiting · 1 läuft"), "STATUS=3 waiting · 1 läuft".encode()),
    (lambda notifier: notifier.status("a\nREADY=1"), b"STATUS=a READY=1"),
]


def test_each_state_is_one_datagram(manager: tuple[socket.socket, str]) -> None:
    sock, name = manager
    notifier = Notifier({"NOTIFY_SOCKET": name})
    for call, expected in SAID:
        call(notifier)
        assert sock.recv(4096) == expected
    notifier.close()


def test_reloading_carries_the_monotonic_time_in_microseconds(manager: tuple[socket.socket, str]) -> None:
    sock, name = manager
    notifier = Notifier({"NOTIFY_SOCKET": name})
    before = time.monotonic_ns() // 1000
    notifier.reloading()
    state, _, stamp = sock.recv(4096).decode().partition("\n")
    assert state == "RELOADING=1"
    assert before <= int(stamp.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
    notifier.close()


def test_without_the_socket_nothing_is_sent_and_nothing_fails() -> None:
    notifier = Notifier({})
    for call, _ in SAID:
        call(notifier)
    notifier.reloading()
    notifier.close()
    assert notifier.watchdog_interval is None


def test_an_unreachable_socket_is_said_once_and_does_not_stop_the_daemon(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).ready()
    assert "cannot reach systemd" in caplog.text


def test_a_manager_that_goes_away_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        notifier = Notifier({"NOTIFY_SOCKET": path})
    with caplog.at_level(logging.WARNING):
        notifier.watchdog()
        notifier.watchdog()
    notifier.close()
    assert caplog.text.count("cannot notify systemd of WATCHDOG") == 1


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "60000000"}, 60.0),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getpid())}, 0.5),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
    ],
)
def test_watchdog_interval_is_for_this_process_only(environ: dict[str, str], expected: float | None) -> None:
    assert Notifier(environ).watchdog_interval == expected


def test_a_full_queue_never_holds_the_daemon_up(manager: tuple[socket.socket, str]) -> None:
    """A manager that does not read: what is said again and again is dropped instead of waited for."""
    _, name = manager
    notifier = Notifier({"NOTIFY_SOCKET": name})
    began = time.monotonic()
    for number in range(100):
        notifier.status(f"{number} waiting")
        notifier.watchdog()
    assert time.monotonic() - began < 50  # waiting a second for each would take minutes
    notifier.close()


@pytest.mark.parametrize(
    "environ",
    [{}, {"LISTEN_FDS": "1"}, {"LISTEN_FDS": "1", "LISTEN_PID": "1"}, {"LISTEN_FDS": "x", "LISTEN_PID": "{pid}"}],
    ids=["none", "no process", "another process", "no number"],
)
def test_sockets_that_are_not_for_this_process_are_left_alone(environ: dict[str, str]) -> None:
    assert passed_sockets({name: value.format(pid=os.getpid()) for name, value in environ.items()}) == ()


HAND_OVER = """
import os, socket, sys
from llmqd.systemd import passed_sockets

given = {given}
os.dup2(given.fileno(), 3)
try:
    [(taken, name)] = passed_sockets(
        {{"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": "llmqd.socket"}}
    )
except ListenError as error:
    sys.exit(str(error))
print(name, taken.getsockname() == given.getsockname(), taken.get_inheritable(), taken.getblocking())
"""


def handed_over(given: str) -> subprocess.CompletedProcess[str]:
    """What a process says that is handed this as its file 3."""
    command = [sys.executable, "-c", HAND_OVER.format(given=given)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_a_listening_socket_is_taken_over() -> None:
    assert handed_over("socket.create_server(('127.0.0.1', 0))").stdout == "llmqd.socket True False False\n"


@pytest.mark.parametrize("given", ["open('/dev/null')", "socket.socket()", "socket.socket(type=socket.SOCK_DGRAM)"])
def test_what_does_not_listen_is_refused_with_the_reason(given: str) -> None:
    done = handed_over(given)
    assert done.returncode == 1
    assert "no socket" in done.stderr or "use ListenStream=" in done.stderr


def test_a_listener_is_left_with_systemd_under_its_name(manager: tuple[socket.socket, str]) -> None:
    receiver, name = manager
    notifier = Notifier({"NOTIFY_SOCKET": name})
    with socket.create_server(("127.0.0.1", 0)) as listener:
        notifier.keep(listener, "listen=a")
        said, files, _, _ = socket.recv_fds(receiver, 4096, 4)
        with socket.socket(fileno=files[0]) as kept:
            assert (said, kept.getsockname()) == (b"FDSTORE=1\nFDNAME=listen=a", listener.getsockname())
    notifier.forget("listen=a")
    assert receiver.recv(4096) == b"FDSTOREREMOVE=1\nFDNAME=listen=a"
    notifier.close()


def test_without_systemd_no_listener_is_left_anywhere() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        Notifier({}).keep(listener, "listen=a")
