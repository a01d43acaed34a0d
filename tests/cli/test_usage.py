"""llmqd usage, asked of a real daemon."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from llmqd.cli import main
from llmqd.cli.codes import DONE, FAILED, USED_WRONGLY
from tests.web.api.asking import Asked, asking
from tests.web.api.test_analytics import two_agents_and_a_failure

Capture = pytest.CaptureFixture[str]
SINCE = ("--since", "2020-01-01", "--until", "2029-01-01")


async def llmqd(asked: Asked, *words: str) -> int:
    url = f"http://127.0.0.1:{asked.daemon.port}"
    return await asyncio.to_thread(main, ["usage", *words, "--url", url])


@pytest.mark.parametrize("by", ["model", "agent", "user", "key", "upstream", "session"])
async def test_each_row_is_a_share_and_the_last_is_the_sum(tmp_path: Path, capsys: Capture, by: str) -> None:
    async with asking(tmp_path, *two_agents_and_a_failure()) as asked:
        assert await llmqd(asked, "--by", by, *SINCE) == DONE
        head, *rows, whole = capsys.readouterr().out.splitlines()
        assert head.split() == [by.upper(), "CALLS", "TOKENS", "COST", "SHARE"]
        assert rows
        assert whole.split() == ["in", "all", "3", "300", "$0.0030", "-"]


@pytest.mark.parametrize("by", ["hour", "day"])
async def test_time_by_time(tmp_path: Path, capsys: Capture, by: str) -> None:
    async with asking(tmp_path, *two_agents_and_a_failure()) as asked:
        window = asked.daemon.ledger.usage
        stretch = await window.stretch(3600)
        assert stretch is not None
        start, end = (datetime.fromtimestamp(at, UTC).isoformat() for at in stretch)
        assert await llmqd(asked, "--by", by, "--since", start, "--until", end) == DONE
        _, *rows, whole = capsys.readouterr().out.splitlines()
        assert [row.split()[0][:2] for row in rows] == ["20"] * len(rows)
        assert whole.split()[:5] == ["in", "all", "3", "1", "210"]


async def test_json_and_faults(tmp_path: Path, capsys: Capture) -> None:
    async with asking(tmp_path, *two_agents_and_a_failure()) as asked:
        assert await llmqd(asked, "--json", *SINCE) == DONE
        answer = orjson.loads(capsys.readouterr().out)
        assert (answer["by"], answer["total"]["total_requests"]) == ("model", 3)
        assert await llmqd(asked, "--by", "colour") == USED_WRONGLY
        assert await llmqd(asked, "--since", "2030-01-01", "--until", "2029-01-01") == FAILED
        assert "before it begins" in capsys.readouterr().err
    assert await asyncio.to_thread(main, ["usage", "--url", "http://127.0.0.1:9"]) == FAILED
    assert "no llmqd daemon answers" in capsys.readouterr().err
