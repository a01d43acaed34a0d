"""The settings of `[sessions]`, also under the names that other proxies have for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmqd.config.load import load
from llmqd.config.model import Config
from llmqd.errors import ConfigError


def loaded(directory: Path, text: str) -> Config:
    path = directory / "llmqd.toml"
    path.write_text(f'{text}\n[[upstream]]\nname = "sim"\n')
    return load(path, {})


def test_own_names(tmp_path: Path) -> None:
    text = '[sessions]\ndetect = false\nfuzzy = false\nmax = 5\nttl = "2m"\nreset_phrases = ["Start over"]'
    sessions = loaded(tmp_path, text).sessions
    assert (sessions.detect, sessions.fuzzy, sessions.max, sessions.ttl) == (False, False, 5, 120.0)
    assert sessions.reset_phrases == ("Start over",)


def test_names_of_other_proxies_are_understood_with_a_warning(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        "[sessions]\nenabled = false\nmax_sessions = 5\nsession_ttl_seconds = 90\nenable_fuzzy_matching = false\n"
        "similarity_threshold = 0.85\nmax_messages_for_new_session = 3",
    )
    sessions = config.sessions
    assert (sessions.detect, sessions.fuzzy, sessions.max, sessions.ttl) == (False, False, 5, 90.0)
    warnings = [warning for warning in config.warnings if "[sessions]" in warning]
    assert len(warnings) == 6
    assert "[sessions] max_sessions is max here" in warnings
    assert "[sessions] similarity_threshold means nothing here and can be left out" in warnings


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_both_names_at_once_are_a_fault(tmp_path: Path, order: tuple[int, int]) -> None:
    lines = ("max = 5", "max_sessions = 6")
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, "\n".join(["[sessions]", *(lines[index] for index in order)]))
    assert "[sessions] max_sessions: is max here, which is set too" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("max_sessions = 0", "at least 1"),
        ("session_ttl_seconds = true", "not a duration"),
        ("session_ttl_seconds = 0.5", "at least"),
        ("enabled = 1", "true or false"),
    ],
)
def test_values_under_other_names_are_checked(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        loaded(tmp_path, f"[sessions]\n{text}")
