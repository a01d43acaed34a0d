"""What an upstream gets of calls that look alike: nothing of one call is left in another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from llmqd.config.secret import Secret
from tests.fake_upstream import FakeUpstream, Received
from tests.under_test import DaemonUnderTest, call, running, upstream_toml

CHAT = "/v1/chat/completions"
BODY = b'{"model":"%s","messages":[{"role":"user","content":"%s"}]%s}'
JSON = {"Content-Type": "application/json", "Accept-Encoding": "gzip", "X-Same": "1"}


async def sent(
    daemon: DaemonUnderTest, upstream: FakeUpstream, *, model: bytes = b"m", words: bytes = b"hi", more: bytes = b""
) -> Received:
    response = await call(daemon.port, "POST", CHAT, BODY % (model, words, more), JSON)
    assert response.status == 200
    return upstream.requests[-1]


def named(request: Received, name: str) -> list[str]:
    return [value for key, value in request.raw_headers if key.lower() == name]


async def test_calls_with_the_same_head_each_say_the_length_of_their_own_body(tmp_path: Path) -> None:
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        requests = [await sent(daemon, upstream, words=b"x" * length) for length in (10, 2000, 10)]
        assert [named(one, "content-length") for one in requests] == [[str(len(one.body))] for one in requests]
        assert [name for name, _ in requests[0].raw_headers] == [name for name, _ in requests[1].raw_headers]
        assert requests[0].body == BODY % (b"m", b"x" * 10, b"")


async def test_what_is_new_with_each_call_reaches_the_upstream_as_it_is(tmp_path: Path) -> None:
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        for number in (None, "1", "2", None, "2"):
            headers = JSON if number is None else JSON | {"X-Request-Id": number, "traceparent": f"00-{number}"}
            assert (await call(daemon.port, "POST", CHAT, BODY % (b"m", b"hi", b""), headers)).status == 200
            request = upstream.requests[-1]
            assert named(request, "x-request-id") == ([] if number is None else [number])
            assert named(request, "traceparent") == ([] if number is None else [f"00-{number}"])


async def test_a_stream_whose_usage_is_asked_for_leaves_the_others_their_encoding(tmp_path: Path) -> None:
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        for _ in range(2):
            assert named(await sent(daemon, upstream), "accept-encoding") == ["gzip"]
            stream = await sent(daemon, upstream, more=b',"stream":true')
            assert named(stream, "accept-encoding") == ["identity"]
            assert named(stream, "content-length") == [str(len(stream.body))]


async def test_another_key_is_in_the_next_call_after_a_reload(tmp_path: Path) -> None:
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        assert named(await sent(daemon, upstream), "authorization") == ["Bearer sk-upstream"]
        config = daemon.in_force.config
        (old,) = config.upstreams
        keys = tuple(replace(key, api_key=Secret("sk-other")) for key in old.keys)
        changed = replace(old, keys=keys, headers=(("X-Extra", Secret("e")),))
        daemon.reload(lambda: replace(config, upstreams=(changed,)))
        request = await sent(daemon, upstream)
        assert (named(request, "authorization"), named(request, "x-extra")) == (["Bearer sk-other"], ["e"])


async def test_models_of_a_route_each_go_to_their_own_upstream(tmp_path: Path) -> None:
    async with FakeUpstream() as one, FakeUpstream() as other:
        routes = '[[route]]\nmodel = "a"\nupstreams = ["one"]\n[[route]]\nmodel = "b"\nupstreams = ["other"]\n'
        toml = upstream_toml("one", one.url) + upstream_toml("other", other.url)
        toml = toml.replace('type = "one"', 'type = "openai"').replace('type = "other"', 'type = "openai"')
        async with running(tmp_path, toml + routes) as daemon:
            for _ in range(2):
                assert named(await sent(daemon, one, model=b"a"), "host") == [one.url.partition("//")[2]]
                assert named(await sent(daemon, other, model=b"b"), "host") == [other.url.partition("//")[2]]
