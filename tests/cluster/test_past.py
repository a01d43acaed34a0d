"""What went in the last minute: steps that another daemon counts on from."""

from __future__ import annotations

from llmqd.cluster.past import KEPT, Past, usages
from llmqd.usage import Usage


def test_calls_of_a_moment_are_one_step_for_each_model() -> None:
    past = Past(1.0)
    for at, model in ((10.0, "a"), (10.2, "b"), (10.4, "a"), (11.1, "a")):
        past.add(model, at, (100, 10))
    assert past.export(0.0, 5.0) == [
        ["a", 15.4, 2.0, 200.0, 20.0, 0.0],
        ["b", 15.2, 1.0, 100.0, 10.0, 0.0],
        ["a", 16.1, 1.0, 100.0, 10.0, 0.0],
    ]


def test_what_was_used_takes_the_place_of_what_was_expected() -> None:
    past = Past(1.0)
    past.add("a", 10.0, (100, 10))
    past.settle("a", 10.0, (100, 10), Usage(input=80, output=30, cached=7, source="exact"), counted=True)
    past.settle("a", 10.0, (100, 10), None, counted=True)
    assert past.export(0.0) == [["a", 10.0, 1.0, 80.0, 30.0, 7.0]]


def test_what_does_not_count_is_as_if_it_had_never_gone() -> None:
    past = Past()
    past.add("a", 10.0, (100, 10))
    past.settle("a", 10.0, (100, 10), None, counted=False)
    assert usages(past.export(0.0)) == []


def test_what_went_alone_is_told_once() -> None:
    past = Past()
    past.add("a", 10.0, (1, 1))
    past.add("a", 10.1, (1, 1), alone=True)
    assert [step[1] for step in past.export(0.0, alone=True)] == [10.1]
    past.told()
    assert past.export(0.0, alone=True) == []
    assert len(past.export(0.0)) == 2


def test_no_more_is_kept_than_the_longest_window_needs() -> None:
    past = Past()
    for second in range(200):
        past.add("a", float(second), (0, 0))
    assert min(step.last for step in past) >= 199 - KEPT


def test_a_share_of_it_is_a_share_of_everything() -> None:
    (half,) = usages([["a", 10.0, 3, 200, 20, 4]], 0.5)
    assert (half.calls, half.input, half.output, half.cached, half.last) == (1.5, 100, 10, 2, 10.0)
