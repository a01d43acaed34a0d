"""Explicit sessions: from path, headers and body, the first that speaks wins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from llmqd.call import SessionRef
from llmqd.errors import BadHeader
from llmqd.session import session_in_body, session_in_head

KNOWN = ("X-Claude-Code-Session-Id", "session_id", "X-Session-Id")
UUID = "0f8fad5b-d9cb-469f-a165-70867728950e"


def session(
    path: str | None = None, headers: Mapping[str, str] | None = None, body: Mapping[str, Any] | None = None
) -> SessionRef:
    named = session_in_head(path, CIMultiDict(headers or {}), known_headers=KNOWN, max_length=64)
    return named or session_in_body(body or {}, max_length=64)


def test_path_goes_before_header_before_body() -> None:
    headers, body = {"X-LLMQD-Session": "h"}, {"conversation": "b"}
    assert session("p", headers, body) == SessionRef("p", "path")
    assert session(None, headers, body) == SessionRef("h", "header")
    assert session(None, {}, body) == SessionRef("b", "body")
    assert session() == SessionRef(None, "none")


def test_own_header_goes_before_those_of_other_tools_and_those_in_their_order() -> None:
    headers = {"X-Session-Id": "generic", "session_id": "codex", "x-llmqd-session": "own"}
    assert session(headers=headers).id == "own"
    del headers["x-llmqd-session"]
    assert session(headers=headers).id == "codex"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"conversation": "conv_1"}, "conv_1"),
        ({"conversation": {"id": "conv_2"}}, "conv_2"),
        ({"metadata": {"user_id": f"user_abc_account__session_{UUID}"}}, UUID),
        ({"metadata": {"user_id": f'{{"device_id":"d","session_id":"{UUID}"}}'}}, UUID),
        ({"prompt_cache_key": "key-1"}, "key-1"),
        ({"metadata": {"user_id": "somebody"}}, None),
        ({"metadata": {"user_id": "{broken"}}, None),
        ({"metadata": {"user_id": '{"session_id": 5}'}}, None),
        ({"metadata": "text"}, None),
        ({"conversation": 5, "prompt_cache_key": ["x"]}, None),
    ],
)
def test_body_fields(body: Mapping[str, Any], expected: str | None) -> None:
    assert session(body=body).id == expected


@pytest.mark.parametrize("bad", ["", "x" * 65, "a\nb", "\x00", "\udcff"])
def test_an_unusable_id_given_to_llmqd_is_an_error_a_foreign_one_is_passed_over(bad: str) -> None:
    with pytest.raises(BadHeader, match="1 to 64 characters"):
        session(bad)
    with pytest.raises(BadHeader, match="X-LLMQD-Session"):
        session(headers={"X-LLMQD-Session": bad})
    assert session(headers={"X-Session-Id": bad}, body={"prompt_cache_key": "k"}) == SessionRef("k", "body")


_NAMES = st.sampled_from(["conversation", "metadata", "user_id", "prompt_cache_key", "id"])


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(_NAMES, inner),
    )
)
def test_no_body_can_break_it(body: object) -> None:
    fields = body if isinstance(body, dict) else {"conversation": body, "metadata": body, "prompt_cache_key": body}
    found = session(body=fields)
    assert (found.source == "none") == (found.id is None)
