"""Planted secrets never reach a log, wherever they stand in a record."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.log.formats import JsonFormatter, TextFormatter
from llmqd.log.redact import _SECRET, MASK, RedactSecrets, redact

SECRETS = [
    "sk-proj-abcDEF123456_7890-xyz",
    "sk-ant-api03-AbCdEf123456",
    "gsk_abcdefghijklmnop123",
    "AIzaSyA-1234567890abcdefghij",
    "xai-0123456789abcdef",
    "pplx-0123456789abcdef",
    "hf_abcdefghijklmnop",
    "AKIAIOSFODNN7EXAMPLE",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0aa.c2lnbmF0dXJl",
    "openai-insecure-api-key.plainword",
]

CARRIERS = [
    "Authorization: Bearer plainword123",
    "authorization=plainword123",
    "Authorization: Basic plainword123",
    "{'x-api-key': 'plainword123'}",
    '{"X-Goog-Api-Key": "plainword123"}',
    "xi-api-key: plainword123",
    "api-key=plainword123",
    "GET /v1beta/models?key=plainword123&alt=sse",
    "bearer plainword123",
    "api_key = plainword123",
    "client_secret=plainword123",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_keys_are_masked_by_their_form(secret: str) -> None:
    assert redact(f"before {secret}, after") == f"before {MASK}, after"


@pytest.mark.parametrize("text", CARRIERS)
def test_values_of_headers_and_query_fields_that_carry_keys_are_masked(text: str) -> None:
    masked = redact(text)
    assert "plainword123" not in masked
    assert MASK in masked


@pytest.mark.parametrize(
    "text",
    [
        "monkey=3, key_by=session, keys: 4, the task-force sk-1",
        "the api key of upstream openai is not set",
        "OpenAI API Usage - Request: 01k2, Model: gpt-4o, Tokens: Prompt=1/Completion=2/Total=3",
        "the lane of key default is paused",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert redact(text) == text


_PIECES = st.one_of(
    st.sampled_from(SECRETS + CARRIERS),
    st.sampled_from(["?key=", "&KEY:", "Bearer ", "x-api-token ", "access-token", "ſk-", "sK_", "aI", "\n", " ", "="]),
    st.text("abkKſszAZ019_-=.: ", max_size=16),
)


@given(st.lists(_PIECES, max_size=6).map("".join), st.sampled_from([str, str.upper, str.lower, str.swapcase]))
def test_no_secret_passes_for_lack_of_a_trace_of_one(text: str, written: Callable[[str], str]) -> None:
    text = written(text)
    assert (redact(text) == text) is (_SECRET.search(text) is None)


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_message_arguments_fields_and_traceback_are_masked(formatter: logging.Formatter) -> None:
    secret = SECRETS[0]
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(formatter)
    handler.addFilter(RedactSecrets())
    try:
        raise ValueError(f"bad key {secret}")
    except ValueError:
        trouble = sys.exc_info()
    record = logging.LogRecord("llmqd", logging.ERROR, __file__, 1, "sent %s", (f"Bearer {secret}",), trouble)
    record.__dict__["fields"] = {"header": f"x-api-key: {secret}", "api_key": "abc", "count": 3, "none": None}
    handler.handle(record)
    assert secret not in out.getvalue()
    assert "abc" not in out.getvalue()
    assert out.getvalue().count(MASK) == 4


def test_a_message_whose_arguments_do_not_fit_is_logged_all_the_same() -> None:
    record = logging.LogRecord("llmqd", logging.INFO, __file__, 1, "%d calls", ("many",), None)
    assert RedactSecrets().filter(record)
    assert record.getMessage() == "%d calls ('many',)"


@pytest.mark.parametrize("anywhere", [True, False])
def test_what_is_taken_out_beside_known_secrets_is_taken_out_of_each_part(anywhere: bool) -> None:
    redacting = RedactSecrets()
    # Found in all of a line together, or, as with an anchor, only in a part that is nothing else.
    redacting.also = (lambda text: text.replace("PRJ-1", "-")) if anywhere else (lambda text: "-" * (text == "PRJ-1"))
    redacting.anywhere = anywhere
    record = logging.LogRecord("llmqd", logging.INFO, __file__, 1, "%s", ("PRJ-1",), None)
    record.__dict__["fields"] = {"user": "PRJ-1", "count": 3, "list": ["a"]}
    assert redacting.filter(record)
    assert record.getMessage() == "-"
    assert record.__dict__["fields"]["user"] == "-"
    assert record.__dict__["fields"]["count"] == 3


def test_a_line_with_nothing_to_take_out_says_what_it_said() -> None:
    record = logging.LogRecord("llmqd", logging.INFO, __file__, 1, "%d %s", (1, "%s"), None)
    record.__dict__["fields"] = {"user": "me", "count": 3, "none": None, "list": ["a"]}
    assert RedactSecrets().filter(record)
    assert record.getMessage() == "1 %s"
    assert record.__dict__["fields"] == {"user": "me", "count": 3, "none": None, "list": "['a']"}
