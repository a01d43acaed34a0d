"""Limits, pauses and learning together: what one lane decides."""

from __future__ import annotations

import pytest

from llmqd.config.limits import Limits, ModelGroup
from llmqd.lane.estimate import BodySize
from llmqd.lane.throttle import Demand, Grant, Throttle
from llmqd.providers.limit_headers import Observed
from llmqd.providers.refusals import Verdict
from llmqd.usage import Usage

SIZE = BodySize(400)


def throttle(limits: Limits, *, learns: bool = True) -> Throttle:
    return Throttle(limits, learns=learns, noise=lambda: 0.0, wall_offset=0.0)


def go(one: Throttle, now: float, model: str | None = None, max_tokens: int | None = None) -> Grant:
    ask = one.ask(model, Demand(SIZE, max_tokens))
    assert one.hold(ask, now) is None
    grant = one.take(ask, SIZE, now, waited=True)
    one.sent(grant, now)
    return grant


def test_no_limit_means_none_also_while_learning() -> None:
    one = throttle(Limits(requests_per_minute=0))
    for _ in range(500):
        grant = go(one, 10.0)
        one.answered(grant, (), 10.0)
        one.settle(grant, None, 10.0, counted=True)
    assert one.requests_per_minute == 0


def test_a_refusal_teaches_a_limit_where_none_was_set() -> None:
    one = throttle(Limits(requests_per_minute=0))
    for number in range(100):
        one.answered(go(one, number * 0.1), (), number * 0.1)
    refused = go(one, 10.0)
    learned = one.refused(refused, Verdict(kind="wait", reason="429", wait=2.0), (), 10.0)
    assert learned
    assert 0 < one.requests_per_minute < 700
    hold = one.hold(one.ask(None, Demand(SIZE)), 10.1)
    assert hold is not None
    assert hold.until >= 12.0


def test_a_header_lowers_what_is_configured_and_never_raises_it() -> None:
    header = Observed(dimension="requests", window=60.0, limit=120.0, remaining=119.0, header="x-limit")
    configured = throttle(Limits(requests_per_minute=60))
    configured.answered(go(configured, 0.0), (header,), 0.1)
    assert configured.requests_per_minute == 60
    generous = throttle(Limits(requests_per_minute=600))
    assert generous.answered(go(generous, 0.0), (header,), 0.1)
    assert generous.requests_per_minute == pytest.approx(120)
    deaf = throttle(Limits(requests_per_minute=600), learns=False)
    assert deaf.answered(go(deaf, 0.0), (header,), 0.1) == []
    assert deaf.requests_per_minute == 600


def test_a_refused_call_gives_back_all_that_it_held() -> None:
    one = throttle(Limits(requests_per_minute=0, tokens_per_minute=1000, reserve_output="max_tokens"), learns=False)
    grant = go(one, 0.0, max_tokens=800)
    (before,) = (figure.used for figure in one.figures(0.0))
    one.refused(grant, Verdict(kind="wait", reason="429", wait=0.0), (), 0.0)
    (after,) = (figure.used for figure in one.figures(0.0))
    assert before > 0.8
    assert after == pytest.approx(0.0, abs=0.01)
    assert one.in_flight == 0


def test_a_call_that_is_never_sent_leaves_no_trace() -> None:
    one = throttle(Limits(requests_per_minute=60), learns=False)
    ask = one.ask(None, Demand(SIZE))
    grant = one.take(ask, SIZE, 5.0, waited=False)
    one.give_back(grant, 5.0)
    one.give_back(grant, 5.0)
    assert one.hold(ask, 5.0) is None
    assert one.in_flight == 0


def test_groups_are_held_up_and_paused_apart_from_each_other() -> None:
    group = ModelGroup("claude", ("claude-*",), Limits(requests_per_minute=60))
    one = throttle(Limits(requests_per_minute=0, groups=(group,)), learns=False)
    grant = go(one, 0.0, "claude-x")
    hold = one.hold(one.ask("claude-y", Demand(SIZE)), 0.0)
    assert hold is not None
    assert hold.group == "claude"
    assert one.hold(one.ask("gpt", Demand(SIZE)), 0.0) is None
    one.refused(grant, Verdict(kind="wait", reason="429", wait=30.0), (), 0.0)
    assert one.paused(1.0, "claude") is not None
    assert one.paused(1.0, "") is None
    assert one.hold(one.ask("gpt", Demand(SIZE)), 1.0) is None


def test_an_operator_s_pause_holds_everybody_until_it_is_lifted() -> None:
    one = throttle(Limits(requests_per_minute=0))
    ask = one.ask(None, Demand(SIZE))
    one.pause(None, "maintenance")
    hold = one.hold(ask, 1.0)
    assert hold is not None
    assert (hold.until, hold.group) == (float("inf"), "")
    assert one.wait_for(1, ask, 1.0) is None
    one.resume()
    assert one.hold(ask, 1.0) is None


def test_cost_is_in_tokens_only_where_tokens_are_limited() -> None:
    by_calls, by_tokens = throttle(Limits()), throttle(Limits(tokens_per_minute=1000))
    ask = by_calls.ask(None, Demand(SIZE, max_tokens=100))
    assert by_calls.cost(ask) == 1.0
    assert by_tokens.cost(ask) > 100


def test_estimates_learn_from_what_calls_really_used() -> None:
    one = throttle(Limits(requests_per_minute=0), learns=False)
    for _ in range(30):
        grant = go(one, 0.0, "m")
        one.answered(grant, (), 0.0)
        one.settle(grant, Usage(input=200, output=10, source="exact"), 0.0, counted=True)
    ask = one.ask("m", Demand(SIZE))
    assert ask.expected_input == pytest.approx(200, rel=0.2)
    assert ask.output_tokens == pytest.approx(10, rel=0.2)
    assert one.error().calls == 30
