from __future__ import annotations

from llmqd.call import Record
from llmqd.store.changes import changes
from llmqd.store.entries import Entry, decode, encode_closed, encode_opened, encode_run
from tests.store.records import answer, make_record


def opened(record: Record) -> Entry:
    return decode(encode_opened(record))


def closed(record: Record) -> Entry:
    return decode(encode_closed(record))


def test_a_call_opened_and_closed_together_is_written_once() -> None:
    record = make_record("s")
    [stretch] = changes([opened(record), closed(answer(record))])
    assert stretch.rows_to_open() == []
    assert len(stretch.rows_to_close(set())) == 1


def test_the_first_close_counts() -> None:
    record = make_record("s")
    [stretch] = changes([closed(answer(record, prompt=1)), closed(answer(record, prompt=999))])
    [row] = stretch.session_rows(set())
    assert row[6] == 1


def test_a_call_known_to_have_ended_adds_nothing() -> None:
    record = answer(make_record("s"))
    [stretch] = changes([closed(record)])
    assert stretch.rows_to_close({record.call.id}) == []
    [row] = stretch.session_rows({record.call.id})
    assert row[4:] == (0,) * 8


def test_an_opened_call_makes_its_session_appear_with_zeros() -> None:
    [stretch] = changes([opened(make_record("s"))])
    [row] = stretch.session_rows(set())
    assert row[0] == "s"
    assert row[4:] == (0,) * 8


def test_calls_of_one_session_are_summed() -> None:
    records = [
        answer(make_record("s", received_at=at), prompt=3, completion=4, total_ms=500.0) for at in (9.0, 5.0, 7.0)
    ]
    [stretch] = changes(map(closed, records))
    [row] = stretch.session_rows(set())
    assert row == ("s", "header", 5.0, 9.5, 3, 0, 9, 12, 21, 0, 9000, 0)


def test_calls_without_a_session_touch_none() -> None:
    record = make_record()
    [stretch] = changes([opened(record), closed(answer(record))])
    assert stretch.session_rows(set()) == []


def test_a_run_ends_a_stretch() -> None:
    before, after = make_record(), make_record()
    first, second = changes([opened(before), decode(encode_run("r2")), opened(after)])
    assert (list(first.opened), first.run) == ([before.call.id], "r2")
    assert (list(second.opened), second.run) == ([after.call.id], None)
