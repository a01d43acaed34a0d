"""What the simulated provider says and how it counts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmqd.sim.speech import LABEL, count_tokens, last_question, speak, texts


@given(st.text(), st.one_of(st.none(), st.integers(1, 200)))
def test_pieces_add_up_to_a_labelled_text_within_the_limit(question: str, limit: int | None) -> None:
    speech = speak(question, question, limit)
    assert LABEL.startswith(speech.text) or speech.text.startswith(LABEL)
    assert speech.completion_tokens == max(1, -(-len(speech.text.encode()) // 4)) or speech.truncated
    assert limit is None or speech.completion_tokens <= limit
    assert speech.truncated == (not speech.text.endswith("provider instead."))


def test_long_questions_are_quoted_in_part() -> None:
    assert len(speak("", "x" * 5000).text) < 500


def test_texts_are_found_in_every_dialects_messages() -> None:
    openai = {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {}}]}
    gemini = {"role": "user", "parts": [{"text": "b"}, {"inlineData": {"data": "xx"}}]}
    assert list(texts([openai, gemini, "c", None, 5])) == ["a", "b", "c"]


def test_a_token_is_about_four_bytes_and_never_zero() -> None:
    assert [count_tokens(text) for text in ("", "abcd", "abcde", "äöü")] == [1, 1, 2, 2]


def test_the_last_user_message_is_the_question() -> None:
    said: list[dict[str, object]] = [
        {"role": "user", "content": "first"},
        {"role": "user", "content": "second"},
        {"role": "assistant", "content": "third"},
    ]
    assert last_question(said) == "second"
    assert last_question([{"role": "system", "content": "only"}]) == "only"
    assert last_question([]) == ""
