"""Which limits a refusal may be about that names none."""

from __future__ import annotations

from llmqd.lane.amounts import Tokens
from llmqd.lane.learn import Learner
from llmqd.providers.limit_values import Dimension, Observed
from llmqd.providers.refusals import Verdict

UNNAMED = Verdict(kind="wait", reason="429", wait=1.0)
SHORT, LONG = Tokens(100, 80, 20), Tokens(1500, 300, 1200)


def send(learner: Learner, begin: float, seconds: float, tokens: Tokens, pace: float = 5.0) -> float:
    """So many calls a second that are all let through; the time of the last."""
    now = begin
    for index in range(int(seconds * pace)):
        now = begin + index / pace
        learner.granted(now, waited=True, tokens=tokens)
        learner.began(now, now + 0.1)
    return now


def refuse(learner: Learner, now: float, tokens: Tokens) -> tuple[Dimension, ...]:
    """What a call is thought to have met that is refused now."""
    learner.granted(now, waited=True, tokens=tokens)
    return learner.refused(UNNAMED, now, now + 0.1, tokens=tokens)


def settled() -> tuple[Learner, float]:
    """A learner that has used its 300 calls a minute for five minutes, with short answers; and the time."""
    learner = Learner({"requests": 300})
    return learner, send(learner, 1.0, 300.0, SHORT)


def test_calls_that_passed_as_fast_before_are_cleared_where_tokens_stand_higher_than_ever() -> None:
    learner, now = settled()
    now = send(learner, now + 0.2, 50.0, LONG)
    assert refuse(learner, now + 0.2, LONG) == ("tokens", "input_tokens", "output_tokens")
    known = {one.dimension: one.amount for one in learner.limits(now)}
    assert list(known) == ["tokens", "input_tokens", "output_tokens"]
    assert 0 < known["output_tokens"] < 300 * LONG.output


def test_while_calls_are_of_the_same_kind_as_ever_calls_are_the_suspects() -> None:
    learner, now = settled()
    assert refuse(learner, now + 0.2, SHORT) == ("requests",)


def test_a_rate_of_calls_that_was_never_used_before_is_the_first_suspect() -> None:
    learner = Learner()
    now = send(learner, 0.0, 300.0, SHORT, pace=1.0)
    now = send(learner, now + 0.1, 30.0, LONG, pace=30.0)
    assert refuse(learner, now + 0.1, LONG) == ("requests",)


def test_the_refused_probe_of_a_wall_is_blamed_on_the_same() -> None:
    learner, now = settled()
    now = send(learner, now + 0.2, 50.0, LONG)
    first = refuse(learner, now + 0.2, LONG)
    assert refuse(learner, now + 2.0, SHORT) == first


def test_tokens_are_not_blamed_again_and_again_in_vain() -> None:
    learner, now = settled()
    now = send(learner, now + 0.2, 50.0, LONG)
    blamed = []
    for _ in range(4):
        blamed.append(refuse(learner, now + 0.2, LONG))
        now = send(learner, now + 1.0, 5.0, LONG)
    assert blamed[0] == blamed[1] == blamed[2] != ("requests",)
    assert blamed[3] == ("requests",)


def test_where_headers_name_limits_nothing_is_guessed() -> None:
    learner, now = settled()
    learner.answered([Observed(dimension="requests", window=60, limit=300, header="x-limit")], now, now)
    now = send(learner, now + 0.2, 50.0, LONG)
    assert refuse(learner, now + 0.2, LONG) == ("requests",)


def test_a_limit_that_is_named_is_the_one() -> None:
    learner, now = settled()
    now = send(learner, now + 0.2, 50.0, LONG)
    named = Verdict(kind="wait", reason="429", wait=1.0, dimension="input_tokens")
    assert learner.refused(named, now, now + 0.1, tokens=LONG) == ("input_tokens",)
