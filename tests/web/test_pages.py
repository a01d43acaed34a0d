"""Which web pages reach the daemon: as headers say it, and over the wire."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.config.load import load
from llmqd.config.model import Config
from llmqd.web.pages import page_fault
from tests.fake_upstream import FakeUpstream
from tests.under_test import running, upstream_toml

CHAT = "/v1/chat/completions"
BODY = b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"hi"}]}'
REBOUND = {"Host": "evil.com:8080"}
PAGE = {"Origin": "https://evil.com", "Content-Type": "text/plain"}
"""What a page can send without asking first (Fetch, "simple" requests)."""
ADMIN = "an-admin-token-of-some-length"


def configured(tmp_path: Path, server: str = "", more: str = "") -> Config:
    path = tmp_path / "llmqd.toml"
    path.write_text(f"[server]\n{server}\n{more}")
    return load(path, {})


@pytest.mark.parametrize(
    "host",
    [
        "",
        "localhost",
        "localhost:8080",
        "LOCALHOST.",
        "app.localhost:8080",
        "127.0.0.1:8080",
        "192.168.1.7",
        "[::1]:8080",
        "[fe80::1]",
        "llmqd",
        "box.local:8080",
        "host.docker.internal:8080",
        "nas.home.arpa",
        "LLM.example.ORG:443",
    ],
)
def test_hosts_that_nobody_can_lead_here_pass(tmp_path: Path, host: str) -> None:
    config = configured(tmp_path, 'allowed_hosts = ["llm.Example.org."]')
    assert page_fault({"Host": host} if host else {}, config) is None


@pytest.mark.parametrize(
    "host", ["evil.com", "evil.com:8080", "EVIL.COM.", "127.0.0.1.evil.com", "localhost.evil.com", "evil.org:80", "a.b"]
)
def test_hosts_that_somebody_can_have_led_here_do_not(tmp_path: Path, host: str) -> None:
    fault = page_fault({"Host": host}, configured(tmp_path))
    assert fault is not None
    assert (fault.status, fault.code) == (403, "not_allowed")
    assert "allowed_hosts" in str(fault)
    assert host in str(fault)
    assert page_fault({"Host": host}, configured(tmp_path, 'allowed_hosts = ["*"]')) is None


def test_where_a_key_has_to_be_shown_nobody_is_refused_for_a_name(tmp_path: Path) -> None:
    config = configured(tmp_path, more='[auth]\nmode = "keys"\n')
    assert page_fault({"Host": "evil.com", "Origin": "https://evil.com"}, config) is None


@pytest.mark.parametrize(
    ("origin", "passes"),
    [
        ("http://127.0.0.1:8080", True),
        ("http://localhost:3000", True),
        ("http://app.localhost", True),
        ("http://[::1]:5173", True),
        ("vscode-webview://0123", True),
        ("chrome-extension://abcdef", True),
        ("https://app.example.org", True),
        ("https://evil.com", False),
        ("http://127.0.0.1.evil.com", False),
        ("http://localhost.evil.com", False),
        ("http://192.168.1.9", False),
        ("null", False),
        ("", False),
        ("http://[", False),
    ],
)
def test_pages_of_programs_here_may_call_and_those_that_are_named(tmp_path: Path, origin: str, passes: bool) -> None:
    config = configured(tmp_path, 'allowed_origins = ["https://app.example.org"]')
    fault = page_fault({"Host": "127.0.0.1:8080", "Origin": origin}, config)
    assert (fault is None) == passes
    if fault is not None:
        assert "allowed_origins" in str(fault)


def test_the_page_of_the_daemon_itself_may_ask_it_under_any_name_that_is_its_own(tmp_path: Path) -> None:
    config = configured(tmp_path, 'allowed_hosts = ["llm.example.org"]')
    assert page_fault({"Host": "llm.example.org", "Origin": "https://llm.example.org"}, config) is None
    assert page_fault({"Host": "llm.example.org", "Origin": "https://other.example.org"}, config) is not None


@given(
    host=st.text(max_size=80), origin=st.text(max_size=80) | st.from_regex(r"https?://[\[\]a-z.:@0-9]*", fullmatch=True)
)
def test_whatever_a_browser_says_is_judged(host: str, origin: str) -> None:
    config = load(None, {})
    fault = page_fault({"Host": host, "Origin": origin}, config)
    assert fault is None or fault.status == 403
    assert page_fault({"Host": f"{host}.com"}, config) is None or "." in f"{host}.com"


async def test_no_page_of_another_name_calls_reads_or_steers(tmp_path: Path) -> None:
    async with (
        FakeUpstream() as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url)) as daemon,
        aiohttp.ClientSession(daemon.url) as browser,
    ):
        for headers in (REBOUND, PAGE, PAGE | REBOUND | {"Origin": "http://evil.com:8080"}):
            for method, path in (
                ("POST", CHAT),
                ("POST", "/openai/v1/chat/completions"),
                ("GET", "/v1/models"),
                ("GET", "/api/v1/sessions"),
                ("GET", "/queue"),
                ("GET", "/events"),
                ("GET", "/config"),
                ("POST", "/queue/pause"),
            ):
                async with browser.request(method, path, data=BODY, headers=headers) as answer:
                    assert answer.status == 403, (method, path, headers)
                    assert (await answer.json())["error"]["code"] == "not_allowed"
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await browser.ws_connect("/v1/realtime?model=gpt-4o", headers={"Origin": "https://evil.com"})
        assert refused.value.status == 403
        assert upstream.requests == []
        for path in ("/health", "/metrics"):
            assert (await browser.get(path, headers=REBOUND)).status == 200
        for headers in ({}, {"Origin": "http://localhost:3000"}, {"Host": "llmqd.internal"}):
            assert (await browser.post(CHAT, data=BODY, headers=headers)).status == 200
        assert len(upstream.requests) == 3


async def test_a_unix_socket_is_no_way_for_a_browser(tmp_path: Path) -> None:
    path = tmp_path / "llmqd.sock"
    async with (
        FakeUpstream() as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url), listen=f"unix:{path}"),
        aiohttp.ClientSession("http://llm.example.com", connector=aiohttp.UnixConnector(str(path))) as client,
    ):
        assert (await client.post(CHAT, data=BODY)).status == 200
        assert (await client.get("/queue")).status == 200


async def test_where_keys_are_asked_for_a_name_opens_and_closes_nothing(tmp_path: Path) -> None:
    keys = f'[auth]\nmode = "keys"\nadmin_token = "{ADMIN}"\n'
    async with (
        FakeUpstream() as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url) + keys) as daemon,
        aiohttp.ClientSession(daemon.url) as client,
    ):
        headers = REBOUND | {"Authorization": f"Bearer {ADMIN}"}
        assert (await client.get("/queue", headers=headers)).status == 200
        assert (await client.get("/queue", headers=REBOUND)).status == 401
