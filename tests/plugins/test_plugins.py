"""Packages that add a middleware and a provider are installed by pip, found, and used by a real daemon."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fake_upstream import FakeUpstream
from tests.fake_upstream import openai_answers as openai
from tests.process import llmqd
from tests.under_test import call

QUIETLY = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-index", "--no-build-isolation")
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    for example in ("example_middleware", "example_provider"):
        copy = tmp_path_factory.mktemp(example)
        for file in (HERE / example).iterdir():
            if file.is_file():
                (copy / file.name).write_bytes(file.read_bytes())
        subprocess.run(
            [sys.executable, "-m", "pip", "install", *QUIETLY, "--target", str(target), str(copy)],
            check=True,
            timeout=240,
        )
    return target


def toml(url: str, counts: Path) -> str:
    return f"""
[[upstream]]
name = "examplecloud"
base_url = "{url}"
api_key = "example-key"
requests_per_minute = 0
[[middleware]]
type = "counter"
options = {{ path = "{counts}" }}
"""


async def test_both_kinds_of_plugin_are_used(tmp_path: Path, site: Path) -> None:
    counts = tmp_path / "counts.json"
    environ = {"PYTHONPATH": f"{Path.cwd()}:{site}"}
    async with FakeUpstream() as upstream, llmqd(tmp_path, toml(upstream.url, counts), environ) as daemon:
        upstream.play(openai.chat(), openai.chat())
        for _ in range(2):
            answer = await call(daemon.port, "POST", "/v1/chat/completions", b'{"model":"m","messages":[]}')
            assert answer.status == 200
        sent = upstream.requests[0]
        assert (sent.path, sent.header("api-key")) == ("/inference/v1/chat/completions", "example-key")
        shown = await call(daemon.port, "GET", "/config")
        assert str(counts) not in shown.body.decode()
        async with asyncio.timeout(10):
            while not counts.exists() or json.loads(counts.read_text() or "{}").get("200") != 2:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert await daemon.stop() == 0
    assert json.loads(counts.read_text()) == {"asked": 2, "200": 2, "closed": 1}


def test_a_plugin_that_is_not_installed_is_a_fault_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('[[middleware]]\ntype = "tracer"\n')
    done = subprocess.run(
        [sys.executable, "-m", "llmqd", "check", "--config", str(tmp_path / "c.toml")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert 'no middleware is named "tracer"' in done.stdout + done.stderr
