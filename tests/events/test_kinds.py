"""The kinds of event: made from what they tell of, and filtered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from llmqd.call import Outcome, Record, SessionRef
from llmqd.errors import Cancelled as CancelledError
from llmqd.errors import QueueFull
from llmqd.events import EVERYTHING, TYPES, Alert, Cancelled, Event, Finished, Paused, Queued, Refused, Started, Wanted
from llmqd.events import wanted_types as chosen_types
from llmqd.events.kinds import KINDS
from llmqd.usage import Cost, Usage
from tests.calls import a_call

CALL = a_call(id="c1", upstream="openai", priority=7, session=SessionRef("s1", "path"))
ABOUT = {"lane": "openai/a", "upstream": "openai", "session": "s1", "model": "gpt-4o-mini", "request_id": "c1"}


def told(event: object) -> dict[str, Any]:
    return msgspec.structs.asdict(event)  # type: ignore[arg-type]


def test_a_waiting_call_is_told_with_its_place_and_milliseconds() -> None:
    event = Queued.of(CALL, "openai/a", position=3, eta=1.25)
    assert told(event) == ABOUT | {"priority": 7, "position": 3, "eta_ms": 1250.0}
    assert Queued.of(CALL, "openai/a", position=3, eta=None).eta_ms is None


def test_a_started_call_is_told_with_its_wait_and_attempt() -> None:
    event = Started.of(CALL, "openai/a", waited=0.5, attempt=2)
    assert told(event) == ABOUT | {"priority": 7, "queued_ms": 500.0, "attempt": 2}


def test_a_finished_call_is_told_as_the_ledger_has_it_and_money_is_exact() -> None:
    outcome = Outcome(
        "done", 200, lane="openai/a", attempts=1, queued_ms=1.0, first_byte_ms=2.0, total_ms=3.0,
        usage=Usage(input=10, output=5), cost=Cost(total=1_230_000_001),
    )  # fmt: skip
    event = Finished.of(Record(CALL, outcome))
    assert told(event) == ABOUT | {
        "priority": 7, "status": "done", "http_status": 200, "error": None, "attempts": 1, "queued_ms": 1.0,
        "first_byte_ms": 2.0, "total_ms": 3.0, "input_tokens": 10, "output_tokens": 5, "cost_usd": "0.001230000001",
    }  # fmt: skip


def test_what_is_not_known_of_a_finished_call_is_none_not_zero() -> None:
    event = Finished.of(Record(CALL, Outcome("abandoned", lane="openai")))
    assert (event.input_tokens, event.output_tokens, event.cost_usd, event.http_status) == (None, None, None, None)


def test_a_refusal_is_told_with_its_code_and_place() -> None:
    event = Refused.of(CALL, QueueFull("full", position=9, eta=2.0), None)
    assert told(event) == ABOUT | {
        "lane": None, "priority": 7, "code": "queue_full", "http_status": 429, "message": "full", "position": 9,
        "eta_ms": 2000.0,
    }  # fmt: skip


def test_a_cancelled_call_is_an_event_of_its_own_type() -> None:
    event = Cancelled.of(CALL, CancelledError("gone"), "openai/a")
    assert (event.type, event.code, event.http_status) == ("cancelled", "cancelled", 499)


def test_every_type_has_a_name_of_its_own() -> None:
    assert set(TYPES) == {
        "queued", "started", "finished", "paused", "resumed", "limit_learned", "alert", "cancelled", "refused",
    }  # fmt: skip
    assert len(TYPES) == len(set(TYPES))


def test_events_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Alert(name="x", message="y").name = "z"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("wanted", "queued", "paused"),
    [
        (EVERYTHING, True, True),
        (Wanted(types=frozenset({"paused"})), False, True),
        (Wanted(lanes=frozenset({"openai/a"})), True, False),
        (Wanted(lanes=frozenset({"openai/a", "groq"})), True, True),
        (Wanted(sessions=frozenset({"s1"})), True, False),
        (Wanted(types=frozenset({"queued"}), sessions=frozenset({"other"})), False, False),
    ],
)
def test_a_listener_gets_what_fits_all_of_its_filters(wanted: Wanted, queued: bool, paused: bool) -> None:
    assert wanted.has(Queued.of(CALL, "openai/a", position=1, eta=0)) is queued
    assert wanted.has(Paused(lane="groq", upstream="groq", reason="", seconds=None, by="operator")) is paused


def test_an_unknown_type_is_named_with_those_there_are() -> None:
    assert chosen_types(["queued", "alert"]) == {"queued", "alert"}
    with pytest.raises(ValueError, match=r"'quued' is not a type of event; there are queued, started"):
        chosen_types(["queued", "quued"])


def test_every_type_and_field_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "queue-api.md").read_text()
    for kind in KINDS:
        own = {*kind.__struct_fields__} - {*Event.__struct_fields__}
        [line] = [line for line in text.splitlines() if line.startswith(f"| `{kind.type}` |")]
        documented = line.split("|")[3]
        if kind is not Cancelled:  # "as refused"
            assert {name for name in own if f"`{name}`" not in documented} == set()
