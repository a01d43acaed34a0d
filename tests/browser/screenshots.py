"""`make screenshots`: every view of the dashboard, light and dark, narrow and wide, of a daemon with some calls."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

import aiohttp

from tests.browser.chromium import MISSING, chromium
from tests.process import llmqd

TOML = '[[upstream]]\nname = "sim"\nrequests_per_minute = 600\n'
MODELS = ("gpt-4o-mini", "gpt-4o", "claude-sonnet-4-5")


async def make(directory: Path) -> None:
    """Writes `VIEW-THEME-WIDTH.png` into the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        async with llmqd(Path(place), TOML) as daemon, aiohttp.ClientSession(daemon.url) as client:
            made = [await _call(client, number) for number in range(12)]
            async with client.post("/queue/sim/pause", json={"reason": "for the picture"}):
                pass
            waiting = [asyncio.create_task(_call(client, number)) for number in range(3)]
            await asyncio.to_thread(_shoot, daemon.url, directory, made[-1])
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)


async def _call(client: aiohttp.ClientSession, number: int) -> str:
    said = [{"role": "system", "content": "You are brief."}, {"role": "user", "content": f"What is {number} squared?"}]
    headers = {"X-LLMQD-Session": f"session-{number % 4}", "X-LLMQD-Agent": ("coder", "writer")[number % 2]}
    body = {"model": MODELS[number % len(MODELS)], "messages": said}
    async with client.post("/v1/chat/completions", json=body, headers=headers) as answer:
        await answer.read()
        return answer.headers["X-LLMQD-Request-Id"]


def _shoot(url: str, directory: Path, made: str) -> None:
    views = ("now", "usage", "sessions", "sessions/session-1", "calls", f"calls/{made}", "keys", "settings", "health")
    with chromium(url, directory) as page:
        for theme in ("light", "dark"):
            for width in (360, 1920):
                page.look(width, theme)
                for view in views:
                    page.open(view)
                    name = {"sessions/session-1": "session", f"calls/{made}": "call"}.get(view, view)
                    page.driver.save_screenshot(str(directory / f"{name}-{theme}-{width}.png"))


if __name__ == "__main__":
    if MISSING is not None:
        sys.exit(MISSING)
    asyncio.run(make(Path(sys.argv[1])))
