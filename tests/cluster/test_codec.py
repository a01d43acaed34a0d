"""What daemons say to each other comes over as JSON and is the same on the other side, in its own time."""

from __future__ import annotations

import math
from typing import Any

import orjson
import pytest

from llmqd.call import Call
from llmqd.cluster import codec
from llmqd.errors import QueueFull, WouldExceedDeadline
from llmqd.lane.brake import Pause
from llmqd.lane.estimate import BodySize, EstimateError
from llmqd.lane.gate import Figure
from llmqd.lane.learn import Found, Learned
from llmqd.lane.throttle import Demand, Known
from llmqd.lane.ticket import Ticket
from llmqd.usage import Usage


def over(plain: Any) -> Any:
    return orjson.loads(orjson.dumps(plain))


def a_call(**more: Any) -> Call:
    return Call("id1", 0.0, 0.0, "POST", "/v1/chat/completions", "openai", "chat", "openai", model="gpt-4o", **more)


def test_a_waiting_call() -> None:
    ticket = Ticket(a_call(priority=2, max_wait=60.0, request_bytes=7), 10.0, flow="user:ada", weight=2.0)
    ticket.demand = Demand(BodySize(100, 1), 500, 2)
    asked = codec.asked(over(codec.ask(4, ticket, 1000.0)), 2000.0)
    assert asked.number == 4
    assert asked.since == pytest.approx(-990.0)
    assert asked.until == pytest.approx(-930.0)
    assert asked.demand == ticket.demand
    call = asked.call
    assert (call.id, call.limited_as, call.priority, call.key, call.weight) == ("id1", "gpt-4o", 2, "user:ada", 2.0)


def test_a_call_that_waits_for_ever() -> None:
    assert codec.asked(over(codec.ask(1, Ticket(a_call(), 1.0), 0.0)), 0.0).until == math.inf


@pytest.mark.parametrize("kind", [QueueFull, WouldExceedDeadline])
def test_a_refusal(kind: type[QueueFull]) -> None:
    error = kind("no", retry_after=3.0, retry=True, position=4, eta=5.0)
    again = codec.refused(over(codec.refusal(9, error)))
    assert type(again) is kind
    assert (again.message, again.retry_after, again.retry, again.position, again.eta) == ("no", 3.0, True, 4, 5.0)


def test_what_a_call_has_used() -> None:
    usage = Usage(input=10, output=5, cached=3, service_tier="flex", source="exact")
    assert codec.usage(over(codec.used(usage))) == usage
    assert codec.usage(over(codec.used(None))) is None


def test_a_lane() -> None:
    learned = Learned(dimension="requests", window=60.0, amount=50.0, source="429", since=-math.inf)
    found = Found({"requests": (50.0, math.inf, math.inf, "429")}, math.inf, (learned,))
    view = codec.View(
        3, 2, 100, 50.0, 1, 4,
        Pause(20.0, "enough"),
        (Figure("requests_per_minute", "", 50.0, 60.0, 50.0, 0.5, "auto"),),
        (("", learned),),
        Known(Pause(None, "stop", by_operator=True), {"g": Pause(30.0, "no")}, {"": found}),
        EstimateError(5, 0.1, 0.0, 0.2, 1.1),
        [["gpt-4o", 1010.0, 1.0, 2.0, 3.0, 0.0]],
    )  # fmt: skip
    assert codec.viewed(over(codec.view(view, 1000.0)), 1000.0) == view


def test_what_it_knows_of_moments_is_in_the_time_of_whoever_hears_it() -> None:
    view = codec.View(paused=Pause(20.0, "enough"))
    heard = codec.viewed(over(codec.view(view, 1000.0)), 400.0).paused
    assert heard is not None
    assert heard.until == pytest.approx(620.0)
    day = Learned(dimension="requests", window=86_400.0, amount=50.0, source="429", since=-math.inf, resets_at=30.0)
    ((_, learned),) = codec.viewed(over(codec.view(codec.View(learned=(("", day),)), 1000.0)), 400.0).learned
    assert learned.resets_at == pytest.approx(630.0)
