"""What a lane learns of its limits, alone and in a closed loop with strict upstreams."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.lane.amounts import Tokens
from llmqd.lane.learn import Learned, Learner
from llmqd.providers.limit_values import Dimension, Observed
from llmqd.providers.refusals import Kind, Verdict

HEADER = Observed(dimension="requests", window=60, limit=600, header="x-ratelimit-limit-requests")


def limits(learner: Learner, now: float) -> dict[str, Learned]:
    return {one.setting or one.dimension: one for one in learner.limits(now)}


def refusal(kind: Kind = "wait", wait: float | None = 1.0, dimension: Dimension | None = None) -> Verdict:
    return Verdict(kind=kind, reason="429", wait=wait, dimension=dimension)


def test_a_lane_that_knows_nothing_starts_with_one_call_a_second() -> None:
    known = limits(Learner(), 0.0)
    assert known["requests_per_minute"].amount == 60
    assert known["requests_per_minute"].source == "start"
    assert list(known) == ["requests_per_minute"]


def test_a_rate_grows_only_while_calls_have_to_wait_for_it() -> None:
    idle, busy = Learner(), Learner()
    for second in range(60):
        idle.granted(float(second), waited=False)
        busy.granted(float(second), waited=True)
    assert limits(idle, 60.0)["requests_per_minute"].amount == 60
    assert limits(busy, 60.0)["requests_per_minute"].amount > 60


def test_a_header_says_where_a_limit_comes_from_and_since_when() -> None:
    learner = Learner()
    learner.granted(5.0, waited=False)
    learner.answered([HEADER], 5.0, 5.5)
    learned = limits(learner, 6.0)["requests_per_minute"]
    assert (learned.amount, learned.source, learned.since) == (600, "header x-ratelimit-limit-requests", 5.5)


def test_of_several_limits_on_one_dimension_the_tightest_holds() -> None:
    tokens = [Observed(dimension="tokens", window=60, limit=limit) for limit in (40_000, 20_000, 30_000)]
    learner = Learner()
    learner.answered(tokens, 0.0, 0.1)
    assert limits(learner, 1.0)["tokens_per_minute"].amount == 20_000


def test_limits_per_second_count_as_sixty_times_as_much_a_minute() -> None:
    learner = Learner()
    learner.answered([Observed(dimension="requests", window=1, limit=5)], 0.0, 0.1)
    assert limits(learner, 1.0)["requests_per_minute"].amount == 300


def test_limits_per_day_and_shares_of_a_plan_are_kept_apart_from_the_rate() -> None:
    learner = Learner()
    day = Observed(
        dimension="requests", window=86_400, limit=14_400, remaining=14_370, header="x-ratelimit-limit-requests"
    )
    plan = Observed(dimension="plan", window=18_000, limit=1.0, remaining=0.08)
    learner.answered([day, plan], 0.0, 0.1)
    known = limits(learner, 1.0)
    assert (known["requests_per_day"].amount, known["requests_per_day"].remaining) == (14_400, 14_370)
    assert known["plan"].remaining == 0.08
    assert known["requests_per_minute"].amount == 60


def told_day(learner: Learner, resets_in: float, now: float, continuous: bool = False) -> Learned:
    """What is known of a day's limit after a header of it."""
    day = Observed(dimension="requests", window=86_400, limit=50, resets_in=resets_in, continuous=continuous)
    learner.answered([day], now, now)
    return limits(learner, now)["requests_per_day"]


def test_the_end_of_a_day_that_is_told_in_whole_seconds_stays_the_same() -> None:
    learner = Learner()
    assert told_day(learner, 100.0, 0.4).resets_at == 100.4
    changes = learner.changes
    assert told_day(learner, 99.0, 1.0).resets_at == 100.4
    assert told_day(learner, 86_400.0, 100.0).resets_at == 100.4
    assert learner.changes == changes
    assert told_day(learner, 50.0, 51.0).resets_at == pytest.approx(101.0)
    assert told_day(learner, 500.0, 51.0).resets_at == pytest.approx(551.0)
    assert learner.changes == changes + 2


def test_a_day_that_comes_back_bit_by_bit_has_no_end() -> None:
    known = told_day(Learner(), 692.3, 0.0, continuous=True)
    assert (known.refills, known.resets_at) == (True, None)


def test_limits_of_ever_other_windows_are_not_all_kept() -> None:
    learner = Learner()
    for window in range(100, 1000):
        learner.answered([Observed(dimension="requests", window=window, limit=5)], 0.0, 0.1)
    kept = [each.window for each in learner.limits(1.0) if each.window > 60]
    assert len(kept) < 50
    assert kept[-1] == 999


def test_what_remains_is_less_what_was_sent_since() -> None:
    learner = Learner({"requests": 600})
    for now in (0.0, 0.1, 0.2, 0.3):
        learner.granted(now, waited=False)
    fixed = Observed(dimension="requests", window=60, limit=500, remaining=3, resets_in=20, continuous=False)
    learner.answered([fixed], 0.0, 0.3)
    assert limits(learner, 0.3)["requests_per_minute"].remaining == 0
    assert learner.ready_at(0.3) == pytest.approx(20.3)


def test_nothing_left_of_a_limit_that_refills_holds_for_one_share_of_it() -> None:
    learner = Learner()
    learner.granted(0.0, waited=False)
    learner.answered([Observed(dimension="requests", window=60, limit=60, remaining=0, resets_in=60)], 0.0, 0.1)
    assert learner.ready_at(0.1) == pytest.approx(1.0)


def test_enough_left_holds_nobody() -> None:
    learner = Learner()
    learner.granted(0.0, waited=False)
    learner.answered([Observed(dimension="requests", window=60, limit=60, remaining=2, resets_in=58)], 0.0, 0.1)
    assert learner.ready_at(0.1) == 0.1


def test_refusals_of_calls_that_were_on_their_way_together_count_once() -> None:
    learner = Learner({"requests": 6000})
    sent = [100 + index * 0.01 for index in range(500)]
    for now in sent:
        learner.granted(now, waited=True)
    learner.refused(refusal(), sent[-20], 105.0)
    once = limits(learner, 105.0)["requests_per_minute"]
    for at in sent[-19:]:
        learner.refused(refusal(), at, 105.1)
    assert limits(learner, 105.1)["requests_per_minute"] == once
    assert 5000 < once.amount < 6000
    assert once.source == "429 with Retry-After"


@pytest.mark.parametrize("kind", ["permanent", "retry", "pass"])
def test_other_failures_teach_nothing_of_rates(kind: Kind) -> None:
    learner = Learner({"requests": 600})
    learner.granted(0.0, waited=True)
    learner.refused(refusal(kind), 0.0, 0.1)
    assert learner.limits(1.0) == ()


def test_a_limit_that_a_refusal_names_is_used() -> None:
    learner = Learner()
    learner.granted(0.0, waited=True, tokens=Tokens(4351))
    named = Verdict(kind="wait", reason="", wait=5.3, dimension="tokens", window=60, limit=15_000)
    learner.refused(named, 0.0, 0.1, tokens=Tokens(4351))
    learned = limits(learner, 1.0)["tokens_per_minute"]
    assert (learned.amount, learned.source) == (15_000, "text of a 429: 15000")


def test_a_refusal_for_tokens_lowers_tokens_to_what_the_last_minute_held() -> None:
    learner = Learner({"requests": 600})
    for now in range(50):
        learner.granted(float(now), waited=True, tokens=Tokens(input=1000))
    learner.refused(refusal(dimension="input_tokens"), 49.0, 49.5, tokens=Tokens(input=1000))
    known = limits(learner, 50.0)
    assert list(known) == ["input_tokens_per_minute"]
    assert known["input_tokens_per_minute"].amount == pytest.approx(0.97 * 49_000)


def test_a_first_call_that_is_refused_for_tokens_does_not_close_the_lane() -> None:
    learner = Learner({"requests": 600})
    learner.granted(0.0, waited=False, tokens=Tokens(8000))
    learner.refused(refusal(dimension="tokens"), 0.0, 0.1, tokens=Tokens(8000))
    assert learner.limits(1.0) == ()


def test_settled_tokens_correct_what_the_last_minute_held() -> None:
    learner = Learner({"requests": 600})
    for now in range(50):
        learner.granted(float(now), waited=True, tokens=Tokens(1000))
        learner.settled(Tokens(1000), Tokens(500), float(now))
    learner.granted(49.4, waited=True, tokens=Tokens(1000))
    learner.refused(refusal(dimension="tokens"), 49.4, 49.5, tokens=Tokens(1000))
    assert limits(learner, 50.0)["tokens_per_minute"].amount == pytest.approx(0.97 * 25_000)


def test_too_many_in_flight_lowers_calls_in_flight_once_and_tries_more_later() -> None:
    learner = Learner({"requests": 600})
    busy = refusal("slower", None, "concurrency")
    for now in (0.0, 0.1, 0.2):
        learner.granted(now, waited=True, in_flight=20)
    for now in (1.0, 1.1, 1.2):
        learner.refused(busy, 0.0, now, in_flight=20)
    assert limits(learner, 2.0)["max_concurrent"].amount == 15
    assert list(limits(learner, 2.0)) == ["max_concurrent"]
    learner.granted(40.0, waited=True, in_flight=15)
    assert limits(learner, 41.0)["max_concurrent"].amount == 16
    learner.granted(41.0, waited=True, in_flight=16)
    assert limits(learner, 42.0)["max_concurrent"].amount == 16


def test_calls_in_flight_are_never_lowered_below_one() -> None:
    learner = Learner()
    for now in (0.0, 10.0, 20.0, 30.0):
        learner.granted(now, waited=True)
        learner.refused(refusal("slower", None, "concurrency"), now, now + 1, in_flight=1)
    assert limits(learner, 31.0)["max_concurrent"].amount == 1


def test_a_provider_that_asks_to_slow_down_gets_less_than_after_a_plain_refusal() -> None:
    amounts = []
    for kind in ("wait", "slower"):
        learner = Learner({"requests": 600})
        for index in range(600):
            learner.granted(index * 0.1, waited=True)
        learner.refused(Verdict(kind=kind, reason="429", wait=1.0), 59.9, 60.0)
        amounts.append(limits(learner, 60.0)["requests_per_minute"].amount)
    assert amounts[1] == pytest.approx(0.8 * amounts[0])


EVENTS = st.lists(
    st.tuples(
        st.floats(0, 30),
        st.sampled_from(["granted", "waited", "refused", "slower", "header", "unsent", "nothing left"]),
        st.sampled_from([None, 0.0, 0.5, 1.0, 7.0, 30.0, 59.0, 400.0]),
    ),
    max_size=120,
)


@given(EVENTS, st.sampled_from([0.0, 0.5, 60.0, 6000.0]))
def test_whatever_happens_limits_stay_positive_and_below_what_is_configured(
    events: list[tuple[float, str, float | None]], configured: float
) -> None:
    learner = Learner({"requests": configured})
    now, sent = 0.0, [0.0]
    learner.granted(0.0, waited=False)
    for gap, what, wait in events:
        now += gap
        if what in ("granted", "waited"):
            learner.granted(now, waited=what == "waited", tokens=Tokens(10.0))
            sent.append(now)
        elif what in ("refused", "slower"):
            kind: Kind = "wait" if what == "refused" else "slower"
            learner.refused(refusal(kind, wait), sent[-1], now, tokens=Tokens(10.0))
        elif what == "unsent":
            learner.unsent(sent[-1], Tokens(10.0))
        else:
            left = 0.0 if what == "nothing left" else None
            seen = Observed(dimension="requests", window=60, limit=1 + gap * 100, remaining=left, resets_in=wait)
            learner.answered([seen], sent[-1], now)
        for one in learner.limits(now):
            assert 0 < one.amount < float("inf")
            assert not configured or one.setting != "requests_per_minute" or one.amount < configured
        assert now <= learner.ready_at(now) <= now + 64
