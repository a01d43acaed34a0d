"""The agents of the guides, as npm has them: each runs a prompt through the queue, and its session is the one it names.

`packaging/setup-agents .venv/agents` installs them; without them these tests are skipped.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.process import LlmqdProcess, llmqd

PROGRAMS = Path(__file__).parent.parent.parent / ".venv" / "agents" / "node_modules" / ".bin"
WAIT = 5.0
"""Seconds for which a call is held in the queue."""
CODEX = """
model = "gpt-5-codex"
model_provider = "llmqd"
[model_providers.llmqd]
name = "llmqd"
base_url = "{url}/v1"
wire_api = "responses"
env_key = "LLMQD_KEY"
"""
GEMINI = {"security": {"auth": {"selectedType": "gemini-api-key"}}, "privacy": {"usageStatisticsEnabled": False}}


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[LlmqdProcess]:
    async with llmqd(tmp_path, '[[upstream]]\nname = "sim"\nrequests_per_minute = 0\n') as process:
        yield process


async def prompted(
    daemon: LlmqdProcess, program: str, arguments: Sequence[str], environ: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Runs an agent while the lane is paused, lets it go after WAIT, and gives the records of its calls."""
    if not (PROGRAMS / program).exists():
        pytest.skip(f"{program} is not installed: packaging/setup-agents .venv/agents")
    async with aiohttp.ClientSession(daemon.url) as client:
        async with client.post("/queue/sim/pause"):
            pass
        agent = await asyncio.create_subprocess_exec(
            str(PROGRAMS / program),
            *arguments,
            env={"PATH": os.environ["PATH"], "HOME": str(daemon.directory), **environ},
            cwd=daemon.directory,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said = asyncio.create_task(agent.communicate())
        while not (await _asked(client, "/queue"))["total"]:
            assert not said.done(), said.result()
            await asyncio.sleep(0.05)
        async with client.post("/queue/sim/pause", json={"seconds": WAIT}):
            pass
        output, _ = await said
        assert agent.returncode == 0, output.decode()
        assert b"[simulated by llmqd" in output
        found: list[dict[str, Any]] = (await _asked(client, "/api/v1/requests"))["requests"]
        return found


async def _asked(client: aiohttp.ClientSession, url: str) -> Any:
    async with client.get(url) as answer:
        return await answer.json()


def judged(calls: list[dict[str, Any]], sources: set[str]) -> None:
    """Each was answered, one was streamed after the wait, and all belong to one session."""
    assert {one["http_status"] for one in calls} == {200}
    waited = [one for one in calls if one["stream"] and one["queued_time"] >= WAIT]
    assert waited
    assert {one["session_source"] for one in calls} <= sources
    assert len({one["session_id"] for one in calls}) == 1


async def test_claude_code(daemon: LlmqdProcess) -> None:
    calls = await prompted(
        daemon,
        "claude",
        ("-p", "Say hello"),
        {
            "ANTHROPIC_BASE_URL": daemon.url,
            "ANTHROPIC_AUTH_TOKEN": "unused",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
        },
    )
    judged(calls, {"header", "body"})
    assert {one["call_type"] for one in calls} == {"messages"}


async def test_codex(daemon: LlmqdProcess) -> None:
    (daemon.directory / ".codex").mkdir()
    (daemon.directory / ".codex" / "config.toml").write_text(CODEX.format(url=daemon.url))
    calls = await prompted(daemon, "codex", ("exec", "--skip-git-repo-check", "Say hello"), {"LLMQD_KEY": "unused"})
    judged(calls, {"header", "body"})
    assert {one["call_type"] for one in calls} == {"responses"}


async def test_gemini_cli(daemon: LlmqdProcess) -> None:
    (daemon.directory / ".gemini").mkdir()
    (daemon.directory / ".gemini" / "settings.json").write_text(json.dumps(GEMINI))
    calls = await prompted(
        daemon,
        "gemini",
        ("-m", "gemini-2.5-flash", "-p", "Say hello"),
        {
            "GOOGLE_GEMINI_BASE_URL": daemon.url,
            "GEMINI_API_KEY": "unused",
            "GEMINI_CLI_TRUST_WORKSPACE": "true",
        },
    )
    judged(calls, {"new", "detected"})  # it names no session; what is said tells
