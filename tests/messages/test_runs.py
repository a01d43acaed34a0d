"""A run of events taken as one says exactly what its events say one by one, whatever stands in or between them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmqd.messages.anthropic_answer import AnthropicAnswer
from llmqd.messages.chat_answer import ChatAnswer
from llmqd.messages.cohere_answer import CohereAnswer
from llmqd.messages.gathering import Gathering, tidy
from llmqd.messages.gemini_answer import GeminiAnswer
from llmqd.messages.message import Part
from llmqd.messages.ollama_answer import OllamaAnswer
from llmqd.messages.runs import Walk
from tests.tap.recordings import chunk, gemini_chunk

AWKWARD = (
    '"', "\\", "\\\\", '\\"', '"}', '"}}', '"},"', "}]", '"}],', "\n", "\n\n", "\r\n", "data: ", "\u2028", "\u0000",
    "é", "\U0001f600", "</", '"finish_reason":null}]', '{"content":"x"}', '","content":"', "false", '"done":false', "",
)  # fmt: skip
WORD = st.sampled_from(AWKWARD) | st.text(max_size=12)
WORDS = st.lists(WORD, min_size=12, max_size=60)

Event = Callable[[str, int], object]


def chat_event(word: str, number: int) -> object:
    return chunk({"content": word}, obfuscation="abcdefgh"[: number % 8])


def plain_chat_event(word: str, number: int) -> object:
    return chunk({"content": word})


def ticking_chat_event(word: str, number: int) -> object:
    return chunk({"content": word}) | {"created": 1_700_000_000 + number // 5}


def reasoning_event(word: str, number: int) -> object:
    return chunk({"content": None, "reasoning_content": word} if number % 40 < 20 else {"content": word})


def tool_event(word: str, number: int) -> object:
    call: dict[str, object] = {"index": number // 25, "function": {"arguments": word}}
    if number % 25 == 0:
        call |= {"id": f"call_{number}", "type": "function", "function": {"name": "f", "arguments": ""}}
    return chunk({"tool_calls": [call]})


def choices_event(word: str, number: int) -> object:
    return chunk({}) | {"choices": [{"index": number % 3 // 2, "delta": {"content": word}, "finish_reason": None}]}


def completion_event(word: str, number: int) -> object:
    return {"id": "cmpl-1", "choices": [{"text": word, "index": 0, "logprobs": None, "finish_reason": None}]}


def anthropic_event(word: str, number: int) -> object:
    index = number // 20
    if number % 20 == 0:
        block: dict[str, object] = {"type": "tool_use", "id": f"t{index}", "name": "f", "input": {}}
        block = block if index % 2 else {"type": "text", "text": ""}
        return {"type": "content_block_start", "index": index, "content_block": block}
    delta = {"type": "input_json_delta", "partial_json": word} if index % 2 else {"type": "text_delta", "text": word}
    return {"type": "content_block_delta", "index": index, "delta": delta}


def gemini_event(word: str, number: int) -> object:
    event = gemini_chunk(word, number)
    if number % 30 == 29:
        parts: list[object] = [{"text": word, "thought": True}, {"functionCall": {"name": "f", "args": {"a": word}}}]
        event["candidates"] = [{"content": {"parts": parts, "role": "model"}, "index": 0}]
    return event


def ollama_event(word: str, number: int) -> object:
    said = {"role": "assistant", "content": word}
    return {"model": "m", "created_at": f"2024-07-22T20:33:28.{number * 977}Z", "message": said, "done": False}


def generate_event(word: str, number: int) -> object:
    return {"model": "m", "created_at": "2024-07-22T20:33:28Z", "response": word, "done": False}


def cohere_event(word: str, number: int) -> object:
    return {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": word}}}}


KINDS: tuple[tuple[Event, type[Gathering]], ...] = (
    (chat_event, ChatAnswer),
    (plain_chat_event, ChatAnswer),
    (ticking_chat_event, ChatAnswer),
    (reasoning_event, ChatAnswer),
    (tool_event, ChatAnswer),
    (choices_event, ChatAnswer),
    (completion_event, ChatAnswer),
    (anthropic_event, AnthropicAnswer),
    (gemini_event, GeminiAnswer),
    (ollama_event, OllamaAnswer),
    (generate_event, OllamaAnswer),
    (cohere_event, CohereAnswer),
)
EVERY_KIND = pytest.mark.parametrize(("event", "gathering"), KINDS, ids=lambda value: value.__name__)


def compact(value: object) -> bytes:
    return orjson.dumps(value)


def spaced(value: object) -> bytes:
    """As Python's own encoder writes it, all but ASCII escaped."""
    return json.dumps(value).encode()


def framed(events: Iterable[bytes], separator: bytes, named: bytes = b"") -> bytes:
    head = b"data: " if separator == b"\n\n" else b""
    return b"".join(named + head + event + separator for event in events)


def one_by_one(events: Iterable[object], gathering: type[Gathering]) -> list[tuple[Part, ...]]:
    gathered = gathering()
    for event in events:
        if isinstance(event, dict):
            gathered.take(event)
    return [tidy(parts, 0) for parts in gathered.choices()]


def walked(raw: bytes, separator: bytes, gathering: type[Gathering]) -> tuple[list[tuple[Part, ...]], int]:
    """What the walk's messages say, and how many they were."""
    gathered, count = gathering(), 0
    for message in Walk(raw, separator, gathering.shape).messages():
        gathered.take(message)
        count += 1
    return [tidy(parts, 0) for parts in gathered.choices()], count


@EVERY_KIND
@pytest.mark.parametrize("write", [compact, spaced])
@pytest.mark.parametrize("separator", [b"\n\n", b"\n"])
@settings(max_examples=25, deadline=None)
@given(words=WORDS, named=st.booleans())
def test_runs_say_what_their_events_say(
    event: Event,
    gathering: type[Gathering],
    write: Callable[[object], bytes],
    separator: bytes,
    words: list[str],
    named: bool,
) -> None:
    events = [event(word, number) for number, word in enumerate(words)]
    raw = framed([write(one) for one in events], separator, b"event: x\n" if named and separator == b"\n\n" else b"")
    assert walked(raw, separator, gathering)[0] == one_by_one(events, gathering)


@EVERY_KIND
def test_runs_are_found(event: Event, gathering: type[Gathering]) -> None:
    events = [event("word ", number) for number in range(100)]
    said, count = walked(framed(map(compact, events), b"\n\n"), b"\n\n", gathering)
    assert said == one_by_one(events, gathering)
    assert count <= (100 if event is choices_event else 25), "most events are taken in runs"


ODD_EVENTS = (
    b": keep-alive", b"event: ping\ndata: {}", b"data: nonsense", b"data:", b"", b"\n", b"data: [DONE]", b"retry: 3",
    b'data: {"choices":[{"index":0,"delta":{"content":"odd"},"logprobs":null,"finish_reason":"stop"}]}',
    b'data: {"choices":[{"index":0,"delta":{"content":"two","refusal":"three"},"logprobs":null}]}',
    b'data: {"choices":[{"index":1,"delta":{"content":"other"}}]}',
    b'data: {"choices":[{"index":0,"delta":{"content":"two\ndata: lines"}}]}',
    b'data: {"choices":[{"index":0,\ndata: "delta":{"content":"two lines"}}]}',
    b'data: {"choices":[{"index":0,"delta":{"content":"cut',
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(WORDS, st.lists(st.tuples(st.integers(0, 60), st.sampled_from(ODD_EVENTS)), max_size=8))
def test_runs_with_anything_between_say_the_same(words: list[str], odd: list[tuple[int, bytes]]) -> None:
    blocks = [b"data: " + compact(chat_event(word, number)) for number, word in enumerate(words)]
    for place, block in odd:
        blocks.insert(min(place, len(blocks)), block)
    raw = b"\n\n".join(blocks) + b"\n\n"
    events = [message for block in blocks for message in Walk(block + b"\n\n", b"\n\n").messages()]
    assert walked(raw, b"\n\n", ChatAnswer)[0] == one_by_one(events, ChatAnswer)


@settings(deadline=None)
@given(WORDS, st.integers(0, 10**9))
def test_stream_cut_anywhere_says_what_its_whole_events_say(words: list[str], cut: int) -> None:
    blocks = [b"data: " + compact(chat_event(word, number)) + b"\n\n" for number, word in enumerate(words)]
    raw = b"".join(blocks)
    raw = raw[: cut % (len(raw) + 1)]
    events: list[Any] = list(Walk(raw, b"\n\n").messages())
    assert walked(raw, b"\n\n", ChatAnswer)[0] == one_by_one(events, ChatAnswer)


def test_text_that_looks_like_the_end_of_an_event_is_text() -> None:
    end = orjson.dumps(chunk({"content": "|"})).partition(b"|")[2].decode()
    words = ["a" + end, end, end + "\\", "\\" + end] * 10
    events = [plain_chat_event(word, 0) for word in words]
    assert walked(framed(map(compact, events), b"\n\n"), b"\n\n", ChatAnswer)[0] == one_by_one(events, ChatAnswer)


def test_alternating_events_are_read_in_bounded_time() -> None:
    """Each is the beginning of a run that does not come about; the searches end."""
    keys = ("content", "reasoning_content", "refusal")
    events = [chunk({keys[number % 3]: "word "}) for number in range(3000)]
    said, count = walked(framed(map(compact, events), b"\n\n"), b"\n\n", ChatAnswer)
    assert said == one_by_one(events, ChatAnswer)
    assert count == 3000


def test_last_message_is_found_behind_what_is_none() -> None:
    raw = b'data: {"a":1}\n\ndata: {"a":2}\n\ndata: [DONE]\n\n: bye\n\n'
    assert Walk(raw, b"\n\n").last() == {"a": 2}
    assert Walk(b": nothing\n\n", b"\n\n").last() == {}
