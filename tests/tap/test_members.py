"""The member of an object that parsers see is found in the bytes, whatever stands around it."""

from __future__ import annotations

import json
import mmap
from tempfile import TemporaryFile
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.tap.members import last_member, raw_members


def value_of(data: bytes, key: str = "model", at: int = 0) -> bytes | None:
    found = last_member(data, key, at)
    return None if found is None else data[found.value : found.end]


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'{"model":"m"}', b'"m"'),
        (b' {\n"a" : 1 ,\t"model" : "m" , "b":[] } ', b'"m"'),
        (b'{"input":{"model":"inner"},"list":[{"model":"inner"}],"model":"m"}', b'"m"'),
        (b'{"text":"\\"model\\":\\"inner\\"}{","model":"m"}', b'"m"'),
        (b'{"mod\\u0065l":"m"}', b'"m"'),
        (b'{"model":"first","model":"last"}', b'"last"'),
        (b'{"model":"last","x":1,"model":"last"}', b'"last"'),
        (b'{"n":12,"model":"m","n":1}', b'"m"'),
        (b'{"n":1.5,"model":"m","n":1}', b'"m"'),
        (b'{"n":1 ,"model":"m","n":1}', b'"m"'),
        (b'{"n":{"a":[1,2]},"model":"m","n":{"a":1}}', b'"m"'),
        (b'{"model":{"deep":["m"]}}', b'{"deep":["m"]}'),
        (b'{"x":"model"}', None),
        (b"{}", None),
    ],
)
def test_the_last_top_level_member_is_found(data: bytes, value: bytes | None) -> None:
    assert value_of(data) == value


def test_a_member_of_an_inner_object_is_found_from_where_that_begins() -> None:
    data = b'{"model":"outer","options":{"model":"inner"}}'
    assert value_of(data, at=data.index(b":{") + 1) == b'"inner"'


def test_nothing_is_too_deep_for_it() -> None:
    deep = b"[" * 50_000 + b"]" * 50_000
    assert value_of(b'{"a":%b,"model":"m","b":%b}' % (deep, deep)) == b'"m"'
    assert raw_members(b'{"a":%b}' % deep) is None


def test_a_long_value_is_told_from_another_of_its_length() -> None:
    first, last = b'"%b"' % (b"a" * 3_000_000), b'"%b"' % (b"a" * 2_999_999 + b"b")
    data = b'{"image":%b,"model":"m","image":%b}' % (first, last)
    assert (value_of(data), value_of(data, "image")) == (b'"m"', last)


def test_a_mapped_file_can_be_searched_and_closed() -> None:
    with TemporaryFile() as file:
        file.write(b'{"a":[1,{"model":2}],"model":"m"}')
        file.flush()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            found = last_member(mapped, "model")
            assert found is not None
            assert mapped[found.value : found.end] == b'"m"'
        assert mapped.closed


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["model", "messages", "n"]) | st.text(max_size=4)


@given(st.lists(st.tuples(KEYS, JSON), max_size=6), st.sampled_from([None, 1]), st.booleans(), KEYS)
def test_it_finds_what_a_parser_takes(
    members: list[tuple[str, Any]], indent: int | None, ascii: bool, key: str
) -> None:
    written = (f"{json.dumps(k, ensure_ascii=ascii)} : {json.dumps(v, indent=indent)}" for k, v in members)
    data = ("{" + ",".join(written) + "}").encode()
    parsed = json.loads(data)
    value = value_of(data, key)
    assert (value is None) == (key not in parsed)
    if value is not None:
        assert json.loads(value) == parsed[key]
        assert orjson.loads(value) == orjson.loads(data)[key]
