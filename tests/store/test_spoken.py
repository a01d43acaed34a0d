from __future__ import annotations

import base64
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.errors import StoreError
from llmqd.messages.message import Media, Message, Reasoning, Text, ToolCall, ToolResult
from llmqd.messages.transcript import Place, Transcript, encode_transcript
from llmqd.store.entries import Closed, decode, encode_closed
from llmqd.store.spoken import medium_key, spoken, system_keys
from tests.store.records import answer, make_record

texts = st.text(st.characters(codec="utf-8"), max_size=40)
some = st.none() | texts
media = st.builds(
    Media, texts, some, st.none() | st.binary(max_size=20).map(lambda one: base64.b64encode(one).decode())
)
parts = st.one_of(
    st.builds(Text, texts),
    st.builds(Reasoning, texts),
    st.builds(ToolCall, texts, texts, some),
    st.builds(ToolResult, texts, some, some, st.lists(media, max_size=2).map(tuple)),
    media,
)
messages = st.builds(
    Message, st.sampled_from(["system", "user", "assistant", "tool"]), st.lists(parts, max_size=4).map(tuple), some
)
keys = st.integers(0, 2**63 - 1)


def read(transcript: Transcript) -> Any:
    return orjson.loads(encode_transcript(transcript))


@given(st.dictionaries(keys, messages, max_size=4), st.lists(keys, max_size=3), keys, st.none() | keys)
def test_a_transcript_comes_back_from_the_journal_as_it_was(
    said: dict[int, Message], system: list[int], tip: int, reply: int | None
) -> None:
    nodes: list[Place] = [(key, tip, key, number) for number, key in enumerate(said)]
    marks = [(key, "s", 1.5) for key in system]
    written = {key: msgspec.json.encode(message) for key, message in said.items()}
    record = answer(make_record("s"))
    record.transcript = Transcript(7.5, "s", len(said), tip, reply, tuple(system), nodes, written, marks)
    entry = encode_closed(record)
    assert b"\n" not in entry
    closed = decode(entry)
    assert isinstance(closed, Closed)
    back = closed.spoken
    assert back is not None
    assert (back.at, back.session, back.nodes, back.marks) == (7.5, "s", tuple(nodes), tuple(map(tuple, marks)))
    assert back.row[:3] == (len(said), tip, reply)
    assert closed.row[-4:] == back.row
    assert system_keys(back.row[3]) == system
    for key, message in said.items():
        assert with_bytes(msgspec.json.decode(back.texts[key], type=Message), back.texts) == message


def with_bytes(message: Message, contents: dict[int, bytes]) -> Message:
    """The message with the bytes of its media in their place again."""

    def whole(part: Any) -> Any:
        if isinstance(part, ToolResult):
            return msgspec.structs.replace(part, media=tuple(whole(one) for one in part.media))
        if not isinstance(part, Media) or part.digest is None:
            return part
        content = contents[medium_key(part.digest) or 0]
        return msgspec.structs.replace(part, data=base64.b64encode(content).decode(), digest=None, size=0)

    return msgspec.structs.replace(message, parts=tuple(whole(part) for part in message.parts))


def test_an_entry_without_a_transcript_is_one_of_which_nothing_is_kept() -> None:
    entry = orjson.loads(encode_closed(answer(make_record("s"))))
    assert "said" not in entry
    closed = decode(orjson.dumps(entry))
    assert isinstance(closed, Closed)
    assert closed.spoken is None
    assert closed.row[-4:] == (None,) * 4


@pytest.mark.parametrize("said", [{}, [], 5, {"at": 1}, {"at": 1, "session": None, "texts": 5}])
def test_a_transcript_that_is_none_is_told(said: Any) -> None:
    entry = orjson.loads(encode_closed(answer(make_record("s"))))
    with pytest.raises(StoreError, match="cannot be understood"):
        decode(orjson.dumps(entry | {"said": said}))


def test_a_session_that_utf8_cannot_hold_is_no_obstacle() -> None:
    transcript = Transcript(1.0, "s\ud800", marks=[(1, "s\ud800", 1.0)])
    assert read(transcript)["marks"] == [[1, "s?", 1.0]]
    assert read(transcript)["session"] == "s?"


@pytest.mark.parametrize("data", ["aGVsbG8", "aGVsbG8=", "aGVs\nbG8=", "aGVsbG8=\n"])
def test_base64_is_read_in_every_usual_form(data: str) -> None:
    assert bytes_of(data) == b"hello"
    assert bytes_of("_-__") == bytes_of("/+//") == b"\xff\xef\xff"


def bytes_of(data: str) -> bytes | None:
    message = msgspec.json.encode(Message("user", (Media("image", None, data),)))
    one = spoken(read(Transcript(1.0, texts={1: message})))
    assert one is not None
    return next((content for key, content in one.texts.items() if key < 0), None)


def test_what_is_no_base64_is_left_out() -> None:
    assert bytes_of("a") is None
    assert bytes_of("ü") is None
    assert medium_key("xyz") is None
    assert medium_key("") is None
