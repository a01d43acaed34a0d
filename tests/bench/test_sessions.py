"""The corpus of `make bench-sessions`, in small, and its arithmetic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest

from bench.session_corpus import ALIKE, BEHAVIOURS, Behaviour
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


def found(seed: int, restart: str, corpus: Mapping[str, Behaviour], least: float, equal: Iterable[str] = ()) -> None:
    """Plays a corpus: sessions are found in it as a whole, and for each behaviour but those of equal histories."""
    calls = Run(seed, restart, corpus=corpus).play()
    assert len(calls) >= 500
    assert {one.behaviour for one in calls} == set(corpus)
    assert f1(calls) >= least
    for behaviour in set(corpus).difference(equal):
        assert f1(of_behaviour(calls, behaviour)) >= 0.9, behaviour


@pytest.mark.parametrize("restart", ["none", "lookups", "told"])
def test_sessions_are_found_in_the_corpus(restart: str) -> None:
    found(7, restart, BEHAVIOURS, 0.99, ALIKE)


@pytest.mark.parametrize("restart", ["none", "told"])
def test_sessions_are_found_whatever_habits_clients_have(restart: str) -> None:
    found(9, restart, HABITS, 0.99)


@pytest.mark.parametrize("restart", ["none", "lookups", "told"])
def test_sessions_are_found_of_clients_that_say_much_the_same(restart: str) -> None:
    found(2, restart, STRANGERS, 0.985, EQUAL)


@pytest.mark.parametrize("restart", ["none", "lookups", "told"])
def test_sessions_are_found_of_clients_that_send_something_else_back(restart: str) -> None:
    found(3, restart, REWRITERS, 0.99)


def test_sessions_are_found_with_little_memory() -> None:
    assert f1(Run(8, "none", max_sessions=100).play()) >= 0.98
