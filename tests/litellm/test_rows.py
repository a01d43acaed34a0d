"""What a row says, whatever is in it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmqd.litellm.rows import call_id, seconds, spend_log
from llmqd.usage import Cost
from tests.litellm.spend_table import COLUMNS, row

AT = datetime.fromisoformat("2025-11-03 12:30")

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(COLUMNS)), json_values, max_size=6))
def test_no_content_of_a_row_is_a_fault(values: dict[str, Any]) -> None:
    read = spend_log({**values, "request_id": "r", "startTime": AT})
    assert read.record.call.received_at == AT.replace(tzinfo=UTC).timestamp()
    assert read.ended >= read.record.call.received_at


def test_a_row_without_id_or_time_is_none() -> None:
    for values in ({"request_id": "r"}, {"startTime": AT}, {}):
        with pytest.raises(ValueError, match="request_id or startTime"):
            spend_log(values)


def test_times_without_a_zone_are_in_utc() -> None:
    assert (
        seconds(AT)
        == seconds(AT.replace(tzinfo=UTC))
        == seconds(AT.replace(tzinfo=UTC).astimezone(timezone(timedelta(hours=5))))
    )


def test_ids_sort_by_time_and_are_always_the_same() -> None:
    assert call_id("b", 1000.0) < call_id("a", 1000.001)
    assert call_id("a", 1000.0) == call_id("a", 1000.0) != call_id("b", 1000.0)
    assert len(call_id("a", 0.0)) == 26


@pytest.mark.parametrize(
    ("call_type", "operation", "dialect"),
    [
        ("acompletion", "chat", "openai"),
        ("completion", "chat", "openai"),
        ("atext_completion", "completion", "openai"),
        ("aresponses", "responses", "openai"),
        ("anthropic_messages", "messages", "anthropic"),
        ("aembedding", "embeddings", "openai"),
        ("agenerate_content_stream", "generate_content", "gemini"),
        ("_arealtime", "realtime", "openai"),
        ("pass_through_endpoint", "other", "openai"),
    ],
)
def test_what_kind_of_call_it_was(call_type: str, operation: str, dialect: str) -> None:
    call = spend_log(row("r", AT, call_type=call_type)).record.call
    assert (call.operation, call.dialect) == (operation, dialect)


def test_names_stand_where_litellm_puts_what_clients_say() -> None:
    said = {"agent_name": "writer", "conversation_name": "draft"}
    call = spend_log(row("r", AT, spend_logs_metadata=said, end_user="u7", session_id="s")).record.call
    assert (call.agent, call.conversation, call.user, call.session.id) == ("writer", "draft", "u7", "s")
    assert call.tags == ("User-Agent: OpenAI", "User-Agent: OpenAI/Python 2.1")
    plain = spend_log(row("r", AT)).record.call
    assert (plain.agent, plain.user) == (None, "owner-of-the-key")


@pytest.mark.parametrize(("written", "cached"), [("True", 60), ("False", 20), ("None", 20), ("", 20), (None, 20)])
def test_a_cache_hit_is_a_text(written: str | None, cached: int) -> None:
    values = {"additional_usage_values": {"prompt_tokens_details": {"cached_tokens": 20}}}
    usage = spend_log(row("r", AT, cache_hit=written, metadata=values)).record.outcome.usage
    assert usage is not None
    assert (usage.input, usage.output, usage.cached) == (60, 40, cached)


def test_the_price_is_kept_to_the_picodollar() -> None:
    breakdown = {"cost_breakdown": {"input_cost": 0.0004, "output_cost": 0.0006}}
    assert spend_log(row("r", AT, spend=0.001, metadata=breakdown)).record.outcome.cost == Cost(
        10**9, input=4 * 10**8, output=6 * 10**8
    )
    assert spend_log(row("r", AT, spend=float("nan"))).record.outcome.cost is None


def test_the_first_token_and_the_stream() -> None:
    plain = spend_log(row("r", AT)).record
    assert (plain.call.stream, plain.outcome.first_byte_ms, plain.outcome.total_ms) == (False, None, 2000.0)
    began = AT + timedelta(seconds=0.5)
    streamed = spend_log(row("r", AT, completionStartTime=began)).record
    assert (streamed.call.stream, streamed.outcome.first_byte_ms) == (True, 500.0)


def test_a_failure_says_why_and_used_nothing() -> None:
    why = {"status": "failure", "error_information": {"error_code": "429", "error_class": "RateLimitError"}}
    outcome = spend_log(row("r", AT, metadata=why, prompt_tokens=0, completion_tokens=0)).record.outcome
    assert (outcome.status, outcome.http_status, outcome.error, outcome.usage) == (
        "failed",
        429,
        "RateLimitError",
        None,
    )


def test_a_session_is_made_up_where_it_is_a_uuid_that_nobody_named() -> None:
    assert spend_log(row("r", AT)).own_session
    assert not spend_log(row("r", AT, session_id="mine")).own_session
    told = row("r", AT, messages=[])
    told["proxy_server_request"]["litellm_session_id"] = told["session_id"]
    assert not spend_log(told).own_session
