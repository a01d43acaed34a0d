"""What the unit would add to the environment."""

from __future__ import annotations

from pathlib import Path

from llmqd.doctor.environment import unit_environment


def test_lines_are_read_as_systemd_does_and_the_shell_goes_first(tmp_path: Path) -> None:
    defaults = tmp_path / "llmqd"
    defaults.write_text('# A=1\n; B=2\nC = 3\nD="4 5"\nE=\'6\'\nno line\nF="broken\nG=7\n')
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "openai").write_text("k")
    assert unit_environment({"G": "own"}, defaults=defaults, credentials=credentials) == {
        "C": "3",
        "D": "4 5",
        "E": "6",
        "G": "own",
        "CREDENTIALS_DIRECTORY": str(credentials),
    }


def test_nothing_there_adds_nothing(tmp_path: Path) -> None:
    assert unit_environment({"A": "1"}, defaults=tmp_path / "no", credentials=tmp_path / "no") == {"A": "1"}
