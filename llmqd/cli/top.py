"""`llmqd top`: a live view of lanes, waiting calls and what they cost, with keys to steer."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import orjson
from rich.console import Console
from rich.live import Live

from llmqd.background import end
from llmqd.cli.client import DaemonClient
from llmqd.cli.codes import DONE, FAILED, USED_WRONGLY
from llmqd.cli.follow import follow
from llmqd.cli.keyboard import keys
from llmqd.cli.locate import locate
from llmqd.cli.top_picture import Ask, Picture
from llmqd.cli.top_screen import screen
from llmqd.errors import ConfigError, DaemonRefused, DaemonUnreachable

_LOOK = 1.0
"""Seconds between two looks at the queue while nothing happens: waits and counters go on."""
_PAUSE = 0.15
"""Seconds that follow a look, however much happens."""
_SPENT = 30.0
"""Seconds between two questions for the money spent; what ends between is added from the events."""


def run(args: argparse.Namespace) -> int:
    """Show until `q`; with `--json`, or where there is no terminal to draw on, one look is printed."""
    try:
        daemon = DaemonClient(locate(args.url, args.config, os.environ))
        if args.json:
            print(orjson.dumps(daemon.ask("GET", "/queue"), option=orjson.OPT_INDENT_2).decode())
            return DONE
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            print("llmqd: top draws on a terminal; use --json, or `llmqd tail` for a line a call", file=sys.stderr)
            return USED_WRONGLY
        asyncio.run(Top(daemon).show())
    except (ConfigError, DaemonUnreachable, DaemonRefused) as error:
        print(f"llmqd: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        pass
    return DONE


class Top:
    """The view of one daemon. What is shown is decided in `Picture`; this asks, listens and draws."""

    def __init__(self, daemon: DaemonClient) -> None:
        self._daemon = daemon
        self._picture = Picture(str(daemon.located))
        self._news = asyncio.Event()
        self._look = asyncio.Event()
        self._ended = asyncio.Event()

    async def show(self) -> None:
        """Until the operator has seen enough. Raises DaemonUnreachable, DaemonRefused when it cannot begin."""
        self._picture.looked(await self._ask("GET", "/queue?limit=200"))
        console = Console()
        with keys(sys.stdin.fileno()) as pressed, Live(console=console, screen=True, auto_refresh=False) as live:
            jobs = [
                asyncio.create_task(job)
                for job in (self._listen(), self._keep_looking(), self._count_money(), self._obey(pressed))
            ]
            try:
                while not self._ended.is_set():
                    self._news.clear()
                    live.update(screen(self._picture, console.size), refresh=True)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_LOOK):
                            await self._news.wait()
                    for job in jobs:
                        if job.done() and not self._ended.is_set():
                            job.result()
            finally:
                await end(*jobs)

    async def _ask(self, method: str, path: str, body: dict[str, object] | None = None) -> Any:
        return await asyncio.to_thread(self._daemon.ask, method, path, body)

    async def _listen(self) -> None:
        while True:
            with suppress(DaemonUnreachable):  # it has answered before there was a picture, so it will be back
                async for event in follow(self._daemon.located, [], connected=self._connected):
                    self._picture.happened(event)
                    self._look.set()
                    self._news.set()
            self._connected(False)
            await asyncio.sleep(_LOOK)

    def _connected(self, connected: bool) -> None:
        self._picture.connected = connected
        self._look.set()
        self._news.set()

    async def _keep_looking(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK):
                    await self._look.wait()
            self._look.clear()
            with suppress(DaemonUnreachable, DaemonRefused):  # the event stream tells that it is away
                self._picture.looked(await self._ask("GET", "/queue?limit=200"))
                self._news.set()
            await asyncio.sleep(_PAUSE)

    async def _count_money(self) -> None:
        while True:
            with suppress(DaemonUnreachable, DaemonRefused):
                self._picture.spent(await self._ask("GET", "/api/v1/analytics/overview?days=1"))
                self._news.set()
            await asyncio.sleep(_SPENT)

    async def _obey(self, pressed: asyncio.Queue[str]) -> None:
        while True:
            wish = self._picture.pressed(await pressed.get())
            if wish == "quit":
                self._ended.set()
            elif wish is not None:
                await self._do(wish)
            self._look.set()
            self._news.set()

    async def _do(self, wish: Ask) -> None:
        path = f"/queue/{quote(wish.what, safe='/' if wish.action in ('pause', 'resume') else '')}"
        try:
            if wish.action == "cancel":
                await self._ask("DELETE", path)
            elif wish.action == "priority":
                await self._ask("PATCH", path, {"priority": wish.priority})
            else:
                body: dict[str, object] = {"reason": "llmqd top"} if wish.action == "pause" else {}
                await self._ask("POST", f"{path}/{wish.action}", body)
            self._picture.message = wish.done
        except (DaemonRefused, DaemonUnreachable) as error:
            self._picture.message = str(error).splitlines()[0]
