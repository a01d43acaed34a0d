"""JSON from outside never raises, and what was cut off still says its beginning."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.messages.lenient_json import loads, mended, sound, whole_characters
from tests.tap.test_reader import ANY_JSON


@given(st.binary(max_size=100))
def test_no_bytes_make_the_reading_raise(data: bytes) -> None:
    loads(data)
    mended(data)


@pytest.mark.parametrize("data", [b"", b"{", b"nonsense", b"[" * 100_000, b'{"a":' * 100_000, b"1" * 5000 + b"x"])
def test_what_is_no_json_is_nothing(data: bytes) -> None:
    assert loads(data) is None


def test_broken_characters_and_lone_surrogates_are_let_pass() -> None:
    assert loads(b'{"a":"\\ud83d"}') == {"a": "\ud83d"}
    assert loads(b'{"a":"\xff"}') == {"a": "\ufffd"}


def test_halves_that_met_are_joined_and_lone_ones_replaced() -> None:
    assert sound("a\ud83d\ude00b\ud83d") == "a\U0001f600b\ufffd"
    assert sound("plain") == "plain"


_PIECES = ["\\ud83d", "\\uDE00", "\\\\", "\\n", "\\\\ud800", '\\"', "\\u0041", "u", "d83d", "x"]


@given(st.lists(st.sampled_from(_PIECES)).map(lambda parts: '"' + "".join(parts) + '"'))
def test_what_has_lone_halves_can_be_parsed_once_they_are_replaced(text: str) -> None:
    assert orjson.loads(whole_characters(text.encode())) == sound(json.loads(text))


@given(
    st.dictionaries(st.text(max_size=5), ANY_JSON, min_size=1, max_size=3).filter(
        lambda value: bool(loads(_dumps(value)))
    )
)
def test_object_cut_anywhere_is_mended_to_an_object(value: dict[str, object]) -> None:
    data = _dumps(value)
    assert mended(data) == loads(data)
    for end in range(1, len(data)):
        assert isinstance(mended(data[:end]), dict)


def test_text_that_was_cut_off_is_kept_up_to_there() -> None:
    data = orjson.dumps({"id": "x", "list": [{"text": "one"}, {"text": 'two \\" é \u2028'}]})
    assert mended(data[: data.index(b"ne")]) == {"id": "x", "list": [{"text": "o"}]}
    assert mended(data[: data.index(b"wo")]) == {"id": "x", "list": [{"text": "one"}, {"text": "t"}]}
    assert mended(b'{"text":"a\\u00e') == {"text": "a"}
    assert mended(b'{"text":"a\\') == {"text": "a"}
    assert mended(b'{"text":"a\xc3') == {"text": "a"}
    assert mended(b'{"text":"a","rest') == {"text": "a"}
    assert mended(b'{"text":"a","number":12') == {"text": "a", "number": 12}
    assert mended(b'{"text":"a","truth":tr') == {"text": "a"}
    assert mended(b'{"a":1}]') is None


def _dumps(value: object) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:
        return b"null"
