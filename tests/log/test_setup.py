"""Which handler is chosen, and at which level."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from llmqd import log
from llmqd.log.journal import JournalHandler


@pytest.fixture(autouse=True)
def _root_as_before() -> Iterator[None]:
    root, own = logging.getLogger(), logging.getLogger("llmqd")
    handlers, levels = list(root.handlers), (root.level, own.level)
    yield
    for handler in [each for each in root.handlers if each not in handlers]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(levels[0])
    own.setLevel(levels[1])


def ours() -> list[logging.Handler]:
    return [handler for handler in logging.getLogger().handlers if handler.name == "llmqd"]


def test_auto_is_text_where_stderr_is_not_the_journal() -> None:
    out = io.StringIO()
    log.configure("info", "auto", stream=out, environ={"JOURNAL_STREAM": "1:2"})
    logging.getLogger("llmqd.x").info("said", extra={"fields": {"request_id": "01k2"}})
    assert out.getvalue().endswith("INFO    llmqd.x: said request_id=01k2\n")


def test_auto_is_the_journal_where_stderr_is_its_stream(tmp_path: Path) -> None:
    with (tmp_path / "stream").open("w") as out:
        found = os.fstat(out.fileno())
        log.configure("info", "auto", stream=out, environ={"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"})
        assert isinstance(ours()[0], JournalHandler)
        log.configure("info", "auto", stream=out, environ={"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino + 1}"})
        assert not isinstance(ours()[0], JournalHandler)


def test_json_is_one_object_a_line() -> None:
    out = io.StringIO()
    log.configure("info", "json", stream=out)
    logging.getLogger("llmqd").warning("a")
    logging.getLogger("llmqd").warning("b")
    assert [orjson.loads(line)["message"] for line in out.getvalue().splitlines()] == ["a", "b"]


def test_configuring_again_replaces_the_handler() -> None:
    log.configure("info", "text", stream=io.StringIO())
    log.configure("info", "json", stream=io.StringIO())
    assert len(ours()) == 1


def test_secrets_are_masked_whatever_logger_they_come_from() -> None:
    out = io.StringIO()
    log.configure("info", "text", stream=out)
    logging.getLogger("some.library").error("request with Authorization: Bearer sk-abcdefghijklmnop")
    assert "sk-abc" not in out.getvalue()
    assert "[secret]" in out.getvalue()


def test_debug_is_for_our_own_lines_only() -> None:
    out = io.StringIO()
    log.configure("debug", "text", stream=out)
    logging.getLogger("llmqd.lane").debug("ours")
    logging.getLogger("aiosqlite").debug("theirs")
    log.set_level("error")
    logging.getLogger("llmqd.lane").warning("too low")
    assert "ours" in out.getvalue()
    assert "theirs" not in out.getvalue()
    assert "too low" not in out.getvalue()


def test_unknown_level_or_format_is_said() -> None:
    with pytest.raises(ValueError, match="none of auto, text, json, journal"):
        log.configure("info", "xml")
    with pytest.raises(ValueError, match="log level 'loud'"):
        log.configure("loud", "text")
    assert ours() == []


def test_what_only_the_configuration_knows_is_taken_out_of_message_fields_and_traceback() -> None:
    out = io.StringIO()
    log.configure("info", "text", stream=out)
    log.redact_also(lambda text: text.replace("TICKET-7", "[redacted:1]"))
    try:
        raise ValueError("TICKET-7")
    except ValueError:
        logging.getLogger("llmqd").exception("about %s", "TICKET-7", extra={"fields": {"user": "TICKET-7"}})
    assert "TICKET-7" not in out.getvalue()
    assert out.getvalue().count("[redacted:1]") >= 3
