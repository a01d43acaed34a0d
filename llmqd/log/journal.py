"""Sends records to journald by its native protocol, so that fields can be searched: `journalctl LLMQD_SESSION=...`.

The protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL) is a datagram of `NAME=value` lines; a value that holds a newline is
written as the name, a newline, its length as 64-bit little-endian, the value, a newline.
"""

from __future__ import annotations

import logging
import re
import socket
import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TextIO

from llmqd.log.formats import TextFormatter, fields_of, is_plain, one_line, traceback_of

if TYPE_CHECKING:
    from llmqd.log.plain import Plain
    from llmqd.log.redact import RedactSecrets

SOCKET = "/run/systemd/journal/socket"

VALUE_LIMIT = 16 * 1024
"""Bytes of one value. Longer ones are cut, as a datagram that is too large would be lost as a whole."""

PRIORITY = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}
"""Syslog levels (syslog(3)) of Python's."""

_NOT_IN_NAMES = re.compile("[^A-Z0-9_]")


class JournalHandler(logging.Handler):
    """Writes to the journal without ever waiting for it.

    While the socket is missing or refuses, records go to `fallback` as text with the `<N>` level prefix that systemd
    reads (sd-daemon(3)). While journald is merely slow they are counted, and the next entry says how many were lost.
    `redact` is to be its filter.
    """

    def __init__(self, fallback: TextIO, redact: RedactSecrets, path: str = SOCKET) -> None:
        super().__init__()
        self._redact = redact
        self._path = path
        self._fallback = fallback
        self._text = TextFormatter()
        self._dropped = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def emit(self, record: logging.LogRecord) -> None:
        """Sends one record."""
        try:
            self._send(_encoded(self._entry(record)))
        except BlockingIOError:
            self._dropped += 1
        except OSError:
            self._fall_back(record)
        except Exception:  # as every handler of the standard library: logging must not end the program
            self.handleError(record)

    def write_plain(self, plain: Plain) -> int:
        """As TextHandler does it, but that each is an entry of its own."""
        texts = plain.texts()
        whole = "\0".join([*(message for message, _ in plain.said), *texts])
        if not (is_plain(texts) and self._redact.passes(whole, "".join(texts))):
            return 0
        about = _encoded(_about(plain.level, plain.name, plain.file, plain.line, plain.function))
        self.acquire()
        try:
            for sent, (message, fields) in enumerate(plain.said):
                pairs = [encode(field_name(name), value) for name, value in fields.items() if value is not None]
                try:
                    self._send(b"".join((encode("MESSAGE", message), about, *pairs)))
                except BlockingIOError:
                    self._dropped += 1
                except OSError:
                    return sent
        finally:
            self.release()
        return len(plain.said)

    def close(self) -> None:
        """Closes the socket."""
        self._socket.close()
        super().close()

    def _send(self, entry: bytes) -> None:
        if self._dropped:
            entry += encode("LLMQD_LOG_DROPPED", self._dropped)
        self._socket.sendto(entry, self._path)
        self._dropped = 0

    def _entry(self, record: logging.LogRecord) -> dict[str, Any]:
        trace = traceback_of(self._text, record)
        message = {"MESSAGE": one_line(record.getMessage()) + (f"\n{trace}" if trace else "")}
        about = _about(record.levelno, record.name, record.pathname, record.lineno, record.funcName)
        return message | about | {field_name(name): value for name, value in fields_of(record).items()}

    def _fall_back(self, record: logging.LogRecord) -> None:
        try:
            prefix = f"<{priority(record.levelno)}>"
            lines = self._text.format(record).splitlines()
            self._fallback.write("".join(f"{prefix}{line}\n" for line in lines))
            self._fallback.flush()
        except (OSError, ValueError):
            self.handleError(record)


def _about(level: int, name: str, file: str, line: int, function: str | None) -> dict[str, Any]:
    """What is said of a record beside its message and its fields."""
    return {
        "PRIORITY": priority(level),
        "SYSLOG_IDENTIFIER": "llmqd",
        "LOGGER": name,
        "CODE_FILE": file,
        "CODE_LINE": line,
        "CODE_FUNC": function,
    }


def _encoded(entry: Mapping[str, Any]) -> bytes:
    return b"".join([encode(name, value) for name, value in entry.items()])


def priority(level: int) -> int:
    """The syslog level of a Python level, also of one between the named ones."""
    return next((PRIORITY[known] for known in PRIORITY if level >= known), 7)


@lru_cache(maxsize=256)
def field_name(name: str) -> str:
    """`request_id` as `LLMQD_REQUEST_ID`: journald takes capitals, digits and underscores, at most 64 of them."""
    return ("LLMQD_" + _NOT_IN_NAMES.sub("_", name.upper()))[:64]


def encode(name: str, value: Any) -> bytes:
    """One field of the datagram."""
    data = str(value).encode("utf-8", "backslashreplace")
    if len(data) > VALUE_LIMIT:
        data = data[:VALUE_LIMIT].decode("utf-8", "ignore").encode() + "…".encode()
    if b"\n" in data:
        return name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"
    return name.encode() + b"=" + data + b"\n"
