"""Limits, pauses and learning together: what one lane decides."""

from __future__ import annotations

import pytest

from llmqd.config.limits import Limits, ModelGroup
from llmqd.lane.estimate import BodySize
from llmqd.lane.throttle import Demand, Grant, Throttle
from llmqd.providers.limit_values import Observed
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


def test_nothing_holds_anybody_without_limits_pauses_and_anything_to_learn() -> None:
    free = throttle(Limits(requests_per_minute=0), learns=False)
    assert free.unlimited(0.0)
    assert not throttle(Limits(requests_per_minute=0)).unlimited(0.0)
    for limits in (Limits(600), Limits(0, max_concurrent=5), Limits(0, tokens_per_minute=5)):
        assert not throttle(limits, learns=False).unlimited(0.0)
    free.pause(5.0, "by hand")
    assert not free.unlimited(1.0)
    assert free.unlimited(5.0)
    free.refused(go(free, 6.0), Verdict(kind="wait", reason="429", wait=1.0), (), 6.0)
    assert not free.unlimited(6.5)
    assert not free.unlimited(7.5), "a probe goes first"


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


def test_a_day_that_a_header_tells_of_counts_what_is_gone_of_it() -> None:
    one = throttle(Limits(requests_per_minute=0))
    header = Observed(dimension="requests", window=86_400.0, limit=1000.0, remaining=400.0, header="x-limit")
    one.answered(go(one, 10.0), (header,), 10.1)
    (figure,) = (each for each in one.figures(10.2) if each.dimension == "requests_per_day")
    assert figure.limit == 1000
    assert figure.used == pytest.approx(0.6)
    one.answered(go(one, 11.0), (header,), 11.1)
    (figure,) = (each for each in one.figures(11.2) if each.dimension == "requests_per_day")
    assert figure.used == pytest.approx(0.601)


def test_a_day_begins_again_when_the_header_says_not_at_midnight() -> None:
    """Two of fifty are left, and an hour of the provider's day."""
    one = throttle(Limits(requests_per_minute=0))

    def tell(remaining: float, resets_in: float, sent_at: float) -> None:
        seen = Observed(
            dimension="requests", window=86_400, limit=50, remaining=remaining, resets_in=resets_in, continuous=False
        )
        one.answered(go(one, sent_at), (seen,), sent_at + 0.1)

    tell(2, 3600.0, 10.0)
    tell(1, 3599.2, 11.0)
    tell(0, 3598.9, 12.0)
    hold = one.hold(one.ask("m", Demand(SIZE)), 13.0)
    assert hold is not None
    assert hold.until == pytest.approx(3610, abs=3)
    tell(49, 86_399.0, 3615.0)
    (figure,) = (each for each in one.figures(3616.0) if each.dimension == "requests_per_day")
    assert figure.used == pytest.approx(1 / 50)


def test_a_day_that_refills_holds_nobody_until_midnight() -> None:
    """OpenAI's and Groq's days come back bit by bit: their reset is when all of it is back."""
    one = throttle(Limits(requests_per_minute=0))
    seen = Observed(dimension="requests", window=86_400, limit=200, remaining=0, resets_in=86_400)
    one.answered(go(one, 10.0), (seen,), 10.1)
    hold = one.hold(one.ask("m", Demand(SIZE)), 11.0)
    assert hold is not None
    assert hold.until == pytest.approx(10 + 432 * 1.005, abs=1)


REFUSED = Verdict(kind="wait", reason="429", wait=2.0)
HEADER = Observed(dimension="requests", window=60.0, limit=120.0, remaining=119.0, header="x-limit")


def lowered_to_120(limits: Limits) -> Throttle:
    one = throttle(limits)
    one.answered(go(one, 0.0), (HEADER,), 0.1)
    assert one.requests_per_minute == 120
    return one


def test_a_reload_that_turns_learning_off_forgets_what_was_learned_and_learns_no_more() -> None:
    limits = Limits(requests_per_minute=600)
    one = lowered_to_120(limits)
    one.retune(limits, learns=False, now=1.0)
    assert one.requests_per_minute == 600
    assert one.learned(1.0) == []
    assert one.answered(go(one, 2.0), (HEADER,), 2.1) == []
    assert one.requests_per_minute == 600


def test_a_reload_that_turns_learning_on_begins_anew() -> None:
    limits = Limits(requests_per_minute=600)
    one = lowered_to_120(limits)
    in_flight = go(one, 0.6)
    one.retune(limits, learns=False, now=1.0)
    one.retune(limits, learns=True, now=2.0)
    one.answered(in_flight, (), 2.1)
    assert (one.requests_per_minute, one.learned(2.1)) == (600, [])
    one.answered(go(one, 3.0), (HEADER,), 3.1)
    assert one.requests_per_minute == 120


def test_a_reload_of_other_limits_keeps_what_was_learned_up_to_what_is_configured_now() -> None:
    one = lowered_to_120(Limits(requests_per_minute=600))
    one.retune(Limits(requests_per_minute=900, max_concurrent=5), learns=True, now=1.0)
    assert one.requests_per_minute == 120
    one.retune(Limits(requests_per_minute=90), learns=True, now=2.0)
    assert (one.requests_per_minute, one.learned(2.0)) == (90, [])
    one.retune(Limits(requests_per_minute=600), learns=True, now=3.0)
    assert one.requests_per_minute <= 120


def test_a_reload_of_a_limit_that_nothing_was_learned_of_applies_it() -> None:
    one = throttle(Limits(requests_per_minute=600))
    one.answered(go(one, 0.0), (), 0.1)
    one.retune(Limits(requests_per_minute=900), learns=True, now=1.0)
    assert (one.requests_per_minute, one.learned(1.0)) == (900, [])
    one.retune(Limits(assumed=True), learns=True, now=2.0)
    assert one.requests_per_minute == 60
    one.retune(Limits(requests_per_minute=30), learns=True, now=3.0)
    assert one.requests_per_minute == 30


@pytest.mark.parametrize("learns", [True, False])
def test_a_reload_ends_no_pause_and_no_probe(learns: bool) -> None:
    one = throttle(Limits(requests_per_minute=600))
    refused = go(one, 0.0)
    one.refused(refused, Verdict(kind="wait", reason="429", wait=30.0), (), 0.1)
    one.retune(Limits(requests_per_minute=900), learns=learns, now=1.0)
    pause = one.paused(1.0)
    assert pause is not None
    assert pause.until == pytest.approx(30.1)
    assert one.pauses == 1
    go(one, 31.0)
    hold = one.hold(one.ask(None, Demand(SIZE)), 31.5)
    assert hold is not None


def test_a_pause_of_a_group_lasts_beyond_the_end_of_the_group() -> None:
    group = ModelGroup("claude", ("claude-*",), Limits(requests_per_minute=60))
    one = throttle(Limits(requests_per_minute=0, groups=(group,)))
    one.refused(go(one, 0.0, "claude-x"), Verdict(kind="wait", reason="429", wait=30.0), (), 0.1)
    one.retune(Limits(requests_per_minute=0), learns=True, now=1.0)
    assert one.paused(1.0) is not None
    one.retune(Limits(requests_per_minute=0), learns=True, now=31.0)
    assert one.paused(31.0) is None
    assert one.pauses == 1


def test_what_is_learned_no_more_is_taken_out_of_force() -> None:
    one = throttle(Limits(requests_per_minute=0, max_concurrent=20), learns=True)
    grants = [go(one, number * 0.1) for number in range(10)]
    one.refused(grants.pop(), Verdict(kind="slower", reason="busy", wait=0.0, dimension="concurrency"), (), 1.0)
    assert [(each.dimension, each.limit) for each in one.figures(1.0)] == [("max_concurrent", 6)]
    for grant in grants:
        one.answered(grant, (), 1.5)
        one.settle(grant, None, 1.5, counted=True)
    one.retune(Limits(requests_per_minute=0, max_concurrent=5), learns=True, now=2.0)
    assert [(each.limit, each.learned) for each in one.figures(2.0)] == [(5, None)]


def test_a_change_of_a_limit_tells_what_was_in_force_before() -> None:
    one = throttle(Limits(requests_per_minute=600))
    (change,) = one.answered(go(one, 0.0), (HEADER,), 0.1)
    assert (change.learned.amount, change.before) == (120, 600)
    free = throttle(Limits(requests_per_minute=0))
    (change,) = free.answered(go(free, 0.0), (HEADER,), 0.1)
    assert (change.learned.amount, change.before) == (120, 0)
    assert free.answered(go(free, 1.0), (HEADER,), 1.1) == []


def test_a_configured_limit_that_was_lowered_by_chance_is_back_in_force_in_the_end() -> None:
    one = throttle(Limits(requests_per_minute=600))
    now, refused = 0.0, False
    while now < 900:
        ask = one.ask(None, Demand(SIZE))
        while (hold := one.hold(ask, now)) is not None:
            now = hold.until
        grant = go(one, now)
        if now > 100 and not refused:
            refused = True
            one.refused(grant, REFUSED, (), now)
            assert one.requests_per_minute < 600
            continue
        one.answered(grant, (), now)
        one.settle(grant, None, now, counted=True)
    assert (one.requests_per_minute, one.learned(now)) == (600, [])
