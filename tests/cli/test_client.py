"""Asking the running daemon: what can be in the way, and what is said about it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from llmqd.cli.client import TOKEN_VARIABLE, DaemonClient
from llmqd.cli.follow import follow
from llmqd.cli.locate import locate
from llmqd.errors import DaemonRefused, DaemonUnreachable


@asynccontextmanager
async def answering(status: int, body: str, server: str = "llmqd/1") -> AsyncIterator[DaemonClient]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, text=body, headers={"Server": server})

    app = web.Application()
    app.router.add_get("/x", answer)
    async with TestServer(app) as here:
        yield DaemonClient(locate(str(here.make_url("")), None, {}))


async def test_a_json_answer_is_given() -> None:
    async with answering(200, '{"a": 1}') as daemon:
        assert await asyncio.to_thread(daemon.ask, "GET", "/x") == {"a": 1}


async def test_another_status_is_an_error_unless_it_is_expected() -> None:
    async with answering(503, '{"error": {"message": "stopping"}}') as daemon:
        with pytest.raises(DaemonRefused, match=r"^stopping$"):
            await asyncio.to_thread(daemon.ask, "GET", "/x")
        assert "error" in await asyncio.to_thread(lambda: daemon.ask("GET", "/x", accept=(200, 503)))


async def test_an_error_without_a_sentence_shows_its_status() -> None:
    async with answering(500, "[]") as daemon:
        with pytest.raises(DaemonRefused, match="answered 500"):
            await asyncio.to_thread(daemon.ask, "GET", "/x")


@pytest.mark.parametrize(
    ("body", "server", "said"),
    [("<html>", "llmqd/1", "is not JSON"), ("{}", "nginx", "what answers there is not llmqd")],
)
async def test_another_program_at_the_address_is_recognised(body: str, server: str, said: str) -> None:
    async with answering(200, body, server) as daemon:
        with pytest.raises(DaemonUnreachable, match=said):
            await asyncio.to_thread(daemon.ask, "GET", "/x")


def test_nobody_there_says_where_why_and_what_to_do() -> None:
    port = unused_port()
    with pytest.raises(DaemonUnreachable) as raised:
        DaemonClient(locate(f"127.0.0.1:{port}", None, {})).ask("GET", "/x")
    first, second = str(raised.value).splitlines()
    assert first == f"no llmqd daemon answers at http://127.0.0.1:{port} (--url): Connection refused"
    assert "systemctl status llmqd" in second


async def test_a_daemon_that_speaks_no_tls_is_said() -> None:
    async with answering(200, "{}") as daemon:
        port = daemon.located.address.port
        with pytest.raises(DaemonUnreachable, match=r"speaks no TLS \(WRONG_VERSION_NUMBER\)|RECORD_LAYER_FAILURE"):
            await asyncio.to_thread(DaemonClient(locate(f"https://127.0.0.1:{port}", None, {})).ask, "GET", "/x")


def test_a_missing_socket_is_said(tmp_path: Path) -> None:
    with pytest.raises(DaemonUnreachable, match="No such file or directory"):
        DaemonClient(locate(f"unix:{tmp_path}/none", None, {})).ask("GET", "/x")


async def test_a_unix_socket_is_asked_like_a_port(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response(await request.json(), headers={"Server": "llmqd/1"})

    app = web.Application()
    app.router.add_post("/x", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.UnixSite(runner, tmp_path / "s").start()
        daemon = DaemonClient(locate(f"unix:{tmp_path}/s", None, {}))
        assert await asyncio.to_thread(daemon.ask, "POST", "/x", {"a": "ü"}) == {"a": "ü"}
    finally:
        await runner.cleanup()


async def test_every_way_of_asking_shows_the_admin_token(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str | None] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        shown.append(request.headers.get("Authorization"))
        if request.path == "/events":
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await response.prepare(request)
            await response.write(b'id: 1\nevent: started\ndata: {"type":"started"}\n\n')
            return response
        return web.json_response({}, headers={"Server": "llmqd/1"})

    app = web.Application()
    app.router.add_get("/{any:.*}", answer)
    async with TestServer(app) as here:
        located = locate(str(here.make_url("")), None, {})
        daemon = DaemonClient(located)

        def streamed() -> bytes:
            with daemon.streaming("/x") as pieces:
                return b"".join(pieces)

        for token in ("", "secret"):
            monkeypatch.setenv(TOKEN_VARIABLE, token)
            await asyncio.to_thread(daemon.ask, "GET", "/x")
            await asyncio.to_thread(daemon.page, "/x")
            assert await asyncio.to_thread(streamed) == b"{}"
            async with aclosing(follow(located, [])) as events:
                assert (await anext(events))["type"] == "started"
    assert shown[:4] == [None] * 4
    assert shown[4:] == ["Bearer secret"] * 4


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("", r"wants its admin token: put .* into \$LLMQD_ADMIN_TOKEN"),
        ("wrong", r"does not take the token in \$LLMQD_ADMIN_TOKEN"),
        ("a\nb", r"\$LLMQD_ADMIN_TOKEN holds characters"),
        ("schl\u00fcssel", r"\$LLMQD_ADMIN_TOKEN holds characters"),
    ],
)
async def test_who_is_not_let_in_is_told_where_the_token_is_looked_for(
    monkeypatch: pytest.MonkeyPatch, token: str, said: str
) -> None:
    async def refuse(_: web.Request) -> web.Response:
        return web.json_response({}, status=401, headers={"Server": "llmqd/1"})

    monkeypatch.setenv(TOKEN_VARIABLE, token)
    app = web.Application()
    app.router.add_get("/{any:.*}", refuse)
    async with TestServer(app) as here:
        located = locate(str(here.make_url("")), None, {})
        with pytest.raises(DaemonRefused, match=said):
            await asyncio.to_thread(DaemonClient(located).ask, "GET", "/x")
        with pytest.raises(DaemonRefused, match=said):
            async with aclosing(follow(located, [])) as events:
                await anext(events)


async def test_a_page_that_breaks_off_is_no_answer() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Server": "llmqd/1", "Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"{")
        assert request.transport is not None
        request.transport.close()
        return response

    app = web.Application()
    app.router.add_get("/x", answer)
    async with TestServer(app) as here:
        daemon = DaemonClient(locate(str(here.make_url("")), None, {}))
        with pytest.raises(DaemonUnreachable):
            await asyncio.to_thread(daemon.page, "/x")
