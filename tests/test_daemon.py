"""The real process: start, signals, stop, and what stands in the database afterwards."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path

import orjson

from tests.fake_upstream import FakeUpstream
from tests.fake_upstream.openai_answers import chat_stream
from tests.process import LlmqdProcess, llmqd
from tests.under_test import RawClient, call, upstream_toml

CHAT = "/v1/chat/completions"
PLAIN = b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"hi"}]}'
STREAM = b'{"model":"gpt-4o-mini","stream":true,"messages":[{"role":"user","content":"hi"}]}'
JSON = {"Content-Type": "application/json"}


async def test_ready_is_said_after_listening_and_a_call_ends_up_in_the_database(tmp_path: Path) -> None:
    async with FakeUpstream() as upstream, llmqd(tmp_path, upstream_toml("openai", upstream.url)) as process:
        response = await call(process.port, "POST", "/v1/session/s1/chat/completions", STREAM, JSON)
        assert response.complete
        assert await process.stop() == 0
        rows = process.rows(
            "SELECT id, session_id, model, status, http_status, input_tokens, output_tokens, usage_source FROM calls"
        )
        assert rows == [
            (response.header("X-LLMQD-Request-Id"), "s1", "gpt-4o-mini", "done", 200, 19, 11, "exact"),
        ]
        assert process.rows("SELECT cost_pico IS NOT NULL FROM calls") == [(1,)]


async def test_a_stop_lets_the_stream_finish_and_sends_the_waiting_away(tmp_path: Path) -> None:
    gate = asyncio.Event()
    toml = upstream_toml("openai", "{url}").replace("requests_per_minute = 0", "requests_per_minute = 1")
    async with FakeUpstream() as upstream:
        upstream.play(chat_stream().paused(gate, after=1))
        async with llmqd(tmp_path, toml.replace("{url}", upstream.url)) as process:
            async with RawClient.to(process.port) as streaming, RawClient.to(process.port) as waiting:
                await streaming.send("POST", CHAT, STREAM, JSON)
                head = await streaming.head()
                await waiting.send("POST", CHAT, PLAIN, JSON)
                await _waiting(process, 1)
                process.signal(signal.SIGTERM)
                refused = await waiting.response()
                assert (refused.status, refused.header("x-should-retry")) == (503, "true")
                assert orjson.loads(refused.body)["error"]["code"] == "shutting_down"
                assert await process.told("STOPPING=1")
                gate.set()
                while await streaming._chunk():
                    pass
            assert await process.wait() == 0
            rows = {str(call_id): str(status) for call_id, status in process.rows("SELECT id, status FROM calls")}
            assert rows[head.header("X-LLMQD-Request-Id") or ""] == "done"
            assert sorted(rows.values()) == ["done", "refused"]


async def test_calls_that_waited_have_their_places_after_a_restart(tmp_path: Path) -> None:
    """Both come back as SDKs do, the later one first; the earlier one goes first all the same."""
    first, second = PLAIN.replace(b"hi", b"first"), PLAIN.replace(b"hi", b"second")
    toml = upstream_toml("openai", "{url}", "burst = 1\nlearn = false").replace("_minute = 0", "_minute = 60")
    async with FakeUpstream() as upstream, llmqd(tmp_path, toml.replace("{url}", upstream.url)) as process:
        assert (await call(process.port, "POST", "/queue/openai/pause")).status == 200
        asking = []
        for number, body in enumerate((first, second), 1):
            asking.append(asyncio.create_task(call(process.port, "POST", CHAT, body, JSON)))
            await _waiting(process, number)
        assert await process.stop() == 0
        for refused in await asyncio.gather(*asking):
            assert (refused.status, refused.header("retry-after-ms")) == (503, "1000")
            assert (refused.header("x-should-retry"), refused.header("Connection")) == ("true", "close")
        await process.start()
        await call(process.port, "POST", "/queue/openai/pause")
        asking = []
        for number, body in enumerate((second, first), 1):
            asking.append(asyncio.create_task(call(process.port, "POST", CHAT, body, JSON)))
            await _waiting(process, number)
        await call(process.port, "POST", "/queue/openai/resume")
        assert [answer.status for answer in await asyncio.gather(*asking)] == [200, 200]
        assert [b"first" in request.body for request in upstream.requests] == [True, False]


async def test_a_stream_beyond_the_grace_is_cut_and_recorded_as_interrupted(tmp_path: Path) -> None:
    never = asyncio.Event()
    async with FakeUpstream() as upstream:
        upstream.play(chat_stream().paused(never, after=1))
        async with llmqd(tmp_path, "") as process:
            await process.stop()
            process.write(upstream_toml("openai", upstream.url), server='shutdown_grace = "200ms"')
            await process.start()
            async with RawClient.to(process.port) as client:
                await client.send("POST", CHAT, STREAM, JSON)
                await client.head()
                assert await process.stop() == 0
            assert process.rows("SELECT status FROM calls") == [("interrupted",)]


async def test_sighup_applies_a_new_rate_whole_or_not_at_all(tmp_path: Path) -> None:
    async with FakeUpstream() as upstream:
        toml = upstream_toml("openai", upstream.url)
        async with llmqd(tmp_path, toml) as process:
            process.write(toml.replace("requests_per_minute = 0", "requests_per_minute = 120"))
            process.messages.clear()
            process.signal(signal.SIGHUP)
            assert (await process.told("RELOADING=1")) == "RELOADING=1"
            await process.told("READY=1")
            health = orjson.loads((await call(process.port, "GET", "/health")).body)
            assert health["lanes"][0]["requests_per_minute"] == 120
            process.write(toml.replace("requests_per_minute = 0", "requests_per_minut = 5"))
            process.messages.clear()
            process.signal(signal.SIGHUP)
            await process.told("READY=1")
            health = orjson.loads((await call(process.port, "GET", "/health")).body)
            assert health["status"] == "degraded"
            assert "requests_per_minute" in health["faults"][0]
            assert health["lanes"][0]["requests_per_minute"] == 120
            assert process.logged(r"reload refused: .*requests_per_minut\b.*did you mean")
            process.write(toml)
            process.messages.clear()
            process.signal(signal.SIGHUP)
            await process.told("READY=1")
            assert orjson.loads((await call(process.port, "GET", "/health")).body)["status"] == "ok"


async def test_the_watchdog_is_fed_and_the_status_line_has_live_figures(tmp_path: Path) -> None:
    async with (
        FakeUpstream() as upstream,
        llmqd(tmp_path, upstream_toml("openai", upstream.url), {"WATCHDOG_USEC": "400000"}) as process,
    ):
        await process.told("WATCHDOG=1")
        assert "0 waiting, 0 running" in await process.told("STATUS=")


async def test_a_stopped_process_feeds_no_watchdog(tmp_path: Path) -> None:
    async with llmqd(tmp_path, "", {"WATCHDOG_USEC": "200000"}) as process:
        await process.told("WATCHDOG=1")
        process.signal(signal.SIGSTOP)
        await asyncio.to_thread(os.waitid, os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        while True:  # what was sent before the stop
            process.messages.clear()
            try:
                await process.told("WATCHDOG=1", within=0.5)
            except TimeoutError:
                break
        process.signal(signal.SIGCONT)
        await process.told("WATCHDOG=1")


async def test_a_broken_configuration_ends_the_start_with_one_line_a_fault(tmp_path: Path) -> None:
    process = LlmqdProcess(tmp_path, "[queue]\nmax_waitng = 5\n")
    await process.start(ready=False)
    assert await process.wait() == 1
    lines = process.log.read_text().splitlines()
    assert len(lines) == 1
    assert "max_waitng" in lines[0]
    assert "did you mean" in lines[0]


async def test_a_taken_port_ends_the_start_with_a_clear_word(tmp_path: Path) -> None:
    process = LlmqdProcess(tmp_path, "")
    with socket.create_server(("127.0.0.1", process.port)):
        await process.start(ready=False)
        assert await process.wait() == 1
    assert process.logged(rf"cannot listen on 127\.0\.0\.1:{process.port}: another program")


async def test_a_second_daemon_on_the_same_directory_is_refused(tmp_path: Path) -> None:
    async with llmqd(tmp_path, "") as process:
        second = LlmqdProcess(tmp_path, "")
        second.log = tmp_path / "second.log"
        await second.start(ready=False)
        assert await second.wait() == 1
        assert "another" in second.log.read_text()
        assert process.running


async def test_no_key_appears_in_the_log(tmp_path: Path) -> None:
    async with FakeUpstream() as upstream, llmqd(tmp_path, upstream_toml("openai", upstream.url)) as process:
        await call(process.port, "POST", CHAT, PLAIN, JSON | {"Authorization": "Bearer sk-planted-client-key"})
        await call(process.port, "POST", "/nowhere/v1/x", PLAIN, {"x-api-key": "sk-planted-client-key"})
        await process.stop()
        log = process.log.read_text()
        assert "OpenAI API Usage - Request: " in log
        for secret in ("sk-planted-client-key", "sk-upstream", '"content"'):
            assert secret not in log


async def _waiting(process: LlmqdProcess, count: int) -> None:
    async with asyncio.timeout(5):
        while True:
            health = orjson.loads((await call(process.port, "GET", "/health")).body)
            if sum(lane["waiting"] for lane in health["lanes"]) == count:
                return
