"""Places of waiting calls survive a restart; a file that is no good costs nothing but the places."""

from __future__ import annotations

import logging
import stat
from pathlib import Path

import pytest

from llmqd.handover import Handover
from llmqd.lane.places import Place, Places


class Daemon:
    """What one daemon has of it; its monotonic clock begins anew, the wall's goes on."""

    def __init__(self, directory: Path, *, clock: float, wall: float) -> None:
        self.clock, self.wall = clock, wall
        self.places = Places()
        self.handover = Handover(self.places, directory, clock=lambda: self.clock, wall=lambda: self.wall)
        self.handover.take()


def stopped(directory: Path, *, finishing: float = 0.0) -> None:
    """A daemon at the wall's 1000 with a call that has waited for 30 s; running streams took `finishing` seconds."""
    daemon = Daemon(directory, clock=500.0, wall=1000.0)
    daemon.handover.stop()
    daemon.places.keep(Place("ada", "call", 470.0, 561.0), 500.0)
    daemon.clock, daemon.wall = 500.0 + finishing, 1000.0 + finishing
    daemon.handover.leave()


def test_a_place_is_there_after_a_restart_with_all_the_time_that_it_has_waited(tmp_path: Path) -> None:
    stopped(tmp_path)
    assert Daemon(tmp_path, clock=7.0, wall=1002.0).places.claim("ada", "call", 7.5) == 7.0 - 2.0 - 30.0


def test_streams_that_finish_slowly_cost_no_place(tmp_path: Path) -> None:
    stopped(tmp_path, finishing=90.0)
    assert Daemon(tmp_path, clock=7.0, wall=1091.0).places.claim("ada", "call", 60.0) == 7.0 - 91.0 - 30.0


def test_a_place_is_given_back_by_one_daemon_only(tmp_path: Path) -> None:
    stopped(tmp_path)
    Daemon(tmp_path, clock=7.0, wall=1002.0)
    assert list(tmp_path.iterdir()) == []
    assert len(Daemon(tmp_path, clock=7.0, wall=1003.0).places) == 0


def test_nobody_is_expected_back_after_hours(tmp_path: Path) -> None:
    stopped(tmp_path)
    assert len(Daemon(tmp_path, clock=7.0, wall=9000.0).places) == 0


def test_a_wall_clock_that_was_put_back_takes_no_waiting_away(tmp_path: Path) -> None:
    stopped(tmp_path)
    assert Daemon(tmp_path, clock=7.0, wall=400.0).places.claim("ada", "call", 8.0) == 7.0 - 30.0


def test_who_waited_is_for_the_daemon_alone_to_read(tmp_path: Path) -> None:
    stopped(tmp_path)
    (file,) = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_daemon_that_only_failed_to_start_leaves_nothing(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, clock=500.0, wall=1000.0)
    daemon.places.keep(Place("ada", "call", 470.0, 561.0), 500.0)
    daemon.handover.leave()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "[]", '{"stopped_at": "x"}', '{"stopped_at": 999, "places": [{"who": 1}]}'])
def test_a_file_that_is_no_good_is_said_and_gone(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "places.json").write_text(text)
    with caplog.at_level(logging.WARNING):
        assert len(Daemon(tmp_path, clock=7.0, wall=1000.0).places) == 0
    assert "does not hold the places" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_written_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        stopped(tmp_path / "missing")
    assert "cannot be kept" in caplog.text
