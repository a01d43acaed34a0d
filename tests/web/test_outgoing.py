"""What leaves for an upstream of a route that calls the model by another name."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest

from tests.fake_upstream import FakeUpstream, json_answer
from tests.fake_upstream import openai_answers as openai
from tests.under_test import DaemonUnderTest, RawResponse, call, running, upstream_toml

CHAT = "/v1/chat/completions"
JSON = {"Content-Type": "application/json"}
ROUTE = '[[route]]\nmodel = "{model}"\nupstreams = [{first}{{ name = "{name}", model = "{new}" }}]\n'


def route(name: str, new: str, model: str = "gpt-*", first: str = "") -> str:
    return ROUTE.format(name=name, new=new, model=model, first=first)


@asynccontextmanager
async def renaming(
    tmp_path: Path, upstream: FakeUpstream, *, name: str = "groq", new: str = "other", more: str = "", server: str = ""
) -> AsyncIterator[DaemonUnderTest]:
    """A daemon whose only route leads to one upstream under another name."""
    toml = upstream_toml(name, upstream.url, more) + route(name, new, "*")
    async with running(tmp_path, toml, server=server) as daemon:
        yield daemon


async def post(daemon: DaemonUnderTest, body: bytes, path: str = CHAT, **headers: str) -> RawResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await call(daemon.port, "POST", path, body, JSON | named)


async def test_only_the_model_s_value_changes_and_the_answer_passes_as_it_is(tmp_path: Path) -> None:
    body = b' {"messages" : [{"role":"user","content":"model"}],\n"model":\t"gpt-4o" ,"metadata":{"model":"gpt-4o"}} '
    reply = json_answer({"model": "gpt-4o-2024", "usage": {"prompt_tokens": 3, "completion_tokens": 4}})
    async with FakeUpstream(reply) as upstream, renaming(tmp_path, upstream) as daemon:
        response = await post(daemon, body)
        assert (response.status, response.body) == (200, reply.data)
        (request,) = upstream.requests
        assert request.body == body.replace(b'\t"gpt-4o"', b'\t"other"')
        assert request.header("content-length") == str(len(request.body))


async def test_the_record_says_what_was_asked_and_what_was_sent(tmp_path: Path) -> None:
    prices = '[[price]]\nmodel = "other"\ninput = 1\noutput = 2\n'
    reply = json_answer({"usage": {"prompt_tokens": 3, "completion_tokens": 4}})
    async with FakeUpstream(reply) as upstream:
        toml = upstream_toml("groq", upstream.url) + route("groq", "other") + prices
        async with running(tmp_path, toml, store="sqlite") as daemon:
            response = await post(daemon, b'{"model":"gpt-4o","messages":[]}')
            record = await daemon.record(response.header("X-LLMQD-Request-Id") or "")
            assert (record.call.model, record.call.sent_model) == ("gpt-4o", "other")
            assert record.outcome.cost is not None
            assert record.outcome.cost.total == 11 * 10**6, "the price of the model that was sent"


async def test_a_hop_without_another_name_sends_the_body_untouched(tmp_path: Path) -> None:
    body = b'{"model":"gpt-4o", "messages":[]}'
    async with FakeUpstream(openai.error(401, "no", "x")) as first, FakeUpstream() as second:
        first.play(openai.error(500, "no", "x"))
        toml = upstream_toml("openai", first.url, "retries = 0") + upstream_toml("groq", second.url)
        async with running(tmp_path, toml + route("groq", "other", first='"openai", ')) as daemon:
            response = await post(daemon, body)
            assert (response.status, response.header("X-LLMQD-Upstream")) == (200, "groq")
            assert (first.requests[0].body, second.requests[0].json()["model"]) == (body, "other")
            record = await daemon.record(response.header("X-LLMQD-Request-Id") or "")
            assert (record.call.upstream, record.call.sent_model) == ("groq", "other")


async def test_the_next_model_may_be_of_the_same_upstream(tmp_path: Path) -> None:
    async with FakeUpstream() as upstream:
        upstream.play(openai.error(503, "overloaded", "x"))
        toml = upstream_toml("openai", upstream.url, "retries = 0") + route("openai", "mini", first='"openai", ')
        async with running(tmp_path, toml) as daemon:
            assert (await post(daemon, b'{"model":"gpt-4o","messages":[]}')).status == 200
            assert [request.json()["model"] for request in upstream.requests] == ["gpt-4o", "mini"]


async def test_limits_of_a_hop_are_those_of_the_model_that_it_is_sent(tmp_path: Path) -> None:
    limits = '[[upstream.limit]]\nname = "others"\nmodels = ["other"]\nrequests_per_day = 1\n'
    async with FakeUpstream() as upstream, renaming(tmp_path, upstream, more=limits) as daemon:
        body = b'{"model":"gpt-4o","messages":[]}'
        assert (await post(daemon, body)).status == 200
        assert (await post(daemon, body, X_LLMQD_No_Queue="1")).status == 429
        assert len(upstream.requests) == 1


async def test_a_large_body_is_changed_on_its_way_from_the_disk(tmp_path: Path) -> None:
    body = b'{"messages":["%b"],"model":"gpt-4o","tail":"%b"}' % (b"a" * 300_000, b"b" * 300_000)
    async with (
        FakeUpstream() as upstream,
        renaming(tmp_path, upstream, new="longer-than-before", server='spool_above = "64KiB"') as daemon,
    ):
        upstream.play(openai.error(500, "no", "x"))
        assert (await post(daemon, body)).status == 200
        wanted = body.replace(b'"gpt-4o"', b'"longer-than-before"')
        assert [request.body for request in upstream.requests] == [wanted] * 2
        assert upstream.requests[0].header("content-length") == str(len(wanted))
        assert not upstream.requests[0].chunked


async def test_a_compressed_body_leaves_in_plain(tmp_path: Path) -> None:
    body = b'{"model":"gpt-4o","messages":[]}'
    async with FakeUpstream() as upstream, renaming(tmp_path, upstream) as daemon:
        assert (await post(daemon, gzip.compress(body), Content_Encoding="gzip")).status == 200
        (request,) = upstream.requests
        assert (request.header("content-encoding"), request.body) == (None, body.replace(b"gpt-4o", b"other"))


async def test_usage_is_asked_for_in_the_renamed_body(tmp_path: Path) -> None:
    body = b'{"model":"gpt-4o","stream":true,"messages":[]}'
    async with FakeUpstream() as upstream, renaming(tmp_path, upstream, more="include_usage = true") as daemon:
        for data, headers in ((body, {}), (gzip.compress(body), {"Content_Encoding": "gzip"})):
            response = await post(daemon, data, **headers)
            assert (response.status, b'"usage":{' in response.body) == (200, False)
            record = await daemon.record(response.header("X-LLMQD-Request-Id") or "")
            assert record.outcome.usage is not None
            assert record.outcome.usage.source == "exact"
        for request in upstream.requests:
            assert request.json() == orjson.loads(body) | {
                "model": "other",
                "stream_options": {"include_usage": True},
            }


@pytest.mark.parametrize(
    ("name", "path", "body", "sent_path", "sent_body"),
    [
        (
            "gemini",
            "/v1beta/models/gemini-pro:generateContent",
            b'{"contents":[]}',
            "/v1beta/models/my%20model:generateContent",
            b'{"contents":[]}',
        ),
        (
            "gemini",
            "/v1beta/models/e:embedContent?key=k",
            b'{"model":"models/e"}',
            "/v1beta/models/my%20model:embedContent",
            b'{"model":"models/my model"}',
        ),
        (
            "azure",
            "/v1/openai/deployments/gpt/chat/completions?api-version=2024-10-21",
            b'{"model":"gpt","messages":[]}',
            "/openai/deployments/my%20model/chat/completions?api-version=2024-10-21",
            b'{"model":"my model","messages":[]}',
        ),
    ],
)
async def test_a_model_in_the_path_is_replaced_there(
    tmp_path: Path, name: str, path: str, body: bytes, sent_path: str, sent_body: bytes
) -> None:
    async with (
        FakeUpstream(json_answer({})) as upstream,
        renaming(tmp_path, upstream, name=name, new="my model") as daemon,
    ):
        assert (await post(daemon, body, path)).status == 200
        (request,) = upstream.requests
        assert request.target.endswith(sent_path)
        assert request.body == sent_body


async def test_a_form_names_the_other_model_and_keeps_its_file(tmp_path: Path) -> None:
    form = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n%b\r\n'
        b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n%b\r\n--b--\r\n'
    )
    audio = bytes(range(256)) * 100
    async with FakeUpstream(json_answer({"text": "hi"})) as upstream, renaming(tmp_path, upstream) as daemon:
        response = await post(
            daemon,
            form % (audio, b"whisper-1"),
            "/v1/audio/transcriptions",
            Content_Type="multipart/form-data; boundary=b",
        )
        assert response.status == 200
        assert upstream.requests[0].body == form % (audio, b"other")


async def test_whoever_names_the_upstream_gets_the_model_asked_for(tmp_path: Path) -> None:
    async with FakeUpstream() as upstream, renaming(tmp_path, upstream) as daemon:
        assert (await post(daemon, b'{"model":"gpt-4o","messages":[]}', "/groq" + CHAT)).status == 200
        assert upstream.requests[0].json()["model"] == "gpt-4o"
