"""Parts of an answer are tidied: words put together, everything writable, media bounded."""

from __future__ import annotations

from llmqd.messages.gathering import place, tidy, word
from llmqd.messages.message import Media, Part, Reasoning, Text, ToolCall, ToolResult


def test_neighbouring_words_of_one_kind_are_one_part() -> None:
    parts: list[Part] = [Reasoning("a"), Reasoning("b"), Text("c"), Text("d"), ToolCall("f"), Text("e"), Reasoning("g")]
    assert tidy(parts, 0) == (Reasoning("ab"), Text("cd"), ToolCall("f"), Text("e"), Reasoning("g"))
    assert tidy([], 0) == ()


def test_media_in_results_are_bounded_too() -> None:
    large = Media("image/png", data="AAAA", size=3)
    kept = Media("image/png", data="AA==", size=1)
    assert tidy([large, kept], 2) == (Media("image/png", size=3), kept)
    bounded = ToolResult("x", "id", "name", (Media("image/png", size=3),))
    assert tidy([ToolResult("x", "id", "name", (large,))], 2) == (bounded,)


def test_names_are_short_and_places_are_numbers() -> None:
    assert word("x" * 1000) == "x" * 256
    assert word("") is word(3) is word(None) is None
    assert [place(value, 7) for value in (3, None, "1", 1.5)] == [3, 7, 7, 7]
