"""What the database does not know."""

from __future__ import annotations

from llmqd.detection.absent import Absent


def test_the_latest_are_remembered_and_no_more_than_twice_as_many() -> None:
    absent = Absent(10)
    absent.add(range(100))
    assert all(number in absent for number in range(90, 100))
    assert 0 not in absent
    assert len(absent) <= 20


def test_another_size_counts_from_then_on() -> None:
    absent = Absent(10)
    absent.resize(1000)
    absent.add(range(500))
    assert len(absent) == 500
