"""What was appended last is at hand where the reader stands, whole and in order, or not at all."""

from __future__ import annotations

from llmqd.store.position import BEGINNING, Position
from llmqd.store.recent import Appended, Recent


def filled(count: int, limit: int = 1000) -> Recent:
    recent = Recent(limit)
    for number in range(count):
        recent.add(Position(1, number * 10), Appended(b"x" * 10, None, Position(1, number * 10 + 10)))
    return recent


def ends(found: list[Appended]) -> list[int]:
    return [one.end.offset for one in found]


def test_what_follows_a_position_is_given_once() -> None:
    recent = filled(5)
    assert ends(recent.read(Position(1, 0), 1000, 2)) == [10, 20]
    assert ends(recent.read(Position(1, 20), 15, 9)) == [30, 40]
    assert ends(recent.read(Position(1, 40), 1, 9)) == [50]
    assert recent.read(Position(1, 50), 1000, 9) == []


def test_a_reader_that_is_elsewhere_gets_nothing() -> None:
    assert filled(3).read(BEGINNING, 1000, 9) == []
    assert filled(3).read(Position(1, 5), 1000, 9) == []
    assert ends(filled(3).read(Position(1, 10), 1000, 9)) == [20, 30]
    assert filled(3).read(Position(2, 0), 1000, 9) == []


def test_the_oldest_are_let_go_and_the_reader_has_to_read_up_to_the_rest() -> None:
    recent = filled(5, limit=25)
    assert len(recent) == 2
    assert recent.read(Position(1, 0), 1000, 9) == []
    assert ends(recent.read(Position(1, 30), 1000, 9)) == [40, 50]


def test_what_does_not_join_on_begins_anew() -> None:
    recent = filled(3)
    recent.add(Position(2, 8), Appended(b"y", None, Position(2, 9)))
    assert recent.read(Position(1, 0), 1000, 9) == []
    assert [one.payload for one in recent.read(Position(2, 8), 1000, 9)] == [b"y"]


def test_one_that_is_larger_than_all_may_be_is_not_kept() -> None:
    recent = Recent(5)
    recent.add(Position(1, 0), Appended(b"x" * 10, None, Position(1, 10)))
    assert len(recent) == 0
    recent.add(Position(1, 10), Appended(b"x", None, Position(1, 11)))
    assert ends(recent.read(Position(1, 10), 1000, 9)) == [11]


def test_what_is_cleared_is_not_at_hand_and_what_follows_is() -> None:
    recent = filled(3)
    recent.clear()
    assert (len(recent), recent.read(Position(1, 0), 1000, 9)) == (0, [])
    recent.add(Position(1, 30), Appended(b"y", None, Position(1, 31)))
    assert ends(recent.read(Position(1, 30), 1000, 9)) == [31]
