"""A lane's events name the lane, the upstream and what happened."""

from __future__ import annotations

from llmqd.events.kinds import Event, LimitLearned, Paused, Queued, Resumed, Started
from llmqd.lane.announcer import Announcer
from llmqd.lane.learn import Change, Learned
from tests.calls import a_call


def test_everything_that_happens_is_told() -> None:
    told: list[Event] = []
    announcer = Announcer("openai/a", "openai", told.append)
    call = a_call(arrived=5.0)
    announcer.queued(call, 3, 1.5)
    announcer.started(call, 6.25)
    announcer.paused("429", 2.0, "upstream")
    announcer.resumed()
    limit = Learned(dimension="requests", window=60.0, amount=90.0, source="429", since=0.0)
    announcer.learned([Change(limit, 600.0), Change(limit, 0.0)], "gpt")
    queued, started, paused, resumed, learned, first = told
    assert isinstance(queued, Queued)
    assert (queued.position, queued.eta_ms) == (3, 1500.0)
    assert isinstance(started, Started)
    assert started.queued_ms == 1250.0
    assert isinstance(paused, Paused)
    assert (paused.lane, paused.seconds, paused.by) == ("openai/a", 2.0, "upstream")
    assert isinstance(resumed, Resumed)
    assert isinstance(learned, LimitLearned)
    assert (learned.dimension, learned.group, learned.limit) == ("requests_per_minute", "gpt", 90.0)
    assert learned.before == 600.0
    assert isinstance(first, LimitLearned)
    assert first.before is None
