"""The client session towards upstreams: failures become llmqd's own, and only trusted certificates are."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from aiohttp import ClientResponse
from multidict import CIMultiDict

from llmqd.config.model import Upstream
from llmqd.errors import StaleConnection, UpstreamTimeout, UpstreamUnreachable
from llmqd.exchange import Exchange
from llmqd.outbound import Outbound
from llmqd.upstream import UpstreamClient
from tests.certificates import own_certificate
from tests.fake_upstream import Answer, FakeUpstream, json_answer
from tests.restless import Restless


@pytest.fixture
async def client() -> AsyncIterator[UpstreamClient]:
    async with UpstreamClient(max_header=65536, proxy_from_environment=False) as running:
        yield running


async def whole(answer: Exchange | ClientResponse) -> bytes:
    body = b""
    while piece := await answer.content.readany():
        body += piece
    return body


async def get(client: UpstreamClient, upstream: Upstream, url: str) -> bytes:
    answer = await client.send(upstream, Outbound("GET", url, CIMultiDict()), None)
    try:
        return await whole(answer)
    finally:
        answer.close()


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:9/x", "http://does-not-exist.invalid/x", "http://127.0.0.1:99999/x"],
)
async def test_whoever_cannot_be_reached_is_named(client: UpstreamClient, url: str) -> None:
    with pytest.raises(UpstreamUnreachable, match="Proxy error: no answer from acme: "):
        await get(client, Upstream(name="acme"), url)


async def test_what_is_no_http_is_unreachable(client: UpstreamClient) -> None:
    async with FakeUpstream(Answer(raw=True, body=[b"SSH-2.0-OpenSSH_9.2\r\n"])) as upstream:
        with pytest.raises(UpstreamUnreachable):
            await get(client, Upstream(name="acme"), upstream.url)


async def test_silence_is_a_timeout(client: UpstreamClient) -> None:
    async with FakeUpstream(Answer(end="hang", headers_sent=False)) as upstream:
        with pytest.raises(UpstreamTimeout, match="acme did not answer in time"):
            await get(client, Upstream(name="acme", timeout=0.05), upstream.url)


async def test_long_headers_pass_up_to_the_limit(client: UpstreamClient) -> None:
    async with FakeUpstream(json_answer({}, 200, ("X-Long", "v" * 60_000))) as upstream:
        answer = await client.send(Upstream(name="acme"), Outbound("GET", upstream.url, CIMultiDict()), None)
        assert len(answer.headers["X-Long"]) == 60_000
        answer.close()
    async with FakeUpstream(json_answer({}, 200, ("X-Long", "v" * 70_000))) as upstream:
        with pytest.raises(UpstreamUnreachable):
            await get(client, Upstream(name="acme"), upstream.url)


async def test_more_than_a_hundred_calls_run_at_once(client: UpstreamClient) -> None:
    async with FakeUpstream(Answer(end="hang", body=[b"x"], framing="chunked")) as upstream:
        answers = [
            await client.send(Upstream(name="acme"), Outbound("GET", upstream.url, CIMultiDict()), None)
            for _ in range(150)
        ]
        assert upstream.active == 150
        for answer in answers:
            answer.close()


async def test_a_certificate_is_checked_and_an_own_authority_can_be_trusted(
    client: UpstreamClient, tmp_path: Path
) -> None:
    context = await asyncio.to_thread(own_certificate, tmp_path)
    async with FakeUpstream(json_answer({"safe": True}), tls=context) as upstream:
        with pytest.raises(UpstreamUnreachable, match="certificate verify failed"):
            await get(client, Upstream(name="acme"), upstream.url)
        trusting = Upstream(name="acme", ca_file=tmp_path / "cert.pem")
        assert await get(client, trusting, upstream.url) == b'{"safe":true}'


async def test_a_kept_connection_that_was_just_closed_is_told_from_a_broken_upstream(client: UpstreamClient) -> None:
    async with Restless.serving() as restless:
        url = f"{restless.url}/x"
        answer = await client.send(Upstream(name="acme"), Outbound("POST", url, CIMultiDict()), b"abc")
        await whole(answer)
        with pytest.raises(StaleConnection):
            await client.send(Upstream(name="acme"), Outbound("POST", url, CIMultiDict()), b"abc")
        answer = await client.send(Upstream(name="acme"), Outbound("POST", url, CIMultiDict()), b"abc")
        assert await whole(answer) == b"{}"
    assert restless.bodies == [b"abc"] * 3


async def test_it_tells_when_a_request_is_written_which_is_never_without_a_connection(client: UpstreamClient) -> None:
    left: list[str] = []
    async with FakeUpstream() as upstream:
        for name in ("new", "kept"):
            url = f"{upstream.url}/v1/models"
            answer = await client.send(
                Upstream(name="acme"), Outbound("POST", url, CIMultiDict()), b"{}", leaves=partial(left.append, name)
            )
            await whole(answer)
    with pytest.raises(UpstreamUnreachable):
        await client.send(
            Upstream(name="acme"), Outbound("POST", url, CIMultiDict()), b"", leaves=partial(left.append, "never")
        )
    assert left == ["new", "kept"]


async def test_a_request_without_a_body_has_left_when_it_is_answered(client: UpstreamClient) -> None:
    left: list[str] = []
    async with FakeUpstream() as upstream:
        url = f"{upstream.url}/v1/models"
        leaves = partial(left.append, "now")
        await whole(await client.send(Upstream(name="acme"), Outbound("GET", url, CIMultiDict()), None, leaves=leaves))
    assert left == ["now"]


async def test_a_connection_that_broke_on_its_first_call_was_not_stale(client: UpstreamClient) -> None:
    async with FakeUpstream(Answer(end="cut", headers_sent=False)) as upstream:
        with pytest.raises(UpstreamUnreachable) as raised:
            await client.send(Upstream(name="acme"), Outbound("POST", upstream.url, CIMultiDict()), b"abc")
        assert not isinstance(raised.value, StaleConnection)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(raw=True, body=[b"SSH-2.0-OpenSSH_9.2\r\n"]),
        Answer(raw=True, body=[b"HTTP/1.1 200 OK\r\nContent-Le"]),
        Answer(end="reset", headers_sent=False),
    ],
    ids=["no HTTP", "half a head", "reset"],
)
async def test_the_reason_says_neither_the_address_nor_the_parser_s_insides(
    client: UpstreamClient, answer: Answer
) -> None:
    async with FakeUpstream(answer) as upstream:
        with pytest.raises(UpstreamUnreachable) as caught:
            await client.send(Upstream(name="acme"), Outbound("POST", upstream.url, CIMultiDict()), b"abc")
    for inside in ("127.0.0.1", "\n", "RawResponseMessage", "CIMultiDict"):
        assert inside not in caught.value.message


async def test_a_connection_that_does_not_come_about_is_no_silence_of_the_upstream(client: UpstreamClient) -> None:
    with socket.socket() as full, contextlib.ExitStack() as others:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(2):  # more than this the kernel does not take in: it lets who comes wait
            other = others.enter_context(socket.socket())
            other.setblocking(False)
            other.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}/x"
        with pytest.raises(UpstreamUnreachable, match="no connection came about"):
            await get(client, Upstream(name="acme", connect_timeout=0.1), url)
