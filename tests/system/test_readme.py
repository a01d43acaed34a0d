"""What the README tells a newcomer to type really works."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from llmqd.config.load import load
from tests.process import LlmqdProcess

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()
CURLS = re.findall(r"^    (curl .*)$", README, re.MULTILINE)


class Newcomer(LlmqdProcess):
    """`make run` without a key: embedded defaults, here on a free port and below the test's own directory."""

    def arguments(self) -> list[str]:
        state = str(self.directory / "var")
        return ["--defaults", "--listen", f"127.0.0.1:{self.port}", "--state-directory", state]


@pytest.fixture
async def newcomer(tmp_path: Path) -> AsyncIterator[Newcomer]:
    process = Newcomer(tmp_path, "")
    await process.start()
    yield process
    await process.stop()


async def sh(command: str) -> bytes:
    shell = await asyncio.create_subprocess_shell(command, stdout=asyncio.subprocess.PIPE)
    output, _ = await shell.communicate()
    assert shell.returncode == 0
    return output


async def test_the_curls_of_the_readme_are_answered_through_the_queue(newcomer: Newcomer) -> None:
    assert len(CURLS) == 3
    first, in_session, status = [
        await sh(command.replace("localhost:8080", f"127.0.0.1:{newcomer.port}")) for command in CURLS
    ]
    for answer in (first, in_session):
        content = orjson.loads(answer)["choices"][0]["message"]["content"]
        assert content.startswith("[simulated by llmqd")
        assert "Hello" in content
    session = orjson.loads(status)["demo"]
    assert session["request_count"] == 1
    assert session["total_tokens"] > 0
    await newcomer.stop()
    assert newcomer.logged("Total=")
    await newcomer.start()


def test_the_configuration_of_the_readme_loads(tmp_path: Path) -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    path = tmp_path / "llmqd.toml"
    path.write_text(block.replace("file:/etc/llmqd/anthropic.key", "sk-x"))
    config = load(path, {"OPENAI_API_KEY": "sk-y"})
    assert [upstream.name for upstream in config.upstreams] == ["openai", "anthropic"]
    assert [step.upstream for step in config.routes[0].upstreams] == ["anthropic"]


async def test_init_check_and_serve_follow_each_other(tmp_path: Path) -> None:
    llmqd = f"{sys.executable} -m llmqd"
    await sh(f"cd {tmp_path} && PYTHONPATH={ROOT} {llmqd} init llmqd.toml")
    checked = await sh(f"cd {tmp_path} && PYTHONPATH={ROOT} {llmqd} check --config llmqd.toml")
    assert b"OK" in checked


def test_every_linked_file_exists() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"
    assert os.access(ROOT / "packaging" / "setup-venv", os.X_OK)
