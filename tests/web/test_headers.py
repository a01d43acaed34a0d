"""Which headers pass."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from llmqd.config.model import Key, Upstream
from llmqd.config.secret import Secret
from llmqd.outbound import Outbound
from llmqd.providers.presets import PRESETS
from llmqd.web.headers import request_headers, response_headers, websocket_headers, without_key


def raw(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers]


def passed(headers: list[tuple[str, str]], preset: str = "openai", key: str | None = None) -> list[tuple[str, str]]:
    upstream = Upstream(name="u", preset=PRESETS[preset])
    lane_key = Key(name="k", api_key=Secret(key) if key else None)
    return list(request_headers(CIMultiDict(headers), raw(headers), upstream, lane_key, "https://u.test/v1/x").items())


def test_unknown_headers_pass_with_order_case_and_duplicates() -> None:
    headers = [
        ("x-CuStOm", "1"),
        ("anthropic-beta", "a"),
        ("X-Custom", "2"),
        ("Accept-Encoding", "br"),
        ("Session_Id", "s"),
    ]
    assert passed(headers) == headers


@given(st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=30)), max_size=6))
def test_what_leaves_never_holds_a_line_break(headers: list[tuple[bytes, bytes]]) -> None:
    upstream, key = Upstream(name="u", preset=PRESETS["openai"]), Key(name="k", api_key=Secret("own"))
    parsed = CIMultiDict((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)
    sent = request_headers(parsed, headers, upstream, key, "https://u.test/v1/x")
    assert sent.getall("Authorization") == ["Bearer own"]
    try:
        head = Outbound("POST", "https://u.test/v1/x", sent).head("u.test", 0)
    except (ValueError, UnicodeEncodeError):
        return
    assert head.count(b"\n") == head.count(b"\r") == head.count(b"\r\n")
    assert b"\0" not in head


@pytest.mark.parametrize(
    "name",
    ["Connection", "Keep-Alive", "Proxy-Authorization", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "Host",
     "Content-Length", "Expect", "Cookie", "X-Forwarded-For", "X-Forwarded-User", "X-Real-IP", "CF-Ray",
     "X-LLMQD-Priority", "x-llmqd-anything"],
)  # fmt: skip
def test_hop_by_hop_and_own_headers_end_here(name: str) -> None:
    assert passed([(name, "v")]) == []


def test_what_connection_names_ends_here_too() -> None:
    assert passed([("Connection", "close, X-Hop"), ("X-Hop", "1"), ("X-Stays", "1")]) == [("X-Stays", "1")]


def test_every_connection_header_counts() -> None:
    headers = [("Connection", "close"), ("Connection", "X-Hop"), ("X-Hop", "1")]
    assert passed(headers) == []
    assert list(response_headers(CIMultiDict(headers), raw(headers)).items()) == []


def test_the_client_s_key_passes_where_the_upstream_has_none() -> None:
    assert passed([("Authorization", "Bearer client")]) == [("Authorization", "Bearer client")]


@pytest.mark.parametrize(
    ("preset", "header"),
    [
        ("openai", ("Authorization", "Bearer own")),
        ("anthropic", ("x-api-key", "own")),
        ("gemini", ("x-goog-api-key", "own")),
        ("azure", ("api-key", "own")),
        ("elevenlabs", ("xi-api-key", "own")),
    ],
)
def test_the_client_s_key_is_replaced_wherever_it_stands(preset: str, header: tuple[str, str]) -> None:
    clients = [("Authorization", "Bearer c"), ("X-Api-Key", "c"), ("x-goog-api-key", "c"), ("api-key", "c")]
    assert passed(clients, preset, "own") == [header]


def test_google_s_openai_style_api_gets_its_key_as_a_bearer_token() -> None:
    upstream, key = Upstream(name="u", preset=PRESETS["gemini"]), Key(name="k", api_key=Secret("own"))
    url = "https://generativelanguage.googleapis.com/v1beta/openai/chat/completions"
    headers = request_headers(CIMultiDict(), raw([("Authorization", "Bearer c")]), upstream, key, url)
    assert list(headers.items()) == [("Authorization", "Bearer own")]


def test_extra_headers_of_the_upstream_are_added() -> None:
    upstream = Upstream(name="u", preset=PRESETS["openai"], headers=(("OpenAI-Project", Secret("p")),))
    headers = request_headers(
        CIMultiDict(), raw([("openai-project", "client's")]), upstream, Key(name="k"), "https://u.test/"
    )
    assert headers.getall("OpenAI-Project") == ["p"]


def test_answers_keep_everything_but_hop_by_hop() -> None:
    pairs = [("Set-Cookie", "a"), ("Set-Cookie", "b"), ("Connection", "x-hop"), ("X-Hop", "1"), ("retry-after", "3")]
    passed_on = response_headers(CIMultiDict(pairs), raw(pairs))
    assert list(passed_on.items()) == [("Set-Cookie", "a"), ("Set-Cookie", "b"), ("retry-after", "3")]


def test_a_key_shown_as_a_subprotocol_is_taken_out_where_the_upstream_has_one() -> None:
    headers = CIMultiDict({"Sec-WebSocket-Protocol": "realtime, openai-insecure-api-key.sk-c, openai-beta.realtime-v1"})
    websocket_headers(headers, replaces_key=True)
    assert headers["Sec-WebSocket-Protocol"] == "realtime, openai-beta.realtime-v1"
    assert (headers["Connection"], headers["Upgrade"]) == ("Upgrade", "websocket")


def test_google_s_key_parameter_is_taken_out_of_the_query() -> None:
    assert without_key("alt=sse&key=AIza&x=1") == "alt=sse&x=1"
    assert without_key("key=AIza") == ""
    assert without_key("monkey=1") == "monkey=1"
