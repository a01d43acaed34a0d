"""llmqd's own endpoints."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from llmqd import __version__
from tests.fake_upstream import FakeUpstream
from tests.under_test import DaemonUnderTest, call, running, upstream_toml

PLAIN = b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"hi"}]}'
JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[DaemonUnderTest]:
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as running_daemon:
        yield running_daemon


async def get(daemon: DaemonUnderTest, path: str, accept: str = "*/*") -> object:
    response = await call(daemon.port, "GET", path, headers={"Accept": accept})
    assert response.status == 200
    return orjson.loads(response.body)


async def test_root_says_what_this_is_and_sends_browsers_to_the_dashboard(daemon: DaemonUnderTest) -> None:
    body = await get(daemon, "/")
    assert isinstance(body, dict)
    assert (body["name"], body["version"]) == ("llmqd", __version__)
    assert {"health", "queue", "events", "docs", "api/v1/sessions"} <= body["links"].keys()
    for link in set(body["links"].values()) - {"/events"}:
        assert (await call(daemon.port, "GET", link)).status == 200
    browser = await call(daemon.port, "GET", "/", headers={"Accept": "text/html,*/*"})
    assert (browser.status, browser.header("location")) == (302, "/dashboard")


async def test_health_is_ok_with_lanes_and_store(daemon: DaemonUnderTest) -> None:
    body = await get(daemon, "/health")
    assert isinstance(body, dict)
    assert (body["status"], body["faults"], body["store"]["ok"]) == ("ok", [], True)
    assert body["lanes"] == [{"lane": "openai", "waiting": 0, "running": 0, "requests_per_minute": 0.0}]


async def test_without_an_upstream_health_is_degraded_and_says_what_to_do(tmp_path: Path) -> None:
    async with running(tmp_path, "") as daemon:
        body = await get(daemon, "/health")
        assert isinstance(body, dict)
        assert body["status"] == "degraded"
        assert "OPENAI_API_KEY" in body["faults"][0]
        refused = await call(daemon.port, "POST", "/v1/chat/completions", PLAIN, JSON)
        assert (refused.status, orjson.loads(refused.body)["error"]["code"]) == (404, "unknown_upstream")


async def test_a_missing_key_is_a_fault_that_names_its_place(tmp_path: Path) -> None:
    toml = '[[upstream]]\nname = "openai"\napi_key = "env:LLMQD_TEST_UNSET"\n'
    async with running(tmp_path, toml) as daemon:
        body = await get(daemon, "/health")
        assert isinstance(body, dict)
        assert body["status"] == "degraded"
        assert "LLMQD_TEST_UNSET" in body["faults"][0]
        assert body["upstreams"]["openai"]["key"] == "missing"


async def test_stopping_is_503(daemon: DaemonUnderTest) -> None:
    daemon.stop()
    response = await call(daemon.port, "GET", "/health")
    assert (response.status, orjson.loads(response.body)["status"]) == (503, "stopping")
    refused = await call(daemon.port, "POST", "/v1/chat/completions", PLAIN, JSON)
    assert (refused.status, refused.header("x-should-retry"), refused.header("retry-after")) == (503, "true", "1")
    assert orjson.loads(refused.body)["error"]["code"] == "shutting_down"


async def test_metrics_are_prometheus_text_and_the_same_as_json(daemon: DaemonUnderTest) -> None:
    await call(daemon.port, "POST", "/v1/chat/completions", PLAIN, JSON)
    await call(daemon.port, "POST", "/v1/session/x", PLAIN, JSON)
    text = (await call(daemon.port, "GET", "/metrics")).body.decode()
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    calls = (("operation", "chat"), ("status", "done"), ("upstream", "openai"))
    assert samples["llmqd_calls_total", calls] == 1
    assert samples["llmqd_refusals_total", (("code", "missing_endpoint"),)] == 1
    assert samples["llmqd_upstream_answers_total", (("status", "200"), ("upstream", "openai"))] == 1
    assert samples["llmqd_lane_grants_total", (("lane", "openai"),)] == 1
    tokens = {key: value for key, value in samples.items() if key[0] == "llmqd_tokens_total"}
    assert sum(tokens.values()) > 0
    figures = await get(daemon, "/metrics", "application/json")
    assert isinstance(figures, dict)
    assert figures["llmqd_lane_grants_total"] == [{"labels": {"lane": "openai"}, "value": 1.0}]


async def test_the_configuration_shows_no_secret(daemon: DaemonUnderTest) -> None:
    response = await call(daemon.port, "GET", "/config")
    assert b"sk-upstream" not in response.body
    body = orjson.loads(response.body)
    assert body["upstream"][0]["api_key"] == {"set": True} if "upstream" in body else body["upstreams"][0]["api_key"]


async def test_providers_lists_configured_and_known(daemon: DaemonUnderTest) -> None:
    body = await get(daemon, "/providers")
    assert isinstance(body, dict)
    assert body["configured"] == ["openai"]
    assert {"anthropic", "groq", "vercel", "azure-openai"} <= set(body["presets"])


async def test_session_status_has_its_exact_shape(daemon: DaemonUnderTest) -> None:
    assert (await call(daemon.port, "GET", "/sessions/status")).body == b"{}\n"
    for _ in range(2):
        await call(daemon.port, "POST", "/v1/session/user123/chat/completions", PLAIN, JSON)
    found = (await call(daemon.port, "POST", "/v1/chat/completions", PLAIN, JSON)).header("X-LLMQD-Session-Id")
    status = await get(daemon, "/sessions/status")
    assert isinstance(status, dict)
    assert status.pop(found)["request_count"] == 1
    assert status == {
        "user123": {
            "session_id": "user123",
            "total_prompt_tokens": 38,
            "total_completion_tokens": 22,
            "total_tokens": 60,
            "request_count": 2,
        }
    }
    detailed = await get(daemon, "/sessions/status?detail=1")
    assert isinstance(detailed, dict)
    assert detailed["user123"]["source"] == "path"
    assert detailed["user123"]["last_seen"].endswith("Z")
    posted = await call(daemon.port, "POST", "/sessions/status")
    assert posted.status == 405


async def test_a_session_appears_with_its_first_call_and_failures_do_not_count(tmp_path: Path) -> None:
    async with (
        FakeUpstream(keys={"another"}) as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url)) as daemon,
    ):
        await call(daemon.port, "POST", "/v1/session/s/chat/completions", PLAIN, JSON)
        body = await get(daemon, "/sessions/status?detail=1")
        assert isinstance(body, dict)
        assert (body["s"]["request_count"], body["s"]["error_count"], body["s"]["total_tokens"]) == (0, 1, 0)
