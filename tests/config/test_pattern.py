from __future__ import annotations

from pathlib import Path

import pytest

from llmqd.config.load import load
from llmqd.config.pattern import Pattern
from llmqd.errors import ConfigError


@pytest.mark.parametrize(
    "text", ["TICKET-[0-9]+", "(?i)secret: .{1,40}", "(ab){2}c+", "(?:a|b)+c", "a++b", "([a-z]{1,8} )+x"]
)
def test_a_sound_pattern_is_kept_as_it_was_written(text: str) -> None:
    assert Pattern().read(text) == text


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("(", "no regular expression"),
        ("[a", "no regular expression"),
        ("", "in quotes"),
        (5, "in quotes"),
        ("a*", "nothing"),
        ("(a+)+b", "never end"),
        ("(?:a*b*)+c", "never end"),
        ("(?:(?:x|y+)z)*w+", "nothing|never end"),
        ("(?=(a+)+)b", "never end"),
    ],
)
def test_a_bad_pattern_is_refused_with_the_reason(value: object, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        Pattern().read(value)


def test_a_bad_pattern_in_the_file_is_a_fault_of_its_line(tmp_path: Path) -> None:
    path = tmp_path / "llmqd.toml"
    path.write_text('[store]\nredact = [\n  "fine-[0-9]+",\n  "(broken",\n]\n')
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    [fault] = caught.value.faults
    assert "line 4" in fault or "line 2" in fault
    assert "redact" in fault
    assert "no regular expression" in fault
