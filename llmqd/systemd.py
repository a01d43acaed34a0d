"""What the daemon and systemd tell each other: how it is (sd_notify(3)), and which sockets are handed to and fro."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping
from typing import NamedTuple

import sdnotify  # type: ignore[import-untyped]

from llmqd.errors import ListenError

logger = logging.getLogger(__name__)

_FIRST_SOCKET = 3
"""File descriptor of the first socket handed over: SD_LISTEN_FDS_START of sd_listen_fds(3)."""

_PATIENCE = 1.0
"""Seconds that a change of state may wait while systemd's queue is full. What is said again and again does not wait:
the event loop would stand still meanwhile, and every stream with it."""


_LONGEST_NAME = 255
"""Characters of a name that systemd takes for a socket: fdname_is_valid() in its source."""


class PassedSocket(NamedTuple):
    """A listening socket that systemd has handed over, and its name there: `FileDescriptorName=` of a socket unit, or
    what `Notifier.keep` was told."""

    listener: socket.socket
    name: str


class _Channel(sdnotify.SystemdNotifier):  # type: ignore[misc]
    """sdnotify's sender, connected to the address it is given; its own constructor looks into os.environ alone."""

    def __init__(self, address: str) -> None:
        self.debug = True  # raise, so that a failure can be logged
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            self.socket.connect("\0" + address[1:] if address.startswith("@") else address)
        except OSError:
            self.socket.close()
            raise


class Notifier:
    """Sends nothing where `$NOTIFY_SOCKET` is not set. A failure is logged once and never stops the daemon.

    `watchdog_interval`: seconds within which `watchdog()` must be called each time, or systemd kills the daemon
    (`WatchdogSec=`); sd_watchdog_enabled(3) advises to call twice as often. None where no watchdog is wanted.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        self.watchdog_interval = _watchdog_interval(environ)
        self._channel: _Channel | None = None
        self._failing = False
        address = environ.get("NOTIFY_SOCKET", "")
        if not address:
            return
        try:
            self._channel = _Channel(address)
        except OSError as error:
            logger.warning("cannot reach systemd at NOTIFY_SOCKET=%s: %s", address, error)

    def ready(self) -> None:
        """Start-up or a reload is finished: the listeners are open."""
        self._send("READY=1")

    def reloading(self) -> None:
        """A reload begins; `ready` ends it. systemd orders the two by the monotonic time that is sent along."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Shutdown begins."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """The line that `systemctl status` shows. Line breaks become spaces: each line is a message of its own."""
        self._send(f"STATUS={' '.join(text.split())}", patience=0)

    def watchdog(self) -> None:
        """The daemon is alive."""
        self._send("WATCHDOG=1", patience=0)

    def keep(self, listener: socket.socket, name: str) -> None:
        """Leaves a socket with systemd, which hands it to the next process if this one is restarted (FDSTORE=1 of
        sd_notify(3), `FileDescriptorStoreMax=`). `name` is ASCII without colons. Where systemd keeps none, it is closed
        with this process, as ever."""
        if self._channel is None or len(name) > _LONGEST_NAME:
            return
        try:
            self._channel.socket.settimeout(_PATIENCE)
            socket.send_fds(self._channel.socket, [f"FDSTORE=1\nFDNAME={name}".encode("ascii")], [listener.fileno()])
        except OSError as error:
            logger.warning("cannot leave a listener with systemd: %s", error)

    def forget(self, name: str) -> None:
        """Has systemd close the sockets that it keeps by this name."""
        self._send(f"FDSTOREREMOVE=1\nFDNAME={name}")

    def close(self) -> None:
        """Closes the socket; nothing is sent from then on."""
        if self._channel is not None:
            self._channel.socket.close()
            self._channel = None

    def _send(self, state: str, patience: float = _PATIENCE) -> None:
        if self._channel is None:
            return
        try:
            self._channel.socket.settimeout(patience)
            # sdnotify encodes Latin-1, systemd reads UTF-8: this makes the one carry the other.
            self._channel.notify(state.encode("utf-8", "replace").decode("latin-1"))
            self._failing = False
        except OSError as error:
            if not self._failing:
                logger.warning("cannot notify systemd of %s: %s", state.partition("=")[0], error)
            self._failing = True


def _watchdog_interval(environ: Mapping[str, str]) -> float | None:
    """`$WATCHDOG_USEC` in seconds, unless `$WATCHDOG_PID` means another process (sd_watchdog_enabled(3))."""
    text, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if pid and pid != str(os.getpid()):
        return None
    if not text:
        return None
    if not text.isdecimal() or int(text) == 0:
        logger.warning("WATCHDOG_USEC=%s is not a number of microseconds; no watchdog", text)
        return None
    return int(text) / 1_000_000


def passed_sockets(environ: Mapping[str, str]) -> tuple[PassedSocket, ...]:
    """The listening sockets that systemd holds for this process (sd_listen_fds(3)): those of a socket unit, and those
    that a process before this one has left there; none without either.

    They stay open with systemd while the daemon is away, so that nobody is refused meanwhile. Raises ListenError for
    what is no listening stream socket.
    """
    count = environ.get("LISTEN_FDS", "")
    if environ.get("LISTEN_PID") != str(os.getpid()) or not count.isdecimal():
        return ()
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    names += [""] * (int(count) - len(names))
    return tuple(PassedSocket(_listening(_FIRST_SOCKET + place), names[place]) for place in range(int(count)))


def _listening(number: int) -> socket.socket:
    try:
        passed = socket.socket(fileno=number)
        listens = passed.type == socket.SOCK_STREAM and passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise ListenError(f"systemd has handed over file {number}, which is no socket: {error.strerror}") from error
    if not listens:
        raise ListenError(f"the socket {number} that systemd has handed over does not listen; use ListenStream=")
    os.set_inheritable(number, False)
    passed.setblocking(False)
    return passed
