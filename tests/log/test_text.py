"""Lines that are written many at once are those that records would have been."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.log.plain import Plain
from llmqd.log.redact import RedactSecrets
from llmqd.log.text import TextHandler

Entry = tuple[str, dict[str, Any]]

WORDS = st.text(st.sampled_from("ab1-_=\"' \n\u2028\\é\U0001f600&?")) | st.sampled_from(
    ["gpt-4o-mini", "01k2", "sk-abcdefghijkl", "bearer abcdefgh", "my-api-key", "own-secret", "", "AKIA1234567890AB"]
)
VALUES = st.none() | st.integers() | st.floats(0, 1e6).map(lambda value: round(value, 1)) | WORDS


def plain(*said: Entry) -> Plain:
    return Plain(said, logging.INFO, "llmqd.calls", "", 0, "log_calls")


def by_records(handler: TextHandler, entries: list[Entry]) -> None:
    for message, fields in entries:
        record = logging.LogRecord("llmqd.calls", logging.INFO, "", 0, message, (), None)
        record.created, record.fields = 0.0, fields
        handler.handle(record)


def a_handler(out: io.StringIO, also: Callable[[str], str], *, anywhere: bool = True) -> TextHandler:
    redact = RedactSecrets()
    redact.also, redact.anywhere = also, anywhere
    handler = TextHandler(out, redact)
    handler.addFilter(redact)
    return handler


@given(st.lists(st.tuples(WORDS, WORDS, VALUES), min_size=1, max_size=3), st.booleans())
def test_many_at_once_look_like_records_or_are_left_to_them(said: list[tuple[str, str, Any]], anywhere: bool) -> None:
    entries: list[Entry] = [
        (f"API Usage - Request: {one}, Model: {two}, Total: 7", {"request_id": one, "model": two, "ttfb_ms": value})
        for one, two, value in said
    ]
    quick, slow = io.StringIO(), io.StringIO()
    handlers = [
        a_handler(out, lambda text: text.replace("own-secret", "[own]"), anywhere=anywhere) for out in (quick, slow)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("llmqd.log.text.time.time", lambda: 0.0)
        written = handlers[0].write_plain(plain(*entries))
    by_records(handlers[1], entries)
    assert written in (0, len(entries))
    assert quick.getvalue() == (slow.getvalue() if written else "")


def test_plain_ones_are_written_and_only_these() -> None:
    def written(model: str, anywhere: bool = True) -> int:
        handler = a_handler(io.StringIO(), lambda text: text.replace("Request", "[own]"), anywhere=anywhere)
        return handler.write_plain(plain((f"Model: {model}", {"model": model})))

    assert written("gpt-4o-mini")
    assert not written("gpt-4o-mini", anywhere=False)
    assert not written("sk-abcdefghijkl")
    assert not written("a model")
    assert not written("")
    assert not written("Request")


def test_what_is_the_operators_secret_goes_even_where_it_is_a_word_of_ours() -> None:
    handler = a_handler(io.StringIO(), lambda text: text.replace("Usage", "[own]"))
    assert not handler.write_plain(plain(("API Usage", {"model": "gpt"})))


def test_a_stream_that_is_closed_ends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    out = io.StringIO()
    handler = a_handler(out, str)
    out.close()
    assert handler.write_plain(plain(("said", {"model": "gpt"}))) == 1
    assert "Logging error" in capsys.readouterr().err
