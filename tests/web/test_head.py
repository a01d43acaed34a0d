"""Heads of requests: one that came before is known again, as long as nothing that it was read by has changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from llmqd.call import SessionRef
from llmqd.config.model import Config, Upstream
from llmqd.in_force import InForce
from llmqd.web.head import Head, Heads

CHAT = "/v1/chat/completions"


@pytest.fixture
def in_force() -> InForce:
    return InForce.of(Config(upstreams=(Upstream(name="openai"),)))


@pytest.fixture
def heads(in_force: InForce) -> Heads:
    return Heads(in_force)


def head(heads: Heads, headers: Mapping[str, str] | None = None, path: str = CHAT, method: str = "POST") -> Head:
    return heads.of(make_mocked_request(method, path, headers=CIMultiDict(headers or {})))


def test_a_head_is_known_again_whatever_the_length_of_its_body(heads: Heads) -> None:
    sdk = {"Authorization": "Bearer k", "X-LLMQD-Priority": "high", "Content-Type": "application/json"}
    first = head(heads, sdk | {"Content-Length": "5"})
    assert head(heads, sdk | {"Content-Length": "500"}) is first
    assert head(heads, sdk | {"content-length": "7"}) is first
    assert (first.tokens, first.controls.priority, first.content_type) == (("k",), 1, "application/json")


@pytest.mark.parametrize(
    ("headers", "path", "method"),
    [
        ({"Authorization": "Bearer other"}, CHAT, "POST"),
        ({"Authorization": "Bearer k", "X-LLMQD-Priority": "low"}, CHAT, "POST"),
        ({"Authorization": "Bearer k"}, CHAT + "?key=x", "POST"),
        ({"Authorization": "Bearer k"}, "/openai/v1/chat/completions", "POST"),
        ({"Authorization": "Bearer k"}, CHAT, "GET"),
    ],
)
def test_any_other_difference_makes_another_head(heads: Heads, headers: dict[str, str], path: str, method: str) -> None:
    first = head(heads, {"Authorization": "Bearer k"})
    other = head(heads, headers, path, method)
    assert other is not first
    assert other != first


def test_callers_with_other_keys_are_told_apart_and_their_keys_are_not_in_their_scope(heads: Heads) -> None:
    scopes = [head(heads, {"Authorization": f"Bearer {key}"}).scope for key in ("key-a", "key-b", "key-a")]
    assert scopes[0] == scopes[2] != scopes[1]
    assert "key-a" not in scopes[0]
    assert head(heads).scope == ""


def test_another_configuration_reads_every_head_anew(heads: Heads, in_force: InForce) -> None:
    tool = {"X-Tool-Session": "s1"}
    assert head(heads, tool).session is None
    assert head(heads, tool, "/groq/v1/chat/completions").fault is not None
    sessions = replace(in_force.config.sessions, headers=("X-Tool-Session",))
    in_force.replace(Config(upstreams=(Upstream(name="groq"),), sessions=sessions))
    assert head(heads, tool).session == SessionRef("s1", "header")
    assert head(heads, tool, "/groq/v1/chat/completions").target.upstream == "groq"


def test_what_is_new_with_each_call_and_only_passes_is_no_other_head(heads: Heads) -> None:
    found = [head(heads, {"X-LLMQD-User": "u", "Traceparent": str(number)}) for number in range(3)]
    plain = head(heads, {"X-LLMQD-User": "u"})
    assert found == [plain] * 3
    assert len(heads) == 1
    assert len({id(one.made) for one in (*found, plain)}) == 4, "what is sent of them differs"


def test_a_session_may_be_read_of_what_is_new_with_each_call(in_force: InForce) -> None:
    sessions = replace(in_force.config.sessions, headers=("X-Request-ID",))
    heads = Heads(InForce.of(replace(in_force.config, sessions=sessions)))
    assert [head(heads, {"x-request-id": one}).session for one in ("a", "b")] == [
        SessionRef("a", "header"),
        SessionRef("b", "header"),
    ]


def test_only_heads_of_calls_that_can_be_made_are_remembered(heads: Heads) -> None:
    assert head(heads, path="/unknown/v1/chat/completions").fault is not None
    assert head(heads, {"X-LLMQD-Priority": "soon"}).fault is not None
    assert head(heads, {"Transfer-Encoding": "gzip"}).fault is not None
    assert head(heads, {"X-LLMQD-Session": "x" * 2000}).session_fault is not None
    assert len(heads) == 0


def test_what_is_remembered_has_bounds(heads: Heads) -> None:
    head(heads, {"User-Agent": "x" * 9000})
    head(heads, path=CHAT + "?" + "x" * 9000)
    assert len(heads) == 0
    for number in range(2000):
        head(heads, {"X-Other": str(number)})
    assert len(heads) <= 512


def test_what_a_head_asks_for(heads: Heads) -> None:
    handshake = {"Upgrade": "websocket", "Connection": "keep-alive, Upgrade"}
    found = head(heads, handshake, "/v1/realtime?model=gpt-realtime", "GET")
    assert (found.upgrade, found.asks, found.model) == (True, True, "gpt-realtime")
    found = head(heads, {}, "/v1/models?model=x", "GET")
    assert (found.upgrade, found.asks, found.model) == (False, False, None)
    assert head(heads, {"x-stainless-retry-count": "2", "x-stainless-timeout": "60"}).retries == 2
    assert head(heads, {"x-stainless-retry-count": "1000"}).retries == 99
    assert head(heads, {"x-stainless-retry-count": "-1"}).retries == 0
