"""`make screenshots`: every view of the dashboard, light and dark, narrow and wide, of a daemon with some calls."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import sys
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

import aiohttp

from bench.analytics import prepared
from llmqd.auth.key import ClientKey, new_token
from llmqd.auth.key_file import KeyFile
from tests.browser.chromium import MISSING, Page, chromium
from tests.process import llmqd

TOML = """
[[upstream]]
name = "sim"
requests_per_minute = 600
tokens_per_minute = 20000
[[upstream]]
name = "second"
type = "sim"
[[budget]]
name = "team"
limit = "500 calls/day"
[[budget]]
name = "each-agent"
by = "agent"
limit = "1 usd/month"
"""
CALLS = 3000
MODELS = ("gpt-4o-mini", "gpt-4o", "claude-sonnet-4-5")
SAID = "What is {} squared? Please explain **each step** of the way."


async def make(directory: Path) -> None:
    """Writes `VIEW-THEME-WIDTH.png` into the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        await prepared(Path(place) / "state", CALLS)
        keys(Path(place) / "state")
        async with llmqd(Path(place), TOML) as daemon, aiohttp.ClientSession(daemon.url) as client:
            for number in range(8):
                await say(client, [{"role": "user", "content": SAID.format(number)}], number)
            made = await conversation(client)
            async with client.post("/queue/sim/pause", json={"reason": "for the picture", "seconds": 400}):
                pass
            talk: list[Any] = [{"role": "user", "content": "Waits"}]
            waiting = [asyncio.create_task(say(client, talk, number)) for number in range(5)]
            await asyncio.to_thread(shoot, daemon.url, directory, made)
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)


def keys(state: Path) -> None:
    """Two client keys, one of them revoked."""
    now = time.time()
    with KeyFile(state).changing() as made:
        for name, revoked in (("app", None), ("old", now - 3600)):
            token = new_token()
            made[name] = ClientKey(
                id=token.id,
                name=name,
                digest=token.digest,
                created=now - 86400,
                revoked=revoked,
                rpm=60,
                models=("gpt-*",),
            )


async def say(client: aiohttp.ClientSession, talk: list[Any], number: int, session: str | None = None) -> str:
    """The id of a call, once it has been answered."""
    headers = {"X-LLMQD-Session": session or f"session-{number % 4}", "X-LLMQD-Agent": ("coder", "writer")[number % 2]}
    body = {"model": MODELS[number % len(MODELS)], "messages": talk, "stream": number % 2 == 0}
    async with client.post("/sim/v1/chat/completions", json=body, headers=headers) as answer:
        await answer.read()
        return answer.headers["X-LLMQD-Request-Id"]


async def conversation(client: aiohttp.ClientSession) -> str:
    """A session with a tool, a picture and a branch; the id of one of its calls."""
    arguments = json.dumps({"city": "Ghent", "days": 3})
    tool = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": arguments}}
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(png()).decode()}"}}
    talk = [
        {"role": "system", "content": "You are brief."},
        {"role": "user", "content": [{"type": "text", "text": "What is in this picture, and will it rain?"}, image]},
        {"role": "assistant", "content": None, "tool_calls": [tool]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Rain on Tuesday, 12 °C"},
    ]
    await say(client, talk, 2, "rain")
    talk += [
        {"role": "assistant", "content": "It will rain on Tuesday."},
        {"role": "user", "content": "And Wednesday?"},
    ]
    await say(client, talk, 2, "rain")
    return await say(client, [*talk[:-1], {"role": "user", "content": "And in Bruges?"}], 2, "rain")


def png(size: int = 48) -> bytes:
    """A picture of a few colours."""
    rows = b"".join(b"\0" + bytes(v for x in range(size) for v in (x * 5, y * 5, 160)) for y in range(size))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def shoot(url: str, directory: Path, made: str) -> None:
    """Opens every view once for each theme and takes its picture at each width."""
    names = {"sessions/rain": "session", f"calls/{made}": "call", "usage?days=30": "usage"}
    views = (
        "now",
        "usage?days=30",
        "sessions",
        "sessions/rain",
        "calls",
        f"calls/{made}",
        "keys",
        "settings",
        "health",
    )
    with chromium(url, directory) as page:
        for theme in ("light", "dark"):
            for view in views:
                _both(page, directory, view, names.get(view, view), theme)


def _both(page: Page, directory: Path, view: str, name: str, theme: str) -> None:
    page.look(1920, theme)
    page.open(view)
    for width in (1920, 360):
        page.picture(directory / f"{name}-{theme}-{width}.png", width, theme)


if __name__ == "__main__":
    if MISSING is not None:
        sys.exit(MISSING)
    asyncio.run(make(Path(sys.argv[1])))
