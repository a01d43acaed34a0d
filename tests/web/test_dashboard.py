"""The files of the dashboard, as a browser gets them."""

from __future__ import annotations

import gzip
import re
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from llmqd.web.dashboard import Dashboard
from tests.under_test import running, upstream_toml


def test_all_of_it_is_small() -> None:
    assert sum(len(gzip.compress(data)) for data in Dashboard().files.values()) <= 300 * 1024


def test_nothing_is_inline_and_nothing_comes_from_elsewhere() -> None:
    files = {name: data.decode() for name, data in Dashboard().files.items() if not name.startswith("uPlot")}
    page = files["index.html"]
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", page)
    for name, text in files.items():
        assert not re.search(r"https?://[a-z]|innerHTML|document\.write|\beval\(", text), name
    for needed in re.findall(r'(?:src|href)="/dashboard/([^"]+)"', page):
        assert needed in Dashboard().files
    for text in files.values():
        for needed in re.findall(r'from "\./([^"]+)"', text):
            assert needed in files


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[aiohttp.ClientSession]:
    async with (
        running(tmp_path, upstream_toml("openai", "http://127.0.0.1:9")) as daemon,
        aiohttp.ClientSession(daemon.url) as session,
    ):
        yield session


async def test_a_browser_gets_them_compressed_and_asks_again(client: aiohttp.ClientSession) -> None:
    async with client.get("/", headers={"Accept": "text/html"}) as page:
        assert page.url.path == "/dashboard"
        assert "unsafe" not in page.headers["Content-Security-Policy"]
        assert page.headers["Content-Encoding"] == "gzip"
        assert "<main" in await page.text()
    for name in Dashboard().files:
        url = "/dashboard" if name == "index.html" else f"/dashboard/{name}"
        async with client.get(url, headers={"Accept-Encoding": "identity"}) as first:
            assert await first.read() == Dashboard().files[name]
        async with client.get(url, headers={"If-None-Match": first.headers["ETag"]}) as again:
            assert (again.status, await again.read()) == (304, b"")


@pytest.mark.parametrize(("method", "path", "status"), [("POST", "/dashboard", 405), ("GET", "/dashboard/no.js", 404)])
async def test_what_is_not_there_is_said(client: aiohttp.ClientSession, method: str, path: str, status: int) -> None:
    async with client.request(method, path) as answer:
        assert answer.status == status
        assert (await answer.json())["error"]["code"] in ("method_not_allowed", "unknown_upstream", "not_found")
