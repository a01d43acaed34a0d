"""How long it is waited for news of a turn: longer after one that came too late, and less and less again."""

from __future__ import annotations

import pytest

from llmqd.cluster.news import News


def test_turns_are_valid_for_a_fifth_of_a_second_while_messages_are_quick() -> None:
    news = News()
    for _ in range(100):
        news.came(0.005)
    assert news() == 0.25
    assert news.valid == pytest.approx(0.2)


def test_after_turns_that_came_too_late_they_are_waited_for_longer_but_never_for_long() -> None:
    news = News()
    news.late()
    assert news() == 0.5
    for _ in range(10):
        news.late()
    assert news() == 2.0
    assert news.valid < news()


def test_news_that_take_long_are_waited_for_twice_as_long_as_they_take() -> None:
    news = News()
    news.came(0.4)
    assert news() == pytest.approx(0.8)
    for _ in range(300):
        news.came(None)
    assert news() == pytest.approx(0.25)
