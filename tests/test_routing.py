"""Paths, sessions in paths, and the upstream's URL."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.config.model import Config, Key, Route, Upstream
from llmqd.config.routes import Step
from llmqd.errors import MissingEndpoint, NotFound, UnknownUpstream
from llmqd.providers.operations import operation_of
from llmqd.providers.presets import PRESETS
from llmqd.routing import Routing, Target, parse_target, split_session, upstream_url

NAMES = frozenset({"openai", "anthropic", "groq", "gemini"})


@pytest.mark.parametrize(
    ("path", "session"),
    [
        ("/v1/session/abc123/chat/completions", "abc123"),
        ("/v1/session/xyz789/", "xyz789"),
        ("/v1/session_abc123/chat/completions", "abc123"),
        ("/v1/chat/completions", None),
        ("/foo/bar", None),
        ("", None),
        ("/", None),
        ("/v1/session/", None),
    ],
)
def test_session_is_read_from_the_path(path: str, session: str | None) -> None:
    assert split_session(path)[0] == session


@pytest.mark.parametrize(
    ("path", "forwarded"),
    [
        ("/v1/session/abc123/chat/completions", "/v1/chat/completions"),
        ("/v1/session/xyz789/", "/v1/"),
        ("/v1/session/onlysess", "/v1/"),
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/session/", "/v1/session/"),
        ("/", "/"),
        ("", ""),
    ],
)
def test_session_is_taken_out_of_the_path(path: str, forwarded: str) -> None:
    assert split_session(path)[1] == forwarded


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/v1/chat/completions", Target("/v1/chat/completions")),
        ("/v1/session/s1/chat/completions", Target("/v1/chat/completions", None, "s1")),
        ("/v1/session/s1/v1/messages", Target("/v1/messages", None, "s1")),
        ("/v1/v1/messages", Target("/v1/messages")),
        ("/v1/v1/v1/messages", Target("/v1/messages")),
        ("/anthropic/v1/messages", Target("/v1/messages", "anthropic")),
        ("/Anthropic/v1/messages", Target("/v1/messages", "anthropic")),
        ("/anthropic/v1/v1/messages", Target("/v1/messages", "anthropic")),
        ("/openai/session/s1/v1/chat/completions", Target("/v1/chat/completions", "openai", "s1")),
        ("/openai/v1/session/s1/chat/completions", Target("/v1/chat/completions", "openai", "s1")),
        ("/groq/openai/v1/chat/completions", Target("/openai/v1/chat/completions", "groq")),
        ("/v1beta/models/m:generateContent", Target("/v1beta/models/m:generateContent")),
        ("/upload/v1beta/files", Target("/upload/v1beta/files")),
        ("/anthropic", Target("/", "anthropic")),
        ("/anthropic/", Target("/", "anthropic")),
        ("/openai//v1//x/", Target("//v1//x/", "openai")),
        ("/v1/files/a%2Fb%20c", Target("/v1/files/a%2Fb%20c")),
        ("/v1/session/a%2Fb/files/c%2Fd", Target("/v1/files/c%2Fd", None, "a/b")),
        ("/v1/session//chat/completions", Target("/v1/chat/completions", None, "")),
        ("/v1/session/%ff/chat/completions", Target("/v1/chat/completions", None, "\udcff")),
    ],
)
def test_targets(path: str, target: Target) -> None:
    assert parse_target(path, NAMES) == target


@pytest.mark.parametrize(
    "path",
    [
        "/v1/session/test123/",
        "/v1/session/test123",
        "/v1/session/",
        "/v1/session",
        "/openai/session/x",
        "/openai/v1/session/x/",
        "/openai/session/",
    ],
)
def test_a_session_without_endpoint_is_missing_one(path: str) -> None:
    with pytest.raises(MissingEndpoint, match="Missing OpenAI endpoint"):
        parse_target(path, NAMES)


def test_an_unknown_first_segment_names_those_that_exist() -> None:
    with pytest.raises(UnknownUpstream, match=r"'mistral'.*anthropic, gemini, groq, openai"):
        parse_target("/mistral/v1/chat/completions", NAMES)


@pytest.mark.parametrize("path", ["/sessions/nothing", "/health/x", "/api/v1/nothing", "/config/"])
def test_own_urls_that_do_not_exist_are_not_forwarded(path: str) -> None:
    with pytest.raises(NotFound):
        parse_target(path, NAMES)


@given(st.text(alphabet="/abv1sesion_%2F.:?é-", max_size=40).map(lambda tail: "/openai/" + tail))
def test_any_path_is_forwarded_raw_or_refused(path: str) -> None:
    try:
        target = parse_target(path, NAMES)
    except MissingEndpoint:
        return
    if target.session is None and not target.path.startswith("/v1/") and "/v1/v1/" not in path:
        assert "/openai" + target.path == path
    assert path.endswith(target.path.removeprefix("/v1"))


def upstream(name: str, base_url: str | None = None) -> Upstream:
    preset = PRESETS[name]
    return Upstream(
        name=name, type=name, base_url=base_url or preset.base_url or "", preset=preset, keys=(Key(name="k"),)
    )


@pytest.mark.parametrize(
    ("name", "base_url", "path", "url"),
    [
        ("openai", None, "/v1/chat/completions", "https://api.openai.com/v1/chat/completions"),
        ("openai", "https://api.openai.com/v1", "/v1/chat/completions", "https://api.openai.com/v1/chat/completions"),
        ("openai", "https://x.test/base/v1/", "/v1/models", "https://x.test/base/v1/models"),
        ("groq", None, "/v1/chat/completions", "https://api.groq.com/openai/v1/chat/completions"),
        ("groq", None, "/groq/openai/v1/models", "https://api.groq.com/openai/v1/models"),
        ("openrouter", None, "/v1/chat/completions", "https://openrouter.ai/api/v1/chat/completions"),
        ("fireworks", None, "/fireworks/v1/completions", "https://api.fireworks.ai/inference/v1/completions"),
        ("perplexity-ai", None, "/v1/chat/completions", "https://api.perplexity.ai/chat/completions"),
        (
            "gemini",
            None,
            "/v1/chat/completions",
            "https://generativelanguage.googleapis.com/v1beta/openai/chat/completions",
        ),
        (
            "gemini",
            None,
            "/v1beta/models/m:generateContent",
            "https://generativelanguage.googleapis.com/v1beta/models/m:generateContent",
        ),
        (
            "gemini",
            None,
            "/v1/models/m:generateContent",
            "https://generativelanguage.googleapis.com/v1/models/m:generateContent",
        ),
        ("openai", None, "/openai/v1/a%2Fb//c/", "https://api.openai.com/v1/a%2Fb//c/"),
    ],
)
def test_upstream_urls(name: str, base_url: str | None, path: str, url: str) -> None:
    target = parse_target(path, frozenset({name}))
    assert upstream_url(upstream(name, base_url), target, operation_of("POST", target.path), "") == url


def test_the_query_stays_as_it_is() -> None:
    target = parse_target("/v1/x", NAMES)
    url = upstream_url(upstream("openai"), target, operation_of("GET", "/v1/x"), "a=1&&b=%20+&a")
    assert url == "https://api.openai.com/v1/x?a=1&&b=%20+&a"


def routing(*names: str, routes: tuple[Route, ...] = ()) -> Routing:
    return Routing(Config(upstreams=tuple(upstream(name) for name in names), routes=routes))


def chosen(by: Routing, path: str, model: str | None = None) -> str:
    target = parse_target(path, by.names)
    return by.hops(target, operation_of("POST", target.path), model)[0].upstream.name


def test_the_url_decides_before_the_model_and_the_model_before_the_path() -> None:
    by = routing("openai", "anthropic", "groq", routes=(Route(model="llama*", upstreams=(Step("groq"),)),))
    assert chosen(by, "/anthropic/v1/chat/completions", "llama-3") == "anthropic"
    assert chosen(by, "/v1/chat/completions", "llama-3") == "groq"
    assert chosen(by, "/v1/messages", "claude-x") == "anthropic"
    assert chosen(by, "/v1/chat/completions", "gpt-x") == "openai"
    assert chosen(by, "/v1/unknown") == "openai"


def test_the_path_s_dialect_decides_before_the_order() -> None:
    assert chosen(routing("anthropic", "openai"), "/v1/chat/completions") == "openai"
    assert chosen(routing("anthropic", "openai"), "/v1/unknown") == "anthropic"
    assert chosen(routing("openai", "gemini"), "/v1beta/models/m:generateContent") == "gemini"
    assert chosen(routing("anthropic"), "/v1/chat/completions") == "anthropic"


def test_a_route_is_a_row_of_hops_each_with_its_own_name_for_the_model() -> None:
    steps = (Step("openai"), Step("Groq", "llama-3"), Step("openai", "gpt-4o-mini"), Step("anthropic", "gpt-4o"))
    by = routing("openai", "groq", "anthropic", routes=(Route(model="gpt-4o*", upstreams=steps),))
    target = parse_target("/v1/chat/completions", by.names)
    hops = by.hops(target, operation_of("POST", target.path), "gpt-4o")
    assert [(hop.upstream.name, hop.model) for hop in hops] == [
        ("openai", None),
        ("groq", "llama-3"),
        ("openai", "gpt-4o-mini"),
        ("anthropic", None),
    ], "a name that is the asked one anyway is no other name"


@pytest.mark.parametrize(("path", "model"), [("/openai/v1/chat/completions", "gpt-4o"), ("/v1/messages", None)])
def test_whoever_names_an_upstream_or_no_model_has_nowhere_else_to_go(path: str, model: str | None) -> None:
    steps = (Step("openai"), Step("groq", "llama-3"))
    by = routing("openai", "groq", "anthropic", routes=(Route(model="*", upstreams=steps),))
    target = parse_target(path, by.names)
    ((_, renamed),) = by.hops(target, operation_of("POST", target.path), model)
    assert renamed is None


def test_without_any_upstream_the_error_says_what_to_do() -> None:
    with pytest.raises(UnknownUpstream, match="OPENAI_API_KEY"):
        chosen(routing(), "/v1/chat/completions")
