"""The corpus of `make bench-sessions`, in small, and its arithmetic."""

from __future__ import annotations

import pytest

from bench.session_corpus import ALIKE, BEHAVIOURS
from bench.session_habits import HABITS
from bench.session_rewriters import REWRITERS
from bench.session_strangers import EQUAL, STRANGERS
from bench.sessions import Labelled, Run, f1, of_behaviour, pairwise


def labelled(*pairs: tuple[int, str]) -> list[Labelled]:
    return [Labelled("x", conversation, session) for conversation, session in pairs]


@pytest.mark.parametrize(
    ("pairs", "precision", "recall"),
    [
        ([(1, "a"), (1, "a"), (2, "b")], 1.0, 1.0),
        ([(1, "a"), (1, "b")], 1.0, 0.0),
        ([(1, "a"), (2, "a")], 0.0, 1.0),
        ([(1, "a"), (1, "a"), (1, "b"), (2, "b")], 0.5, 1 / 3),
    ],
)
def test_pairs_of_calls_are_counted(pairs: list[tuple[int, str]], precision: float, recall: float) -> None:
    assert pairwise(labelled(*pairs)) == pytest.approx((precision, recall))


def test_f1_is_the_harmonic_mean() -> None:
    assert f1(labelled((1, "a"), (1, "a"))) == 1.0
    assert f1(labelled((1, "a"), (1, "b"))) == 0.0
    assert f1(labelled((1, "a"), (1, "a"), (1, "b"), (2, "b"))) == pytest.approx(0.4)


def test_a_behaviour_answers_for_what_it_draws_into_its_sessions() -> None:
    calls = [Labelled("x", 1, "a"), Labelled("y", 2, "a"), Labelled("y", 3, "b")]
    assert of_behaviour(calls, "x") == calls[:2]


@pytest.mark.parametrize("restart", ["none", "lookups", "told"])
def test_sessions_are_found_in_the_corpus(restart: str) -> None:
    calls = Run(7, restart).play()
    assert len(calls) >= 500
    assert {one.behaviour for one in calls} == set(BEHAVIOURS)
    assert f1(calls) >= 0.99
    for behaviour in set(BEHAVIOURS) - ALIKE:
        assert f1(of_behaviour(calls, behaviour)) >= 0.9, behaviour


@pytest.mark.parametrize("restart", ["none", "told"])
def test_sessions_are_found_whatever_habits_clients_have(restart: str) -> None:
    calls = Run(9, restart, corpus=HABITS).play()
    assert len(calls) >= 500
    assert {one.behaviour for one in calls} == set(HABITS)
    assert f1(calls) >= 0.99
    for habit in HABITS:
        assert f1(of_behaviour(calls, habit)) >= 0.9, habit


@pytest.mark.parametrize("restart", ["none", "told"])
def test_sessions_are_found_of_clients_that_say_much_the_same(restart: str) -> None:
    calls = Run(2, restart, corpus=STRANGERS).play()
    assert len(calls) >= 500
    assert {one.behaviour for one in calls} == set(STRANGERS)
    assert f1(calls) >= 0.985
    for stranger in set(STRANGERS) - EQUAL:
        assert f1(of_behaviour(calls, stranger)) >= 0.9, stranger


@pytest.mark.parametrize("restart", ["none", "lookups", "told"])
def test_sessions_are_found_of_clients_that_send_something_else_back(restart: str) -> None:
    calls = Run(3, restart, corpus=REWRITERS).play()
    assert len(calls) >= 500
    assert {one.behaviour for one in calls} == set(REWRITERS)
    assert f1(calls) >= 0.99
    for rewriter in REWRITERS:
        assert f1(of_behaviour(calls, rewriter)) >= 0.9, rewriter


def test_sessions_are_found_with_little_memory() -> None:
    assert f1(Run(8, "none", max_sessions=100).play()) >= 0.98
