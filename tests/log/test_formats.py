"""Records as text and as JSON."""

from __future__ import annotations

import logging
import sys
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.log.formats import JsonFormatter, TextFormatter, one_line


def record(message: str = "hello", trouble: bool = False, **fields: Any) -> logging.LogRecord:
    made = logging.LogRecord("llmqd.web", logging.WARNING, __file__, 1, message, None, None)
    made.created = 1_763_719_200.25
    made.__dict__["fields"] = fields
    if trouble:
        try:
            raise KeyError("gone\nforged")
        except KeyError:
            made.exc_info = sys.exc_info()
    return made


def test_text_line_has_time_level_logger_message_and_fields() -> None:
    line = TextFormatter().format(record(request_id="01k2", queued_ms=1.5, session=None, who="a b", quote='x"y'))
    assert line == (
        '2025-11-21T10:00:00.250Z WARNING llmqd.web: hello request_id=01k2 queued_ms=1.5 who="a b" quote="x\\"y"'
    )


@given(st.text(), st.text())
def test_text_from_outside_cannot_forge_a_line(message: str, value: str) -> None:
    line = TextFormatter().format(record(message, field=value))
    assert len(line.splitlines()) == 1
    assert "\x1b" not in line


def test_traceback_lines_are_indented_below_the_record() -> None:
    first, *rest = TextFormatter().format(record(trouble=True)).splitlines()
    assert first.endswith("hello")
    assert rest[0] == "    Traceback (most recent call last):"
    assert all(line.startswith("    ") for line in rest)


def test_json_line_is_one_object_with_the_fields_as_they_are() -> None:
    line = JsonFormatter().format(record("two\nlines", request_id="01k2", queued_ms=1.5, model=None, level="mine"))
    assert "\n" not in line
    assert orjson.loads(line) == {
        "time": "2025-11-21T10:00:00.250Z",
        "level": "warning",
        "logger": "llmqd.web",
        "message": "two\nlines",
        "request_id": "01k2",
        "queued_ms": 1.5,
        "level_": "mine",
    }


def test_json_carries_the_traceback() -> None:
    assert "KeyError" in orjson.loads(JsonFormatter().format(record(trouble=True)))["traceback"]


@pytest.mark.parametrize("value", ["\udcff", 2**80, object()])
def test_json_takes_every_value(value: object) -> None:
    assert orjson.loads(JsonFormatter().format(record(odd=value)))["message"] == "hello"


def test_line_separators_and_controls_are_escaped() -> None:
    assert one_line("a\r\n\x1b[0m\u2028b\x85é") == "a\\r\\n\\x1b[0m\\u2028b\\x85é"
