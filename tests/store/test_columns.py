from __future__ import annotations

import sqlite3
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.call import Attempt, Call, Outcome, Record, SessionRef
from llmqd.store.columns import (
    CALL_COLUMNS,
    OUTCOME_COLUMNS,
    bounded,
    call_row,
    outcome_row,
    read_call,
    read_outcome,
    record,
    within,
)
from llmqd.store.schema import MIGRATIONS
from llmqd.store.spoken import SPOKEN_COLUMNS
from llmqd.usage import Cost, Usage
from tests.store.records import answer, make_record


def as_json(noun: Any) -> Any:
    return orjson.loads(msgspec.json.encode(noun))


def through_columns(written: Record) -> Record:
    row = (*call_row(read_call(as_json(written.call))), *outcome_row(read_outcome(as_json(written.outcome))))
    return record(dict(zip((*CALL_COLUMNS, *OUTCOME_COLUMNS), row, strict=True)))


def test_every_column_of_the_table_is_written() -> None:
    database = sqlite3.connect(":memory:")
    for script in MIGRATIONS:
        database.executescript(script)
    columns = {name for _, name, *_ in database.execute("PRAGMA table_info (calls)")}
    database.close()
    assert columns == {*CALL_COLUMNS, *OUTCOME_COLUMNS, *SPOKEN_COLUMNS}


counts = st.integers(0, 10**12)
usages = st.builds(
    Usage,
    **{field.name: counts for field in msgspec.structs.fields(Usage) if field.type is int},
    service_tier=st.none() | st.text(),
    cost_reported_pico=st.none() | counts,
    source=st.sampled_from(["exact", "estimated", "unknown"]),
)


@given(st.none() | usages, st.none() | st.builds(Cost, counts, counts, counts, counts, counts), st.booleans())
def test_a_record_comes_back_as_it_was(usage: Usage | None, cost: Cost | None, flag: bool) -> None:
    written = make_record(
        "s", stream=flag, no_queue=not flag, tags=("a", "b") if flag else (), max_wait=2.5, agent="me"
    )
    assert through_columns(answer(written, usage=usage, cost=cost)) == written


def test_the_attempts_before_the_last_come_back() -> None:
    tried = (
        Attempt("openai", "openai/a", "wait", 'HTTP 429: "slow"', 1.5, 20.0, 429),
        Attempt("groq", "groq", "permanent", "the queue is full", None, 21.0),
    )
    written = answer(make_record("s"), attempts=2, tried=tried)
    assert through_columns(written) == written
    without = as_json(answer(make_record("s")).outcome)
    del without["tried"]
    assert outcome_row(read_outcome(without))[-1] is None, "an older writer knew of none"


def test_an_entry_of_an_older_writer_lacks_fields_and_is_understood() -> None:
    call, outcome = as_json(make_record("s").call), as_json(answer(make_record()).outcome)
    del call["client_retry"], call["agent"], outcome["usage"]["web_searches"], outcome["lane"]
    assert len(call_row(read_call(call))) == len(CALL_COLUMNS)
    assert len(outcome_row(read_outcome(outcome))) == len(OUTCOME_COLUMNS)


def test_an_entry_of_a_newer_writer_has_more_fields_and_is_understood() -> None:
    call, outcome = as_json(make_record("s").call), as_json(answer(make_record("s")).outcome)
    call["colour"], outcome["colour"], outcome["usage"]["colour"] = "red", "red", "red"
    assert read_call(call).session.id == "s"
    assert read_outcome(outcome).usage == answer(make_record("s")).outcome.usage


@pytest.mark.parametrize(("value", "kept"), [(5, 5), (2**63, 10**15), (-(2**70), -(10**15)), (True, True), ("x", "x")])
def test_absurd_numbers_are_kept_within_what_can_be_added_up(value: object, kept: object) -> None:
    assert bounded(value) == kept


def test_no_field_of_a_record_is_forgotten() -> None:
    """A field added to the nouns must get a column, or the reason why it has none must stand here."""
    # A clock of this run; session_id and session_source; the weight of its key is of use only while it waits; the
    # receiver of traces has the trace, and the call's id in it.
    without = {"arrived", "session", "weight", "trace"}
    assert {*Call.__struct_fields__} - without <= {*CALL_COLUMNS, "user", "key"}
    assert {*Outcome.__struct_fields__} - {"usage", "cost"} <= {*OUTCOME_COLUMNS}
    assert {*SessionRef.__struct_fields__} == {"id", "source"}
    assert len(Usage.__struct_fields__) == sum(1 for c in OUTCOME_COLUMNS if "pico" not in c) - 17 + 1
    assert len(Cost.__struct_fields__) == sum(1 for c in OUTCOME_COLUMNS if "pico" in c) - 1


def test_absurd_figures_of_an_outcome_are_kept_within_as_well_and_others_are_left_alone() -> None:
    plain = answer(make_record("s")).outcome
    assert within(plain) is plain
    plain.usage = Usage(input=2**62, cost_reported_pico=2**62, source="exact")
    plain.cost = Cost(-(2**62))
    kept = within(plain)
    assert kept.usage == Usage(input=10**15, cost_reported_pico=10**15, source="exact")
    assert kept.cost == Cost(-(10**15))
