"""How far a long run has come, where lines are kept."""

import pytest

from llmqd.cli.progress import Progress


def test_progress_is_shown_once_it_takes_long(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Progress(1000, "calls played") as progress:
        for _ in range(128):
            progress.step()
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("llmqd.cli.progress._AFTER", -1.0)
    with Progress(1000, "calls played") as progress:
        for _ in range(128):
            progress.step()
    line = capsys.readouterr().err
    assert line.startswith("64 of 1,000 (6%) calls played, ")
    assert line.endswith(" s left\n")


def test_steps_may_be_large_and_the_total_unknown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmqd.cli.progress._AFTER", -1.0)
    with Progress(None, "calls imported") as progress:
        progress.step(5000)
    assert capsys.readouterr().err == "5,000 calls imported\n"
