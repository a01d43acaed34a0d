"""Stdout that cannot be written ends a command without a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from llmqd.cli import main
from llmqd.cli.codes import FAILED

COMMANDS = (["--help"], ["init", "-"], ["check", "--defaults"], ["prices", "gpt-4o", "--defaults"])


def llmqd(words: list[str], stdout: int, **environ: str) -> tuple[int, str]:
    """Exit code and stderr."""
    ran = subprocess.run(
        [sys.executable, "-m", "llmqd", *words],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=os.environ | {"OPENAI_API_KEY": "k"} | environ,
        text=True,
        check=False,
    )
    return ran.returncode, ran.stderr


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_reader_that_has_gone_is_no_fault_to_speak_of(words: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        assert llmqd(words, write) == (FAILED, "")
    finally:
        os.close(write)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_full_disk_is_one_line(words: list[str]) -> None:
    with open("/dev/full", "w") as full:
        assert llmqd(words, full.fileno()) == (FAILED, "llmqd: stdout: No space left on device\n")


def test_characters_that_the_terminal_does_not_know_are_escaped(tmp_path: Path) -> None:
    config, out = tmp_path / "llmqd.toml", tmp_path / "out"
    config.write_text('[[price]]\nmodel = "größe-*"\ninput = 1\n')
    with out.open("wb") as file:
        code, error = llmqd(["prices", "--config", str(config)], file.fileno(), PYTHONIOENCODING="ascii")
    assert (code, error) == (0, "")
    assert b"gr\\xf6\\xdfe-*" in out.read_bytes()


def test_stdout_that_is_closed_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["init", "-"]) == 0
    sys.stdout.close()


def test_an_error_that_is_not_of_stdout_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> int:
        raise OSError("another")

    monkeypatch.setattr("llmqd.cli.build_parser", broken)
    with pytest.raises(OSError, match="another"):
        main(["version"])
