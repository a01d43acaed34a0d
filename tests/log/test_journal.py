"""Records as journal entries, received on a socket of the test's own."""

from __future__ import annotations

import contextlib
import io
import logging
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmqd.log.journal import VALUE_LIMIT, JournalHandler, encode, field_name, priority
from llmqd.log.plain import Plain
from llmqd.log.redact import RedactSecrets


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[socket.socket]:
    """A socket in journald's place."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "socket"))
        sock.settimeout(5)
        yield sock


def parse(datagram: bytes) -> dict[str, str]:
    """The datagram read as journald reads it."""
    found = {}
    while datagram:
        line, _, rest = datagram.partition(b"\n")
        if b"=" in line:
            name, _, value = line.partition(b"=")
        else:
            name, size = line, struct.unpack("<Q", rest[:8])[0]
            value, rest = rest[8 : 8 + size], rest[8 + size + 1 :]
        found[name.decode()] = value.decode()
        datagram = rest
    return found


def record(message: str = "hello", level: int = logging.INFO, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("llmqd.web", level, "/x/web.py", 7, message, None, None, "answer")
    made.__dict__["fields"] = fields
    return made


def test_entry_has_message_priority_place_and_our_fields(journald: socket.socket) -> None:
    handler = JournalHandler(io.StringIO(), RedactSecrets(), journald.getsockname())
    handler.handle(record(request_id="01k2", session=None, total_ms=1.5))
    handler.close()
    assert parse(journald.recv(65536)) == {
        "MESSAGE": "hello",
        "PRIORITY": "6",
        "SYSLOG_IDENTIFIER": "llmqd",
        "LOGGER": "llmqd.web",
        "CODE_FILE": "/x/web.py",
        "CODE_LINE": "7",
        "CODE_FUNC": "answer",
        "LLMQD_REQUEST_ID": "01k2",
        "LLMQD_TOTAL_MS": "1.5",
    }


def test_newlines_in_a_field_keep_to_that_field(journald: socket.socket) -> None:
    handler = JournalHandler(io.StringIO(), RedactSecrets(), journald.getsockname())
    handler.handle(record("a\nPRIORITY=0", session="x\nPRIORITY=0\n"))
    handler.close()
    entry = parse(journald.recv(65536))
    assert (entry["PRIORITY"], entry["LLMQD_SESSION"], entry["MESSAGE"]) == ("6", "x\nPRIORITY=0\n", "a\\nPRIORITY=0")


def test_traceback_is_part_of_the_message(journald: socket.socket) -> None:
    handler = JournalHandler(io.StringIO(), RedactSecrets(), journald.getsockname())
    made = record("failed", logging.ERROR)
    try:
        raise KeyError("x")
    except KeyError as error:
        made.exc_info = (KeyError, error, error.__traceback__)
    handler.handle(made)
    handler.close()
    entry = parse(journald.recv(65536))
    assert entry["MESSAGE"].startswith("failed\nTraceback (most recent call last):")
    assert entry["PRIORITY"] == "3"


def test_long_values_are_cut_between_characters(journald: socket.socket) -> None:
    handler = JournalHandler(io.StringIO(), RedactSecrets(), journald.getsockname())
    handler.handle(record(body="ü" * VALUE_LIMIT))
    handler.close()
    value = parse(journald.recv(1 << 20))["LLMQD_BODY"]
    assert value == "ü" * (VALUE_LIMIT // 2) + "…"


def test_without_journald_records_go_to_stderr_with_their_level(tmp_path: Path) -> None:
    out = io.StringIO()
    handler = JournalHandler(out, RedactSecrets(), str(tmp_path / "nobody"))
    handler.handle(record("still said", logging.WARNING, request_id="01k2"))
    handler.close()
    assert out.getvalue().startswith("<4>")
    assert out.getvalue().endswith(" llmqd.web: still said request_id=01k2\n")


def test_a_slow_journald_is_never_waited_for_and_the_loss_is_said(journald: socket.socket) -> None:
    out = io.StringIO()
    handler = JournalHandler(out, RedactSecrets(), journald.getsockname())
    for _ in range(1000):
        handler.handle(record("flood"))
    received = 0
    journald.setblocking(False)
    while True:
        try:
            journald.recv(65536)
            received += 1
        except BlockingIOError:
            break
    handler.handle(record("after"))
    handler.close()
    entry = parse(journald.recv(65536))
    assert int(entry["LLMQD_LOG_DROPPED"]) == 1000 - received > 0
    assert out.getvalue() == ""


def test_names_fit_what_journald_takes() -> None:
    assert field_name("request.id-ü") == "LLMQD_REQUEST_ID__"
    assert len(field_name("x" * 100)) == 64


def test_levels_between_the_named_ones_take_the_lower_priority() -> None:
    assert [priority(level) for level in (5, 10, 25, 30, 45, 50)] == [7, 7, 6, 4, 3, 2]


def test_field_forms_of_the_protocol() -> None:
    assert encode("A", 5) == b"A=5\n"
    assert encode("A", "b\nc") == b"A\n\x03\x00\x00\x00\x00\x00\x00\x00b\nc\n"


def plain(*models: str) -> Plain:
    said = [(f"Model: {model}", {"model": model, "error": None, "total_ms": 1.5}) for model in models]
    return Plain(said, logging.INFO, "llmqd.web", "/x/web.py", 7, "answer")


def test_plain_ones_are_sent_without_records_and_look_like_them(journald: socket.socket) -> None:
    handler = JournalHandler(io.StringIO(), RedactSecrets(), journald.getsockname())
    assert handler.write_plain(plain("gpt-4o", "gpt-5")) == 2
    entries = [parse(journald.recv(65536)) for _ in range(2)]
    for model in ("gpt-4o", "gpt-5"):
        handler.handle(record(f"Model: {model}", model=model, error=None, total_ms=1.5))
    handler.close()
    assert entries == [parse(journald.recv(65536)) for _ in range(2)]


def test_what_needs_a_record_is_left_to_one(tmp_path: Path, journald: socket.socket) -> None:
    handler = JournalHandler(io.StringIO(), RedactSecrets(), journald.getsockname())
    assert [handler.write_plain(plain(model)) for model in ("sk-abcdefghijkl", "a\nb")] == [0, 0]
    handler.close()
    handler = JournalHandler(io.StringIO(), RedactSecrets(), str(tmp_path / "nobody"))
    assert handler.write_plain(plain("gpt-4o")) == 0, "it has to fall back"
    handler.close()


def test_plain_ones_that_are_lost_are_counted(journald: socket.socket) -> None:
    handler = JournalHandler(io.StringIO(), RedactSecrets(), journald.getsockname())
    many = plain(*["gpt-4o"] * 2000)
    assert handler.write_plain(many) == 2000, "nobody waits for a slow journald"
    arrived = 0
    journald.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while journald.recv(65536):
            arrived += 1
    assert handler.write_plain(plain("gpt-5")) == 1
    handler.close()
    assert parse(journald.recv(65536))["LLMQD_LOG_DROPPED"] == str(2000 - arrived)
