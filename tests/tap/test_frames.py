"""Bedrock's frames become messages however they are cut, up to the first that is broken, and tell what was consumed."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.messages.eventstream import EVENTSTREAM
from llmqd.tap.frames import FrameSplitter
from llmqd.usage import Usage
from tests.messages.test_answer import frame
from tests.tap.recordings import WORDS
from tests.tap.test_tap import read

FIRST = b'{"contentBlockIndex":0,"delta":{"text":"Hi"}}'
RAW = frame("contentBlockDelta", FIRST) + frame("chunk", b'{"bytes":"e30=","p":"abc"}') + frame("metadata", b"{}")
MESSAGES = [b'{"contentBlockDelta":' + FIRST + b"}", b"{}", b'{"metadata":{}}']


def fed(*chunks: bytes, max_event: int = 1 << 20) -> tuple[list[bytes], int]:
    splitter = FrameSplitter(max_event)
    events = [event for chunk in chunks for event in splitter.feed(chunk)] + splitter.flush()
    return [data for _, data in events], splitter.overflowed


@pytest.mark.parametrize("size", [1, 7, 12, 50, 1000])
def test_messages_come_however_the_bytes_are_cut(size: int) -> None:
    assert fed(*(RAW[at : at + size] for at in range(0, len(RAW), size))) == (MESSAGES, 0)


def test_an_exception_is_an_error_and_what_is_unknown_says_nothing() -> None:
    raw = frame("throttlingException", b'{"message":"slow"}') + frame("news", b"{}") + frame("chunk", b'{"bytes":"!"}')
    assert fed(raw) == ([b'{"error":{"type":"throttlingException"}}'], 0)


@pytest.mark.parametrize("size", [1, 64, 100_000])
def test_a_large_frame_is_skipped_and_those_behind_it_are_found(size: int) -> None:
    large = frame("chunk", orjson.dumps({"bytes": base64.b64encode(b"x" * 3000).decode()}))
    raw = frame("metadata", b"{}") + large + RAW
    got, overflowed = fed(*(raw[at : at + size] for at in range(0, len(raw), size)), max_event=1000)
    assert got[-3:] == MESSAGES
    assert overflowed == (size < len(large)), "what has come whole need not be held"


def test_nothing_is_looked_for_behind_a_broken_frame() -> None:
    assert fed(RAW, b"\xff" * 12, RAW, RAW) == (MESSAGES, 1)


@given(st.lists(st.binary(max_size=60), max_size=8))
def test_no_bytes_make_it_raise(chunks: list[bytes]) -> None:
    fed(RAW, *chunks, RAW)


def converse(*, metadata: bool = True) -> bytes:
    """A stream of Bedrock's Converse API."""
    deltas = [{"contentBlockIndex": 0, "delta": {"text": word}} for word in WORDS]
    events = [("messageStart", {"role": "assistant"}), *(("contentBlockDelta", delta) for delta in deltas)]
    events += [
        ("contentBlockStart", {"contentBlockIndex": 1, "start": {"toolUse": {"toolUseId": "t1", "name": "f"}}}),
        ("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"toolUse": {"input": "{}"}}}),
        ("messageStop", {"stopReason": "tool_use"}),
    ]
    if metadata:
        events.append(("metadata", {"usage": {"inputTokens": 30, "outputTokens": 9, "cacheReadInputTokens": 10}}))
    return b"".join(frame(name, orjson.dumps(event)) for name, event in events)


@pytest.mark.parametrize("size", [1, 13, 0])
def test_frames_of_bedrock_tell_what_was_consumed(size: int) -> None:
    reading = read(converse(), content_type=EVENTSTREAM, size=size)
    assert reading.usage == Usage(40, 9, cached=10, source="exact")
    assert (reading.finish_reason, reading.function_calls, reading.error) == ("tool_use", 1, None)


def test_frames_that_end_early_are_estimated_and_name_their_error() -> None:
    stream = converse(metadata=False) + frame("modelStreamErrorException", b"{}")
    reading = read(stream, content_type=EVENTSTREAM)
    assert reading.usage is not None
    assert (reading.usage.input, reading.usage.source) == (100, "estimated")
    assert reading.usage.output >= len("".join(WORDS)) // 4
    assert reading.error == "modelStreamErrorException"


@pytest.mark.parametrize(
    ("message", "usage"),
    [
        ({"generation": " Hi", "stop_reason": "stop"}, Usage(12, 5, source="exact")),
        ({"choices": [{"delta": {}, "finish_reason": "stop"}]}, Usage(12, 5, source="exact")),
        ({"type": "message_stop"}, Usage(7, 1, cached=2, source="exact")),
    ],
)
def test_bedrock_counts_what_the_vendor_s_own_messages_do_not_say(message: dict[str, Any], usage: Usage) -> None:
    own = {"input_tokens": 5, "output_tokens": 1, "cache_read_input_tokens": 2}
    told = [{"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": own}] if "type" in message else []
    last = message | {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 12, "outputTokenCount": 5}}
    wrapped = [{"bytes": base64.b64encode(orjson.dumps(one)).decode()} for one in (*told, last)]
    stream = b"".join(frame("chunk", orjson.dumps(one)) for one in wrapped)
    assert read(stream, content_type=EVENTSTREAM).usage == usage
