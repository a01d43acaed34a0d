from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from llmqd.config.store import Store
from llmqd.store.retention import Extent, Pace, Step, Terms, next_step

DAY = 86_400.0
NOW = 1_000 * DAY
PAGE = 4096


def extent(used_mb: float, free_pages: int = 0, **oldest: float) -> Extent:
    used = int(used_mb * 2**20 / PAGE)
    ages: dict[str, Any] = {name: NOW - days * DAY for name, days in oldest.items()}
    return Extent(PAGE, used + free_pages, free_pages, **ages)


TERMS = Terms(calls=90 * DAY, texts=30 * DAY, max_size=800 << 20)


def what(step: Step | None) -> str | None:
    return step.what if step else None


def test_what_is_young_and_small_stays() -> None:
    assert next_step(TERMS, extent(100, text=1, call=1, mark=1, session=1), NOW) is None
    assert next_step(TERMS, extent(0), NOW) is None


def test_texts_go_by_their_own_age_and_calls_by_theirs() -> None:
    step = next_step(TERMS, extent(1, text=31, call=60, mark=60), NOW)
    assert step is not None
    assert (step.what, step.before, step.for_size) == ("texts", NOW - 30 * DAY, False)
    step = next_step(TERMS, extent(1, text=1, call=91, mark=91), NOW)
    assert step is not None
    assert (step.what, step.before) == ("calls", NOW - 90 * DAY)


def test_marks_and_nodes_go_with_the_calls_that_they_belong_to() -> None:
    assert what(next_step(TERMS, extent(1, text=1, call=10, mark=11, session=11), NOW)) == "marks"
    assert what(next_step(TERMS, extent(1, text=1, call=10, mark=9, session=11), NOW)) == "nodes"
    assert what(next_step(TERMS, extent(1, mark=91, session=91), NOW)) == "marks"


def test_without_bounds_nothing_goes_whatever_its_age_and_size() -> None:
    assert next_step(Terms(), extent(10**6, text=9999, call=9999), NOW) is None


def test_for_size_old_texts_go_first_then_old_calls_and_the_last_day_last_of_all() -> None:
    order = [
        extent(900, text=5, call=50),
        extent(900, text=0.5, call=50),
        extent(900, text=0.5, call=0.9),
        extent(900, call=0.9),
    ]
    steps = [next_step(TERMS, one, NOW) for one in order]
    assert [what(step) for step in steps] == ["texts", "calls", "texts", "calls"]
    assert all(step is not None and step.for_size for step in steps)


def test_what_the_index_holds_of_texts_that_are_gone_goes_before_a_call() -> None:
    left = replace(extent(900, call=0.9), words=True)
    step = next_step(TERMS, left, NOW)
    assert step is not None
    assert (step.what, step.for_size) == ("words", True)
    assert what(next_step(TERMS, replace(left, words=False), NOW)) == "calls"
    assert what(next_step(TERMS, replace(extent(900, text=0.5, call=0.9), words=True), NOW)) == "texts"
    assert next_step(TERMS, replace(extent(1, call=0.9), words=True), NOW) is None


def test_when_no_call_is_left_marks_and_nodes_go_for_size_too_and_then_nothing_is_left() -> None:
    assert what(next_step(TERMS, extent(900, mark=1, session=1), NOW)) == "marks"
    assert what(next_step(TERMS, extent(900, session=1), NOW)) == "nodes"
    assert next_step(TERMS, extent(900), NOW) is None


def test_no_more_is_asked_for_than_the_excess_needs() -> None:
    most = TERMS.most
    assert most is not None
    step = next_step(TERMS, extent(most / 2**20 + 0.1, text=5, call=5), NOW)
    assert step is not None
    assert 16 <= step.count <= 1000


def test_a_file_that_is_too_large_but_empty_inside_is_cut_at_once_and_a_smaller_one_when_it_pays() -> None:
    step = next_step(TERMS, extent(500, free_pages=50_000, text=1, call=1), NOW)
    assert step is not None
    assert (step.what, step.for_size) == ("pages", True)
    step = next_step(TERMS, extent(100, free_pages=5_000, text=1, call=1), NOW)
    assert step is not None
    assert (step.what, step.for_size) == ("pages", False)
    assert next_step(TERMS, extent(100, free_pages=1_000, text=1, call=1), NOW) is None


@pytest.mark.parametrize(
    ("settings", "texts"),
    [
        (Store(), 90 * DAY),
        (Store(texts_retention=7 * DAY), 7 * DAY),
        (Store(texts_retention=700 * DAY), 90 * DAY),
        (Store(texts_retention=0.0), 90 * DAY),
        (Store(retention=0.0, texts_retention=7 * DAY), 7 * DAY),
        (Store(retention=0.0), 0.0),
    ],
)
def test_texts_never_outlive_the_calls(settings: Store, texts: float) -> None:
    assert Terms.of(settings).texts == texts


def test_the_cap_holds_the_write_ahead_log_and_the_work_on_the_index_too_and_memory_has_one_of_its_own() -> None:
    terms = Terms(max_size=16 << 20)
    assert (terms.wal, terms.most) == (2 << 20, 10 << 20)
    large = Terms(max_size=10 << 30)
    assert (large.wal, large.most) == (64 << 20, (10 << 30) - (64 << 20) - (512 << 20))
    assert Terms.of(Store(backend="memory")).max_size == 256 << 20
    assert Terms.of(Store(backend="memory", max_size=0)).max_size == 256 << 20
    assert Terms.of(Store(backend="memory", max_size=1 << 20)).max_size == 1 << 20


def test_the_pace_falls_when_steps_are_slow_and_grows_only_when_whole_ones_are_quick() -> None:
    pace = Pace(10, 1000)
    began = pace.count
    pace.took(began, 0.001)
    assert pace.count == 2 * began
    pace.took(1, 0.001)
    assert pace.count == 2 * began
    for _ in range(20):
        pace.took(pace.count, 0.5)
    assert pace.count == 10
    for _ in range(20):
        pace.took(pace.count, 0.001)
    assert pace.count == 1000
