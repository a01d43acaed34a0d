"""Clients that wait to be let in: none waits for many turns of a loop that is busy, nor for ever."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import ssl
from contextlib import ExitStack
from pathlib import Path

import pytest
import uvloop
from aiohttp import web

from llmqd.config.address import Address
from llmqd.systemd import Notifier
from llmqd.web.accepting import AcceptingSite
from llmqd.web.listening import Listening
from tests.certificates import own_certificate

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def listening() -> Listening:
    return Listening(web.Application(), [Address("127.0.0.1", 0)], grace=1, max_header=65536, notifier=Notifier({}))


@pytest.mark.parametrize("loop", LOOPS)
def test_all_who_wait_are_let_in_together(loop: str) -> None:
    async def let_in() -> int:
        async with listening() as server:
            port = int(server.addresses[0].rpartition(":")[2])
            with ExitStack() as clients:
                for _ in range(60):  # all are there before the loop turns again
                    clients.enter_context(socket.create_connection(("127.0.0.1", port)))
                for _ in range(8):
                    await asyncio.sleep(0)
                return len(server.connections)

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        assert runner.run(let_in()) == 60


@pytest.mark.parametrize("loop", LOOPS)
def test_without_descriptors_clients_wait_until_there_are_some(loop: str) -> None:
    async def let_in() -> tuple[int, int]:
        most = resource.getrlimit(resource.RLIMIT_NOFILE)
        async with listening() as server:
            port = int(server.addresses[0].rpartition(":")[2])
            with ExitStack() as clients:
                for _ in range(3):
                    clients.enter_context(socket.create_connection(("127.0.0.1", port)))
                lowest = os.dup(0)
                os.close(lowest)
                resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, most[1]))
                try:
                    for _ in range(8):
                        await asyncio.sleep(0)
                    without = len(server.connections)
                finally:
                    resource.setrlimit(resource.RLIMIT_NOFILE, most)
                async with asyncio.timeout(20):
                    while len(server.connections) < 3:  # noqa: ASYNC110 - nobody tells
                        await asyncio.sleep(0.01)
                return without, len(server.connections)

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        assert runner.run(let_in()) == (0, 3)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_client_that_says_nothing_where_tls_is_spoken_holds_up_neither_others_nor_the_end(
    loop: str, tmp_path: Path
) -> None:
    context = own_certificate(tmp_path)

    async def asked() -> bytes:
        runner = web.AppRunner(web.Application(), access_log=None)
        await runner.setup()
        site = AcceptingSite(runner, socket.create_server(("127.0.0.1", 0)), ssl_context=context)
        await site.start()
        try:
            where = runner.addresses[0][:2]
            with socket.create_connection(where):
                ours = ssl.create_default_context(cafile=tmp_path / "cert.pem")
                reader, writer = await asyncio.open_connection(*where, ssl=ours)
                writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                answer = await reader.read()
                writer.close()
                return answer
        finally:
            await asyncio.wait_for(runner.cleanup(), 20)

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        assert b" 404 " in runner.run(asked())
