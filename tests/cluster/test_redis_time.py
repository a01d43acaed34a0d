"""Redis's clock from here: the reading with the shortest round trip counts, for as long as it is young."""

from __future__ import annotations

import pytest

from llmqd.cluster.redis_time import RedisTime


def test_the_reading_with_the_shortest_round_trip_counts() -> None:
    time = RedisTime(lambda: 11.0)
    time.read(10.0, 10.4, 1010.3)
    time.read(10.5, 10.502, 1010.601)
    time.read(10.6, 10.9, 1010.6)
    assert time.offset == pytest.approx(1000.1)
    assert time.now == pytest.approx(1011.1)
    assert time.here(time.there(5.0)) == pytest.approx(5.0)


def test_an_old_reading_counts_no_more_however_good_it_was() -> None:
    time = RedisTime(lambda: 0.0)
    time.read(0.0, 0.0001, 1000.0)
    time.read(200.0, 200.2, 1210.1)
    assert time.offset == pytest.approx(1010.0)


def test_a_reading_within_which_the_daemon_was_stopped_does_not_count() -> None:
    time = RedisTime(lambda: 0.0)
    time.read(0.0, 0.0002, 1000.0001)
    time.read(0.4, 30.4, 1000.4)
    assert time.offset == pytest.approx(1000.0, abs=0.001)


def test_another_server_has_another_clock() -> None:
    time = RedisTime(lambda: 0.0)
    time.read(0.0, 0.001, 1000.0)
    time.forget()
    assert time.offset == pytest.approx(1000.0, abs=0.01)
    time.read(1.0, 1.5, 5001.25)
    assert time.offset == pytest.approx(5000.0)
