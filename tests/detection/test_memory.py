"""What is remembered of sessions, and that it never grows beyond its bounds."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from llmqd.config.sessions import Sessions
from llmqd.detection.memory import Asked, Memory
from tests.detection.talking import Program, model, user


def ids(memory: Memory, mark: int) -> list[str]:
    return [session.id for session in memory.holders(mark)]


def test_a_mark_is_held_in_the_order_in_which_it_was_got() -> None:
    memory = Memory(10, 100)
    for name in ("a", "b", "c", "a"):
        memory.hold(memory.use(name, 1.0), 17, 1.0)
    assert ids(memory, 17) == ["a", "b", "c"]
    assert ids(memory, 18) == []


def test_the_session_that_was_used_longest_ago_goes_first() -> None:
    memory = Memory(2, 100)
    for now, name in enumerate(("a", "b", "a", "c")):
        memory.hold(memory.use(name, now), 17, now)
    memory.sweep(4.0)
    assert ids(memory, 17) == ["a", "c"]
    assert (len(memory), memory.evicted, memory.expired) == (2, 1, 0)


def test_a_session_that_is_not_used_expires() -> None:
    memory = Memory(10, 100)
    memory.hold(memory.use("a", 1.0), 17, 1.0)
    memory.use("b", 50.0)
    memory.sweep(102.0)
    assert [session.id for session in memory] == ["b"]
    assert ids(memory, 17) == []
    assert memory.expired == 1


def test_a_mark_that_everybody_has_is_held_by_the_latest() -> None:
    memory = Memory(1000, 100)
    for number in range(200):
        memory.hold(memory.use(str(number), 1.0), 17, 1.0)
    assert ids(memory, 17) == [str(number) for number in range(72, 200)]


def test_a_session_keeps_its_newest_marks_questions_and_places() -> None:
    memory = Memory(10, 100)
    session = memory.use("a", 1.0)
    for number in range(300):
        memory.hold(session, number << 4 | 1, 1.0)
        memory.ask(session, number, Asked.ANSWERED, 1.0)
        session.wait(number, 1.0)
    assert (len(session.asked), len(session.waiting)) == (16, 64)
    assert len(session.marks) <= 128
    assert ids(memory, 299 << 4 | 1) == ["a"]
    assert ids(memory, 0 << 4 | 1) == []


def test_all_marks_together_are_bounded() -> None:
    memory = Memory(10, 100)
    for number in range(10):
        session = memory.use(str(number), 1.0)
        for mark in range(100):
            memory.hold(session, number * 1000 + mark, 1.0)
        memory.sweep(1.0)
    assert len(memory) == 3


def test_everything_since_a_moment_goes_to_another_session() -> None:
    memory = Memory(10, 100)
    session = memory.use("a", 1.0)
    for at in (1.0, 2.0, 3.0):
        memory.hold(session, int(at), at)
        session.wait(int(at), at)
        memory.ask(session, int(at), Asked.ANSWERED, at)
    other = memory.rename(session, "b", 2.0, 4.0)
    assert (ids(memory, 1), ids(memory, 2), ids(memory, 3)) == (["a"], ["b"], ["b"])
    assert (list(session.waiting), list(other.waiting)) == ([1], [2, 3])
    assert (list(session.asked), list(other.asked)) == ([1], [2, 3])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["OK.", "Yes", "No", None])), max_size=60))
def test_nothing_is_left_of_sessions_that_are_forgotten(calls: list[tuple[int, str | None]]) -> None:
    program = Program(Sessions(max=4, ttl=50.0))
    histories: list[list[dict[str, str]]] = [[user(f"opening {number % 3}")] for number in range(10)]
    for number, answer in calls:
        program.call(histories[number], answer)
        if answer is not None:
            histories[number] += [model(answer), user("go on")]
    program.now += 1000
    program.call([user("the end")])
    assert repr(program.detector) == "<Detector <Memory 1 sessions, 3 times 3 marks>>"
