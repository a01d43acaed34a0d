"""The name of a daemon's ledger among several daemons."""

from __future__ import annotations

from pathlib import Path

from llmqd.cluster.node import node_of


def test_the_name_is_made_once_for_this_user_alone(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    name = node_of(directory)
    assert node_of(directory) == name
    assert node_of(tmp_path / "other") != name
    [path] = directory.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600


def test_where_no_name_can_be_kept_there_is_one_for_this_time(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert node_of(file / "state") != node_of(file / "state")
