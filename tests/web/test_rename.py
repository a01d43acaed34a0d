"""Only the model changes: all other bytes of a body stay as the client has sent them."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.web.body import Body, read_facts
from llmqd.web.rename import rename_model
from llmqd.web.splice import spliced


def renamed(data: bytes, model: str, content_type: str = "application/json", asked: str = "m") -> bytes:
    return spliced(data, rename_model(data, content_type, asked, model))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ('{"model":"m","x":1}', '{"model":"new","x":1}'),
        ('{ "x" : {"model":"m"} , "model" : "m" }', '{ "x" : {"model":"m"} , "model" : "new" }'),
        ('{"model":"m","messages":[],"model":"m"}', '{"model":"m","messages":[],"model":"new"}'),
        ('{"model":"models/m","content":{}}', '{"model":"models/new","content":{}}'),
    ],
)
def test_the_model_that_counts_is_replaced(data: str, expected: str) -> None:
    asked = orjson.loads(data)["model"]
    assert renamed(data.encode(), "new", asked=asked) == expected.encode()


def test_a_resource_is_replaced_by_a_whole_resource() -> None:
    assert renamed(b'{"model":"models/m"}', "tunedModels/n", asked="models/m") == b'{"model":"tunedModels/n"}'


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.sampled_from(["model", "a", "\\"]), children, max_size=3)
    ),
    max_leaves=10,
)


@given(
    st.dictionaries(st.text(max_size=5), JSON, max_size=4),
    st.text(max_size=10),
    st.text(min_size=1, max_size=20).filter(lambda name: not name.startswith("models/")),
    st.sampled_from([None, 2]),
)
def test_what_is_parsed_is_the_same_but_for_the_model(
    fields: dict[str, Any], asked: str, model: str, indent: int | None
) -> None:
    data = json.dumps(fields | {"model": asked}, indent=indent).encode()
    (splice,) = rename_model(data, "application/json", asked if not asked.startswith("models/") else "", model)
    after = spliced(data, [splice])
    assert orjson.loads(after) == fields | {"model": model}
    assert (after[: splice.start], after[splice.start + len(splice.data) :]) == (
        data[: splice.start],
        data[splice.end :],
    )
    assert orjson.loads(data[splice.start : splice.end]) == asked


def test_a_field_of_a_form_is_replaced_and_its_file_is_not_touched() -> None:
    audio = bytes(range(256)) + b'name="model"'
    form = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n%b\r\n'
        b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n%b\r\n--b--\r\n'
    )
    kind = "multipart/form-data; boundary=b"
    after = renamed(form % (audio, b"whisper-1"), "whisper-l\u00e4rge", kind)
    assert after == form % (audio, "whisper-l\u00e4rge".encode())
    assert read_facts(Body(after, None, len(after)), kind, "").model == "whisper-l\u00e4rge"
