"""A throttle that keeps to a part of its limits, and one that goes on where another one of the same lane left off."""

from __future__ import annotations

import pytest

from llmqd.config.limits import Limits
from llmqd.lane.amounts import Ask
from llmqd.lane.estimate import BodySize
from llmqd.lane.throttle import Throttle
from llmqd.providers.refusals import Verdict
from llmqd.usage import LaneUsage


def throttle(*, learns: bool = False, **limits: object) -> Throttle:
    return Throttle(Limits(**limits), learns=learns, noise=lambda: 0.0, wall_offset=0.0)  # type: ignore[arg-type]


def through(one: Throttle, until: float, start: float = 0.0) -> list[float]:
    """When calls go that always wait, each sent at once and answered at once."""
    now, went = start, []
    while now < until:
        hold = one.hold(Ask(), now)
        if hold is not None:
            now = max(hold.until, now + 1e-6)
            continue
        grant = one.take(Ask(), BodySize(0), now, waited=True)
        now = max(one.poised(grant, now), now)
        one.sent(grant, now)
        one.answered(grant, (), now)
        one.settle(grant, None, now, counted=True)
        went.append(now)
    return went


def test_a_quarter_of_a_limit_is_a_quarter_of_its_rate() -> None:
    one = throttle(requests_per_minute=600)
    one.share(0.25, 0.0)
    assert len(through(one, 60.0)) == pytest.approx(150, abs=2)
    one.share(1.0, 60.0)
    assert len(through(one, 120.0, 60.0)) == pytest.approx(600, abs=5)


def test_of_places_at_the_same_time_whole_ones_are_left_and_at_least_one() -> None:
    one = throttle(requests_per_minute=0, max_concurrent=10)
    for part, places in ((0.25, 2), (0.01, 1), (1.0, 10)):
        one.share(part, 0.0)
        (figure,) = one.figures(0.0)
        assert figure.limit == places


def test_what_is_learned_counts_in_parts_too() -> None:
    one = throttle(learns=True, requests_per_minute=60, assumed=True)
    known = throttle(learns=True, requests_per_minute=60, assumed=True)
    grant = known.take(Ask(), BodySize(0), 0.0, waited=True)
    known.refused(
        grant, Verdict(kind="wait", reason="no", wait=1.0, dimension="requests", window=60.0, limit=30.0), (), 0.1
    )
    one.share(0.5, 0.2)
    one.take_over(known.known(0.2), 0.2)
    assert one.requests_per_minute == pytest.approx(known.requests_per_minute / 2)


def test_a_pause_and_an_operators_pause_go_on_elsewhere() -> None:
    before, after = throttle(learns=True), throttle(learns=True)
    grant = before.take(Ask(), BodySize(0), 0.0, waited=False)
    before.refused(grant, Verdict(kind="wait", reason="enough", wait=30.0), (), 1.0)
    after.take_over(before.known(2.0), 2.0)
    pause = after.paused(2.0)
    assert pause is not None
    assert pause.until == pytest.approx(31.0)
    assert pause.reason == "enough"
    before.pause(None, "stop")
    after.take_over(before.known(3.0), 3.0)
    assert after.hold(Ask(), 1000.0) is not None


def test_an_adopted_call_holds_its_place_but_is_not_counted_again() -> None:
    one = throttle(requests_per_minute=0, requests_per_day=10, max_concurrent=1)
    one.count([LaneUsage("", "", 0.0, 1, 0, 0, 0)], 1.0)
    grant = one.adopt(Ask(), BodySize(0), 0.0, 1.0)
    assert one.hold(Ask(), 1.0) is not None
    one.settle(grant, None, 2.0, counted=True)
    assert one.hold(Ask(), 2.0) is None
    used = {figure.dimension: figure.used for figure in one.figures(2.0)}
    assert used == {"requests_per_day": pytest.approx(0.1), "max_concurrent": 0.0}
