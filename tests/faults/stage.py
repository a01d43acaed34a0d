"""A real daemon under load with everything around it that can be broken."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tests.certificates import own_certificate
from tests.fake_upstream import FakeUpstream
from tests.fake_upstream.openai_answers import chat, chat_stream
from tests.fake_upstream.request import Received
from tests.fake_upstream.script import Answer
from tests.faults.hostile import HOSTILE
from tests.faults.inject import Injection
from tests.faults.load import Load
from tests.process import LlmqdProcess
from tests.under_test import upstream_toml

_SERVER = 'client_timeout = "4s"\nshutdown_grace = "5s"\n'
_STORE = '[store]\nbatch_every = "50ms"\njournal_segment = "1MiB"\n'


@dataclass
class Stage:
    """What a fault can get at. `state` is the daemon's directory; on a file system of its own where it is `mounted`."""

    directory: Path
    process: LlmqdProcess
    upstream: FakeUpstream
    trusted: FakeUpstream
    injection: Injection
    load: Load
    web: aiohttp.ClientSession
    other_certificate: ssl.SSLContext
    mounted: bool = False
    hold: float = 2.0
    notes: list[str] = field(default_factory=list)
    _known: set[str] = field(default_factory=set)

    @property
    def state(self) -> Path:
        return self.directory / "state"

    @property
    def memory(self) -> float:
        """What the daemon holds in memory, in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    @property
    def descriptors(self) -> int:
        """What it has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    async def health(self) -> dict[str, Any]:
        """What it says of itself."""
        async with self.web.get(f"{self.process.url}/health") as answer:
            found: dict[str, Any] = await answer.json()
            return found

    async def told(self, words: str) -> bool:
        """Whether /health names this fault now."""
        return any(words in each for each in (await self.health())["faults"])

    async def says(self, words: str, within: float = 10.0) -> None:
        """Waits until /health names this fault."""
        found: list[str] = []
        try:
            async with asyncio.timeout(within):
                while True:
                    found = (await self.health())["faults"]
                    if any(words in each for each in found):
                        return
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"/health does not say {words!r} but {found}") from None

    async def ask(self, model: str, *, upstream: str | None = None, within: float = 20.0) -> tuple[int, bytes]:
        """One call beside the load: its status and body, 0 and what had come where it was cut."""
        where = f"/{upstream}/v1/chat/completions" if upstream else "/v1/chat/completions"
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
        got = b""
        try:
            async with (
                asyncio.timeout(within),
                self.web.post(f"{self.process.url}{where}", json=body, headers={"Accept-Encoding": "gzip"}) as answer,
            ):
                async for piece in answer.content.iter_any():
                    got += piece
                return answer.status, got
        except (aiohttp.ClientError, OSError) as error:
            return 0, got or repr(error).encode()

    async def healed(self, within: float = 60.0) -> float:
        """Waits until /health is well and the load is answered again; how many seconds that took. That descriptors were
        short is told for a while afterwards: it keeps nobody from being well."""
        loop = asyncio.get_running_loop()
        began, faults = loop.time(), ["nothing heard"]
        try:
            async with asyncio.timeout(within):
                while True:
                    try:
                        faults = [each for each in (await self.health())["faults"] if "LimitNOFILE" not in each]
                        if not faults and await self._answered():
                            return loop.time() - began
                    except (aiohttp.ClientError, OSError) as error:
                        faults = [repr(error)]
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"not healed within {within:g} s: {faults}; {dict(self.load.failed)}") from None

    async def _answered(self) -> bool:
        """Whether the next call is answered."""
        return (await self.ask("gpt-4o"))[0] == 200

    async def lost(self, within: float = 60.0) -> set[str]:
        """The delivered calls of which the database knows nothing, once it has caught up."""
        missing = set(self.load.delivered) - self._known
        loop = asyncio.get_running_loop()
        until = loop.time() + within
        while missing and loop.time() < until:
            found = await asyncio.to_thread(self._stored, missing)
            self._known |= found
            missing -= found
            await asyncio.sleep(0.2)
        return missing

    def _stored(self, ids: set[str]) -> set[str]:
        query = "SELECT id FROM calls WHERE status = 'done' AND id IN (SELECT value FROM json_each(?))"
        with closing(sqlite3.connect(f"file:{self.state}/llmqd.db?mode=ro", uri=True)) as database:
            return {str(row[0]) for row in database.execute(query, (json.dumps(list(ids)),))}

    async def restart(self) -> None:
        """kill -9, and a new daemon over what that one left."""
        await self.process.kill()
        await self.process.start()


def answer(request: Received) -> Answer:
    """A short answer, or a hostile one for a model that is named so."""
    model = str(request.json().get("model", "")) if request.body else ""
    if model in HOSTILE:
        return HOSTILE[model]
    if b'"stream":true' in request.body.replace(b" ", b""):
        given = chat_stream("gpt-4o", include_usage=True)
        return given.but(body=[step for chunk in given.body for step in (chunk, 0.005)])
    return chat("gpt-4o").but(before=[0.02])


@asynccontextmanager
async def staged(
    directory: Path, *, rate: float, hold: float, texts: bool = False, mounting: bool = True, more: str = ""
) -> AsyncIterator[Stage]:
    """Everything, running; as root the state directory is a small file system of its own, if it is to be. `more` stands
    at the end of the configuration."""
    state = directory / "state"
    state.mkdir()
    mounted = mounting and await _mount(state)
    context = await asyncio.to_thread(own_certificate, directory)
    (directory / "other").mkdir()
    other = await asyncio.to_thread(own_certificate, directory / "other")
    injection = await asyncio.to_thread(Injection, directory, state)
    try:
        async with (
            FakeUpstream(answer, tolerant=True) as upstream,
            FakeUpstream(answer, tls=context, tolerant=True) as trusted,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False) as web,
        ):
            named = upstream.url.replace("127.0.0.1", "localhost")
            toml = (
                upstream_toml("openai", upstream.url, "learn = false\nretries = 2")
                + upstream_toml("openai", named, "learn = false\nretries = 0").replace(
                    'name = "openai"', 'name = "named"'
                )
                + upstream_toml(
                    "openai", trusted.url, f'learn = false\nretries = 0\nca_file = "{directory}/cert.pem"'
                ).replace('name = "openai"', 'name = "trusted"')
            )
            process = LlmqdProcess(directory, toml, injection.environ)
            process.write(toml + _STORE + more, _SERVER)
            await process.start()
            try:
                async with Load(process.url, rate=rate, texts=texts) as load:
                    yield Stage(directory, process, upstream, trusted, injection, load, web, other, mounted, hold)
            finally:
                if process.running:
                    await process.kill()
    finally:
        if mounted:
            await _command("umount", "-l", str(state))


async def _mount(state: Path) -> bool:
    return os.geteuid() == 0 and await _command("mount", "-t", "tmpfs", "-o", "size=512m,mode=700", "tmpfs", str(state))


async def _command(*words: str) -> bool:
    silent = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*words, stdout=silent, stderr=silent)
    return await process.wait() == 0
