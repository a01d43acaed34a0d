from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmqd.store.window import Window

hours = st.integers(0, 24 * 40).map(lambda hour: 3600 * hour)


@given(hours, hours)
def test_the_pieces_of_a_window_are_all_of_it_once(one: int, other: int) -> None:
    window = Window(min(one, other), max(one, other))
    pieces = [*window.pieces()]
    covered = [start for step, first, last in pieces for start in range(first, last, step)]
    length = sum(step for step, first, last in pieces for _ in range(first, last, step))
    assert length == window.end - window.start
    assert covered == sorted(set(covered))
    assert all(
        step == 3600 or start % 86_400 == 0 for step, first, last in pieces for start in range(first, last, step)
    )
    assert len(pieces) <= 3


@given(st.floats(0, 4e9), st.floats(0, 4e9), st.sampled_from([3600, 86_400]))
def test_a_window_around_a_time_holds_all_of_it_and_less_than_a_step_more(one: float, other: float, step: int) -> None:
    since, until = sorted((one, other))
    window = Window.around(since, until, step)
    assert window.start <= since < window.start + step
    assert window.end >= until > window.end - step or window.end == window.start
    assert window.start % step == window.end % step == 0
