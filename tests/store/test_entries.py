from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.errors import StoreError
from llmqd.store.entries import Closed, Opened, Run, Tally, decode, encode_closed, encode_opened, encode_run
from llmqd.usage import Usage
from tests.store.records import answer, make_record


def closed(**outcome: object) -> Closed:
    entry = decode(encode_closed(answer(make_record("s", received_at=100.0), **outcome)))  # type: ignore[arg-type]
    assert isinstance(entry, Closed)
    return entry


def test_each_kind_of_entry_is_read_back() -> None:
    record = make_record("s")
    opened = decode(encode_opened(record))
    assert decode(encode_run("r")) == Run("r")
    assert isinstance(opened, Opened)
    assert opened.id == record.call.id
    assert closed().id != record.call.id


def test_an_entry_is_one_line() -> None:
    assert b"\n" not in encode_closed(answer(make_record("a\nb", path="/a\nb"), error="\n"))


@pytest.mark.parametrize(
    ("http_status", "status", "requests"),
    [(200, "done", 1), (204, "done", 1), (200, "cut", 1), (404, "done", 0), (None, "failed", 0), (None, "refused", 0)],
)
def test_only_answers_with_2xx_are_requests(http_status: int | None, status: str, requests: int) -> None:
    tally = closed(http_status=http_status, status=status).tally
    assert (tally.requests, tally.errors) == (requests, 1 - requests)


def test_tokens_count_whatever_the_outcome() -> None:
    assert closed(status="cut", http_status=200).tally.input == 10
    assert closed(status="done", http_status=500).tally.output == 20


def test_a_call_with_usage_and_no_price_is_counted_as_such() -> None:
    assert closed(cost=None).tally.unknown_cost == 1
    assert closed().tally.unknown_cost == 0
    assert closed(usage=None, cost=None).tally == Tally(1, 0)


def test_a_session_is_seen_until_its_answer_ended() -> None:
    seen = closed(total_ms=2500.0).seen
    assert seen is not None
    assert (seen.first, seen.last) == (100.0, 102.5)


def test_what_a_renamed_call_took_counts_for_the_model_that_was_sent() -> None:
    record = answer(make_record(model="gpt-4o", sent_model="mini"), sent_ms=5.0, counted=True)
    entry = decode(encode_closed(record))
    assert isinstance(entry, Closed)
    assert entry.sent is not None
    assert entry.sent.model == "mini"


def test_a_close_ends_the_call_even_if_its_outcome_says_running() -> None:
    assert "failed" in closed(status="running").row
    assert "running" not in closed(status="running").row


def test_what_utf8_and_64_bits_cannot_hold_is_replaced_and_never_refused() -> None:
    record = make_record("s\udc80", model="\ud800", path="/\udcff")
    entry = decode(encode_opened(record))
    assert isinstance(entry, Opened)
    assert entry.seen is not None
    assert entry.seen.session == "s?"
    huge = decode(encode_closed(answer(record, usage=Usage(input=2**80, source="exact"))))
    assert isinstance(huge, Closed)
    assert huge.tally.input == 10**15


@given(st.binary(max_size=60))
def test_noise_is_refused_with_the_ledgers_own_error(noise: bytes) -> None:
    with pytest.raises(StoreError, match="cannot be understood"):
        decode(noise)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"v": 2, "e": "run", "run": "r"}, "version 2; this llmqd reads version 1"),
        ({"v": 1, "e": "song"}, "unknown kind 'song'"),
        ({"v": 1, "e": "open", "call": None}, "cannot be understood"),
        ({"v": 1, "e": "close", "call": {"id": "x"}, "outcome": {}}, "cannot be understood"),
        ([1, 2], "cannot be understood"),
    ],
)
def test_an_entry_of_another_shape_is_refused_and_says_why(entry: object, words: str) -> None:
    with pytest.raises(StoreError, match=words):
        decode(orjson.dumps(entry))
