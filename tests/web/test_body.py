"""Request bodies: what they say, where they wait, and that they are let go."""

from __future__ import annotations

import gzip
from tempfile import TemporaryFile

import orjson
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from llmqd.web.body import MAX_MENDED, NO_FACTS, Body, Facts, read_facts

CHAT = b'{"messages":[],"stream":true,"model":"m","metadata":{"user_id":"u"},"prompt_cache_key":"k"}'


def facts(data: bytes, content_type: str = "application/json", encoding: str = "") -> Facts:
    return read_facts(Body(data, None, len(data)), content_type, encoding)


def test_json_says_model_stream_and_small_fields() -> None:
    found = facts(CHAT)
    assert (found.model, found.stream) == ("m", True)
    assert found.fields == {"metadata": {"user_id": "u"}, "prompt_cache_key": "k"}


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (b"", "application/json"),
        (b"{", "application/json"),
        (b"[1]", "application/json"),
        (b'"x"', "application/json"),
        (b"\xff\xfe", "application/json"),
        (CHAT, "application/octet-stream"),
        (b"x" * 100, "multipart/form-data"),
        (b"--b\r\n\r\nno name\r\n--b--", "multipart/form-data; boundary=b"),
        (b"--b\r\n", "multipart/form-data; boundary=b"),
    ],
)
def test_what_cannot_be_read_says_nothing(data: bytes, content_type: str) -> None:
    assert facts(data, content_type) == NO_FACTS


def test_only_a_real_true_is_a_stream_and_only_a_string_is_a_model() -> None:
    found = facts(b'{"stream":"true","model":5}')
    assert (found.model, found.stream) == (None, False)


def test_a_request_that_does_not_say_whether_it_wants_a_stream_leaves_it_open() -> None:
    assert facts(b'{"model":"m"}').stream is None
    assert facts(b'{"stream":null}').stream is None
    assert facts(b'{"stream":false}').stream is False


@pytest.mark.parametrize(
    ("body", "longest", "choices"),
    [
        (b'{"max_tokens": 5}', 5, 1),
        (b'{"max_completion_tokens": 6, "max_tokens": 5, "n": 3}', 6, 3),
        (b'{"max_output_tokens": 7}', 7, 1),
        (b'{"generationConfig": {"maxOutputTokens": 8}}', 8, 1),
        (b'{"generation_config": {"max_output_tokens": 8}}', 8, 1),
        (b'{"inferenceConfig": {"maxTokens": 4}}', 4, 1),
        (b'{"options": {"num_predict": 9}}', 9, 1),
        (b'{"options": {"num_predict": -1}, "n": 0}', None, 1),
        (b'{"max_tokens": true, "n": "2"}', None, 1),
        (b'{"max_tokens": 1e30, "generationConfig": []}', None, 1),
    ],
)
def test_the_longest_answer_is_read_in_every_dialect(body: bytes, longest: int | None, choices: int) -> None:
    found = facts(body)
    assert (found.max_tokens, found.choices) == (longest, choices)


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json; charset=utf-8",
        "APPLICATION/JSON",
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
    ],
)
def test_json_is_recognised_as_sdks_and_curl_send_it(content_type: str) -> None:
    assert facts(CHAT, content_type).model == "m"


def test_a_body_with_half_a_character_says_what_it_says() -> None:
    found = facts(rb'{"messages":[{"role":"user","content":"cut \ud83d"}],"model":"m"}')
    assert found.model == "m"
    assert found.json is not None
    assert found.json["messages"][0]["content"] == "cut \ufffd"
    cut = rb'{"model":"m","text":"\ud83d"}'
    assert facts(cut[:-1] + b" " * MAX_MENDED + b"}") == NO_FACTS
    assert facts(cut[:-1]) == NO_FACTS


def test_compressed_json_is_read_from_a_copy() -> None:
    assert facts(gzip.compress(CHAT), encoding="gzip").model == "m"
    assert facts(zstandard.compress(CHAT), encoding="zstd").model == "m"
    assert facts(CHAT, encoding="gzip") == NO_FACTS
    assert facts(CHAT, encoding="unheard-of") == NO_FACTS


def test_a_spooled_body_is_read_and_sent_as_often_as_needed() -> None:
    spool = TemporaryFile()  # noqa: SIM115 (owned by the Body)
    spool.write(CHAT)
    with Body(None, spool, len(CHAT)) as body:
        assert read_facts(body, "application/json", "").model == "m"
        with body.view() as data:
            assert bytes(data) == CHAT
    assert spool.closed


async def test_a_spooled_body_streams_from_its_beginning_each_time() -> None:
    spool = TemporaryFile()  # noqa: SIM115 (owned by the Body)
    spool.write(CHAT)
    with Body(None, spool, len(CHAT)) as body:
        for _ in range(2):
            content = body.content
            assert content is not None
            assert not isinstance(content, bytes)
            assert b"".join([piece async for piece in content]) == CHAT


@given(st.binary(max_size=200), st.sampled_from(["application/json", "multipart/form-data; boundary=b", ""]))
def test_no_body_can_break_it(data: bytes, content_type: str) -> None:
    found = facts(data, content_type)
    assert found.model is None or isinstance(found.model, str)


@given(
    st.dictionaries(st.sampled_from(["file", "model", "stream", "prompt"]), st.text("ab-\r\n ", max_size=20)),
    st.sampled_from(["b", "----WebKitFormBoundary7MA4YWxkTrZu0gW"]),
)
def test_form_fields_are_found_among_others(fields: dict[str, str], boundary: str) -> None:
    data = (
        b"".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
            for name, value in fields.items()
        )
        + f"--{boundary}--\r\n".encode()
    )
    if any(f"--{boundary}" in value for value in fields.values()):
        return
    found = facts(data, f"multipart/form-data; boundary={boundary}")
    assert found.model == (fields.get("model", "").strip() or None)
    assert orjson.loads(orjson.dumps(found.model)) == found.model


async def test_a_spooled_body_that_is_released_is_sent_to_its_end_and_then_gone() -> None:
    spool = TemporaryFile()  # noqa: SIM115 (owned by the Body)
    spool.write(b"x" * 1_000_000)
    spool.flush()
    body = Body(None, spool, 1_000_000)
    assert body.content is not None
    assert not isinstance(body.content, bytes)
    pieces = aiter(body.content)
    size = len(await anext(pieces))
    body.release()
    size += sum([len(piece) async for piece in pieces])
    assert size == 1_000_000
    assert spool.closed


async def test_a_spooled_body_whose_sending_stopped_half_way_is_gone_with_its_call() -> None:
    spool = TemporaryFile()  # noqa: SIM115 (owned by the Body)
    spool.write(b"x" * 1_000_000)
    with Body(None, spool, 1_000_000) as body:
        assert body.content is body
        await anext(aiter(body))
        body.release()
    assert spool.closed
