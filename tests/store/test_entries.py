from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.call import Record
from llmqd.errors import StoreError
from llmqd.messages.transcript import Transcript
from llmqd.store.entries import Closed, Opened, Run, Tally, decode, encode_closed, encode_opened, encode_run, opened_id
from llmqd.store.entries import closed as told
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


@pytest.mark.parametrize(
    "record",
    [
        answer(make_record("s", tags=("a", "b"), user="u", model="m", sent_model="n"), sent_ms=5.0, counted=True),
        answer(make_record(), usage=None, cost=None, http_status=None, status="failed"),
        answer(make_record("s"), usage=Usage(input=10**17, source="exact"), queued_ms=1.5, attempts=2),
    ],
)
def test_what_is_told_without_reading_the_entry_is_what_reading_it_tells(record: Record) -> None:
    entry, made = told(record)
    assert made == decode(entry)
    assert made is not None
    record.transcript = Transcript(
        1.5,
        "s",
        2,
        7,
        8,
        (2**63 - 1, 5),
        [(7, 6, 3, 0), (8, 7, None, 1)],
        {3: b'{"role":"user","parts":[{"kind":"text","text":"said"}]}'},
        [(9, "s", 1.5)],
    )
    entry, made = told(record)
    assert made is not None
    assert made == decode(entry)
    record.transcript.texts[4] = b'{"role":"user","parts":[{"kind":"media","type":"image/png","data":"AAAA","size":3}]}'
    assert told(record)[1] is None


def test_what_cannot_be_written_as_it_is_has_to_be_read() -> None:
    assert told(answer(make_record(model="\ud800")))[1] is None
    unfinished = make_record()
    assert told(unfinished)[1] is None


def test_the_beginning_of_a_call_is_told_from_its_first_bytes() -> None:
    record = make_record("s")
    assert opened_id(encode_opened(record)) == record.call.id
    assert opened_id(encode_closed(answer(record))) is None
    record.call.id = 'a"b'
    assert opened_id(encode_opened(record)) is None


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
