"""The log line of a call in the form of its dialect."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from llmqd import log
from llmqd.call import Outcome, Record, SessionRef
from llmqd.log import call_line, log_calls
from llmqd.usage import Cost, Usage
from tests.calls import a_call


def record(usage: Usage | None, cost: Cost | None = None, status: str = "done", **fields: Any) -> Record:
    known: dict[str, Any] = {"id": "01k2", "model": "asked-for"}
    outcome = Outcome(http_status=200, usage=usage, cost=cost, attempts=1, queued_ms=1.25, total_ms=100.0)
    outcome.status = status  # type: ignore[assignment]
    return Record(a_call(**(known | fields)), outcome)


OPENAI = Usage(input=19, output=11, cached=4, input_audio=2, output_audio=1, reasoning=3, source="exact")


def test_openai_line() -> None:
    line, _ = call_line(record(OPENAI, stream=True))
    assert line == (
        "OpenAI API Usage - Request: 01k2, Model: asked-for, Tokens: Prompt=19/Completion=11/Total=30, "
        "Details: Cached=4/Audio=3/Reasoning=3, Streaming: True"
    )


def test_other_dialects_use_the_openai_form_under_their_own_name() -> None:
    assert call_line(record(OPENAI, dialect="gemini"))[0].startswith("Gemini API Usage - Request: 01k2, Model: asked")
    assert call_line(record(OPENAI, dialect="ollama"))[0].startswith("Ollama API Usage - ")


def test_anthropic_line_counts_input_without_the_cache_and_has_all_four_costs() -> None:
    usage = Usage(input=6000, output=500, cached=3000, cache_write_5m=1500, cache_write_1h=500, source="exact")
    cost = Cost(
        total=18_900_000_000,
        input=3_000_000_000,
        output=7_500_000_000,
        cache_write=7_500_000_000,
        cache_read=900_000_000,
    )
    line, fields = call_line(record(usage, cost, dialect="anthropic"))
    assert line == (
        "Anthropic API Usage - Request: 01k2, Model: asked-for, Tokens: I=1000/O=500/CC=2000/CR=3000, "
        "Cost: I=$0.003000/O=$0.007500/CC=$0.007500/CR=$0.000900, Total: $0.018900, Streaming: False"
    )
    assert fields["cost_usd"] == "0.0189"


def test_costs_are_rounded_to_a_millionth_in_the_line_and_exact_in_the_field() -> None:
    line, fields = call_line(record(Usage(source="exact"), Cost(total=1_500_000, input=1_499_999), dialect="anthropic"))
    assert "I=$0.000001/" in line
    assert "Total: $0.000002" in line
    assert fields["cost_usd"] == "0.0000015"
    _, fields = call_line(record(Usage(source="exact"), Cost(total=10 * 10**12)))
    assert fields["cost_usd"] == "10"


def test_what_is_not_known_is_said_to_be_unknown() -> None:
    line, fields = call_line(record(Usage(source="unknown"), None, dialect="anthropic", model=None))
    assert "Model: unknown, Tokens: unknown, Cost: I=unknown/O=unknown/CC=unknown/CR=unknown, Total: unknown" in line
    assert (fields["cost_usd"], fields["prompt_tokens"], fields["usage"]) == (None, None, "unknown")
    assert "Tokens: unknown, Details: unknown" in call_line(record(Usage(source="unknown")))[0]


def test_a_free_call_costs_nothing_rather_than_unknown() -> None:
    line, fields = call_line(record(Usage(source="exact"), Cost(total=0), dialect="anthropic"))
    assert "Total: $0.000000" in line
    assert fields["cost_usd"] == "0"


def test_calls_that_did_not_end_well_say_status_and_error() -> None:
    failed = record(None, status="failed")
    failed.outcome.http_status, failed.outcome.error = None, "upstream_unreachable"
    assert call_line(failed)[0] == (
        "OpenAI API Call - Request: 01k2, Model: asked-for, Status: failed, HTTP: none, Error: upstream_unreachable"
    )
    cut = record(Usage(input=5, output=2, source="estimated"), status="cut", dialect="anthropic")
    line, fields = call_line(cut)
    assert line.endswith("Status: cut, HTTP: 200, Error: none")
    assert (fields["prompt_tokens"], fields["usage"]) == (5, "estimated")


def test_a_done_call_without_usage_by_nature_says_its_status() -> None:
    assert call_line(record(None))[0].endswith("Status: done, HTTP: 200, Error: none")


def test_fields_name_everything_that_one_searches_for() -> None:
    made = record(OPENAI, session=SessionRef("s1", "path"))
    made.outcome.response_model = "gpt-4o-2024-08-06"
    made.outcome.first_byte_ms = 12.3456
    assert call_line(made)[1] == {
        "request_id": "01k2",
        "session": "s1",
        "upstream": "openai",
        "model": "gpt-4o-2024-08-06",
        "status": "done",
        "http_status": 200,
        "error": None,
        "prompt_tokens": 19,
        "completion_tokens": 11,
        "usage": "exact",
        "cost_usd": None,
        "queued_ms": 1.2,
        "ttfb_ms": 12.3,
        "total_ms": 100.0,
        "attempts": 1,
    }


@contextmanager
def text_log() -> Iterator[io.StringIO]:
    """A text log as it is configured, without the handlers of the tests' own."""
    root, own = logging.getLogger(), logging.getLogger("llmqd")
    handlers, levels = list(root.handlers), (root.level, own.level)
    root.handlers.clear()
    out = io.StringIO()
    try:
        log.configure("info", "text", stream=out)
        yield out
    finally:
        root.handlers[:] = handlers
        root.setLevel(levels[0])
        own.setLevel(levels[1])


def test_calls_are_logged_in_their_order_with_or_without_a_handler_beside() -> None:
    made = [record(OPENAI, id=name, session=SessionRef("a session", "path")) for name in ("one", "two")]
    made.append(record(None, id="three", model="sk-abcdefghijklmnop"))
    with text_log() as out:
        log_calls(made[:2])
        log_calls(made[2:])
    alone = [line.partition("Z ")[2] for line in out.getvalue().splitlines()]
    assert [line.split("request_id=")[1].split()[0] for line in alone] == ["one", "two", "three"]
    assert alone[0].startswith("INFO    llmqd.calls: OpenAI API Usage - Request: one, Model: asked-for, ")
    assert 'session="a session" upstream=openai' in alone[0]
    assert "sk-abc" not in out.getvalue()
    beside = io.StringIO()
    with text_log() as out:
        logging.getLogger().addHandler(logging.StreamHandler(beside))
        log_calls(made)
    assert [line.partition("Z ")[2] for line in out.getvalue().splitlines()] == alone
    assert len(beside.getvalue().splitlines()) == 3


def test_plain_calls_are_logged_without_records(monkeypatch: pytest.MonkeyPatch) -> None:
    with text_log() as out, monkeypatch.context() as patch:
        patch.setattr(logging.LogRecord, "__init__", None)
        log_calls([record(OPENAI, id="one"), record(OPENAI, id="two")])
    assert out.getvalue().count("request_id=") == 2


def test_calls_are_not_logged_above_their_level() -> None:
    with text_log() as out:
        log.set_level("warning")
        log_calls([record(OPENAI)])
    assert not out.getvalue()
