from __future__ import annotations

from llmqd.store.position import BEGINNING, Position


def test_positions_sort_by_segment_then_offset() -> None:
    assert BEGINNING < Position(1, 0) < Position(1, 900) < Position(2, 0)


def test_a_position_is_read_back_from_its_text() -> None:
    assert Position.parse(str(Position(17, 1234))) == Position(17, 1234)
