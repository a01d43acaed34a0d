"""The page of all settings is what the definitions say now."""

from __future__ import annotations

from pathlib import Path

from llmqd.config.model import SECTIONS
from llmqd.config.reference import reference

PAGE = Path(__file__).parent.parent.parent / "docs" / "settings.md"


def test_the_page_is_true() -> None:
    assert PAGE.read_text() == reference(), "python -m llmqd.config.reference >docs/settings.md"


def test_every_setting_has_its_row() -> None:
    text = reference()
    for section in SECTIONS:
        for part in (section, *section.inside):
            for name in part.settings:
                assert f"\n| `{name}` | " in text
