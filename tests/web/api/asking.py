"""A daemon whose ledger is given calls, and requests to its API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson

from llmqd.call import Record
from tests.under_test import DaemonUnderTest, RawResponse, call, running, upstream_toml


class Asked:
    """Asks one daemon's API."""

    def __init__(self, daemon: DaemonUnderTest) -> None:
        self.daemon = daemon

    async def know(self, *records: Record) -> None:
        """The ledger learns that these calls have ended."""
        for record in records:
            self.daemon.ledger.unsent(record)
        assert await self.daemon.ledger.settled(10)

    async def response(self, path: str, body: object = None, method: str | None = None) -> RawResponse:
        """The answer to a GET, or with a body to a POST."""
        data = b"" if body is None else orjson.dumps(body)
        return await call(self.daemon.port, method or ("GET" if body is None else "POST"), path, data)

    async def json(self, path: str, body: object = None, status: int = 200) -> Any:
        """The answer below /api/v1, which has this status."""
        response = await self.response(f"/api/v1{path}", body)
        assert (response.status, response.header("content-type")) == (status, "application/json"), response.body
        return orjson.loads(response.body)

    async def refused(self, path: str, body: object = None, status: int = 422) -> dict[str, Any]:
        """What is wrong with a request, which has the shape of an OpenAI error."""
        answer = await self.json(path, body, status)
        assert set(answer) == {"error"}
        assert set(answer["error"]) == {"message", "type", "param", "code"}
        error: dict[str, Any] = answer["error"]
        return error


@asynccontextmanager
async def asking(tmp_path: Path, *records: Record, store: str = "memory", more: str = "") -> AsyncIterator[Asked]:
    """A daemon that knows these calls."""
    async with running(tmp_path, upstream_toml("openai", "http://127.0.0.1:9", more), store=store) as daemon:
        asked = Asked(daemon)
        await asked.know(*records)
        yield asked


def pick(row: dict[str, Any], *names: str) -> Sequence[Any]:
    """Some fields of an object."""
    return [row[name] for name in names]
