"""The yardstick for memory: a bare aiohttp server whose calls wait for ever; says its port on its first line."""

from __future__ import annotations

import asyncio

import uvloop
from aiohttp import web


async def _waits(request: web.Request) -> web.Response:
    body = await request.read()
    await asyncio.Event().wait()
    return web.Response(body=body)


async def main() -> None:
    """Serves until it is killed."""
    app = web.Application()
    app.router.add_post("/{tail:.*}", _waits)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=4096)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
