"""A real daemon with paused lanes, and its queue served beside it, so that tests can see and steer who waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from llmqd.call import Call
from llmqd.lane.lane import Lane
from llmqd.lane.turn import Turn
from llmqd.web.queue_api import QueueApi
from tests.calls import a_call
from tests.under_test import DaemonUnderTest, running, upstream_toml


def routes(daemon: DaemonUnderTest) -> web.Application:
    app = web.Application()
    QueueApi(daemon.lanes, clock=time.monotonic).add_to(app, lambda handler: handler)
    app.router.add_get("/health", daemon.own.health)
    app.on_response_prepare.append(_signature)
    return app


async def _signature(_: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = "llmqd/test"


@dataclass
class Steered:
    """A daemon with paused lanes, and the client of its queue."""

    daemon: DaemonUnderTest
    client: TestClient[web.Request, web.Application]
    tasks: list[asyncio.Task[None]]

    @property
    def url(self) -> str:
        return str(self.client.make_url(""))

    def lane(self, name: str) -> Lane:
        return next(lane for lane in self.daemon.lanes if lane.name == name)

    async def wait(self, lane: str, **fields: Any) -> Call:
        """A call that waits in this lane, and then runs until the test ends."""
        call = a_call(arrived=asyncio.get_running_loop().time(), upstream=lane.partition("/")[0], **fields)
        self.tasks.append(asyncio.create_task(_passes(self.lane(lane), call)))
        await asyncio.sleep(0)
        return call

    async def ask(self, method: str, path: str, expect: int = 200, **options: Any) -> Any:
        async with self.client.request(method, path, **options) as response:
            body = await response.json()
            assert response.status == expect, body
            return body if expect < 400 else body["error"]


async def _passes(lane: Lane, call: Call) -> None:
    async with Turn(lane, call):
        await asyncio.Event().wait()


@asynccontextmanager
async def steering(tmp_path: Path, toml: str = "", url: str = "http://127.0.0.1:9") -> AsyncIterator[Steered]:
    toml = toml or upstream_toml("openai", url) + upstream_toml("anthropic", url) + upstream_toml("gemini", url)
    async with running(tmp_path, toml) as daemon, TestClient(TestServer(routes(daemon))) as client:
        for lane in daemon.lanes:
            lane.pause(None, "test")
        steered = Steered(daemon, client, [])
        try:
            yield steered
        finally:
            for task in steered.tasks:
                task.cancel()
            await asyncio.gather(*steered.tasks, return_exceptions=True)
