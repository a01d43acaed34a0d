"""Traces of real calls through a real daemon, read by a receiver of OTLP/HTTP."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from pathlib import Path

import pytest
from multidict import CIMultiDict
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from llmqd.call import Call, Outcome
from llmqd.config.load import load
from llmqd.config.secret import Secret
from llmqd.config.telemetry import Telemetry as Settings
from llmqd.errors import ConfigError, TelemetryError
from llmqd.telemetry.context import TraceContext
from llmqd.telemetry.telemetry import Telemetry
from tests.fake_upstream import FakeUpstream
from tests.fake_upstream import openai_answers as openai
from tests.store.records import answer, make_record
from tests.telemetry.receiver import Receiver, attributes, receiving
from tests.under_test import DaemonUnderTest, RawResponse, call, running, upstream_toml

CHAT = "/v1/chat/completions"
BODY = b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"something private"}]}'
JSON = {"Content-Type": "application/json"}
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"


def traced(receiver: Receiver, more: str = "") -> str:
    return f'[telemetry]\nendpoint = "{receiver.url}"\nexport_every = "10ms"\n{more}\n'


async def ask(daemon: DaemonUnderTest, **headers: str) -> RawResponse:
    return await call(daemon.port, "POST", CHAT, BODY, JSON | headers)


async def test_a_call_is_a_span_by_the_conventions_without_its_words(tmp_path: Path) -> None:
    async with receiving() as receiver, FakeUpstream() as upstream:
        toml = upstream_toml("openai", upstream.url) + traced(receiver, 'headers = { Authorization = "Bearer x-y" }')
        async with running(tmp_path, toml) as daemon:
            upstream.play(openai.chat())
            response = await ask(daemon, **{"X-LLMQD-Session": "s1", "X-LLMQD-Agent": "coder"})
            span = await receiver.span("chat gpt-4o-mini")
    found = attributes(span.attributes)
    assert span.kind == Span.SPAN_KIND_CLIENT
    assert not span.parent_span_id
    assert found["gen_ai.conversation.id"] == "s1"
    assert found["gen_ai.agent.name"] == "coder"
    assert (found["gen_ai.operation.name"], found["gen_ai.provider.name"]) == ("chat", "openai")
    assert found["llmqd.call.id"] == response.header("X-LLMQD-Request-Id")
    usage = response.json()["usage"]  # type: ignore[index]
    assert found["gen_ai.usage.input_tokens"] == usage["prompt_tokens"]
    assert found["gen_ai.usage.output_tokens"] == usage["completion_tokens"]
    assert found["server.address"] == "127.0.0.1"
    assert found["server.port"] == int(upstream.url.rpartition(":")[2].partition("/")[0])
    assert 0 < span.end_time_unix_nano - span.start_time_unix_nano < 60e9
    assert abs(span.start_time_unix_nano / 1e9 - time.time()) < 60
    assert receiver.resource["service.name"] == "llmqd"
    assert receiver.headers[0]["authorization"] == "Bearer x-y"
    assert receiver.headers[0]["content-encoding"] == "gzip"
    assert b"private" not in b"".join(one.SerializeToString() for one in receiver.spans)


async def test_a_clients_trace_is_continued_and_waits_and_attempts_are_its_children(tmp_path: Path) -> None:
    async with receiving() as receiver, FakeUpstream() as upstream:
        toml = upstream_toml("openai", upstream.url) + traced(receiver)
        async with running(tmp_path, toml) as daemon:
            limited = openai.error(429, "slow down", "requests", "rate_limit_exceeded")
            upstream.play(limited.with_headers(("retry-after", "0.1")), openai.error(503, "no", "server_error"))
            assert (await ask(daemon, traceparent=PARENT, tracestate="vendor=1")).status == 200
            span = await receiver.span("chat gpt-4o-mini")
    assert span.trace_id.hex() == TRACE
    assert span.parent_span_id.hex() == SPAN
    assert span.trace_state == "vendor=1"
    assert span.status.code == Status.STATUS_CODE_UNSET
    attempts = [one for one in receiver.spans if one.name.startswith("attempt")]
    assert [one.name for one in attempts] == ["attempt 1", "attempt 2"]
    assert [attributes(one.attributes)["error.type"] for one in attempts] == ["429", "503"]
    assert all((one.trace_id, one.parent_span_id) == (span.trace_id, span.span_id) for one in attempts)
    assert all(one.status.code == Status.STATUS_CODE_ERROR for one in attempts)
    assert len({one.span_id for one in receiver.spans}) == len(receiver.spans)


@pytest.mark.parametrize("propagate", ["pass", "span", "none"])
async def test_the_upstream_gets_the_clients_context_or_ours_or_none(tmp_path: Path, propagate: str) -> None:
    async with receiving() as receiver, FakeUpstream() as upstream:
        toml = upstream_toml("openai", upstream.url) + traced(receiver, f'propagate = "{propagate}"\nsteps = false')
        async with running(tmp_path, toml) as daemon:
            await ask(daemon, traceparent=PARENT, tracestate="vendor=1")
            span = await receiver.span("chat gpt-4o-mini")
            await ask(daemon)
            await receiver.until(lambda: len(receiver.spans) == 2)
    with_trace, without = upstream.requests
    ours = f"00-{TRACE}-{span.span_id.hex()}-01"
    expected = {"pass": (PARENT, "vendor=1"), "span": (ours, "vendor=1"), "none": (None, None)}
    assert (with_trace.header("traceparent"), with_trace.header("tracestate")) == expected[propagate]
    later = receiver.spans[1]
    own = f"00-{later.trace_id.hex()}-{later.span_id.hex()}-01" if propagate == "span" else None
    assert without.header("traceparent") == own


async def test_a_call_whose_client_does_not_sample_is_not_traced_and_passes_as_it_came(tmp_path: Path) -> None:
    async with receiving() as receiver, FakeUpstream() as upstream:
        toml = upstream_toml("openai", upstream.url) + traced(receiver, 'propagate = "span"\nsteps = false')
        async with running(tmp_path, toml) as daemon:
            unsampled = PARENT[:-2] + "00"
            await ask(daemon, traceparent=unsampled)
            await ask(daemon, **{"X-LLMQD-Session": "second"})
            await receiver.until(lambda: bool(receiver.spans))
    [span] = receiver.spans
    assert attributes(span.attributes)["gen_ai.conversation.id"] == "second"
    assert upstream.requests[0].header("traceparent") == unsampled


async def test_a_refused_call_is_a_failed_span_under_the_names_that_are_wanted(tmp_path: Path) -> None:
    names = 'attributes = { "gen_ai.provider.name" = "gen_ai.system", "llmqd.call.id" = "" }\nservice_name = "gate"'
    async with receiving() as receiver, FakeUpstream() as upstream:
        toml = "[queue]\nmax_waiting = 1\n" + upstream_toml("openai", upstream.url) + traced(receiver, names)
        async with running(tmp_path, toml) as daemon:
            next(iter(daemon.lanes)).pause(None, "for a test")
            waiting = asyncio.create_task(ask(daemon))
            await daemon.until(lambda: daemon.waiting == 1)
            assert (await ask(daemon)).status == 429
            span = await receiver.span("chat gpt-4o-mini")
            next(iter(daemon.lanes)).resume()
            await waiting
    found = attributes(span.attributes)
    assert (found["error.type"], found["gen_ai.system"]) == ("queue_full", "openai")
    assert not {"gen_ai.provider.name", "llmqd.call.id"} & found.keys()
    assert (span.status.code, span.status.message) == (Status.STATUS_CODE_ERROR, "queue_full")
    assert receiver.resource["service.name"] == "gate"


async def test_a_receiver_that_does_not_answer_holds_no_call_and_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with receiving() as receiver, FakeUpstream() as upstream:
        toml = upstream_toml("openai", upstream.url) + traced(receiver, 'timeout = "500ms"\nmax_batch = 1')
        async with running(tmp_path, toml) as daemon:
            receiver.held.clear()
            for _ in range(3):
                assert (await ask(daemon)).status == 200
            await daemon.until(lambda: daemon.telemetry.figures()["failed"] == 3, within=15)
            health = (await call(daemon.port, "GET", "/health")).json()
            assert isinstance(health, dict)
            assert health["status"] == "degraded"
            assert health["faults"] == [f"telemetry: {receiver.url} does not take traces: it did not answer in time"]
            assert [record for record in caplog.records if "does not take traces" in record.message][1:] == []
            receiver.held.set()
            await ask(daemon)
            await daemon.until(lambda: daemon.telemetry.figures()["sent"] == 1, within=15)
            assert daemon.telemetry.faults() == []
            metrics = (await call(daemon.port, "GET", "/metrics")).body.decode()
            assert 'llmqd_traced_calls_total{outcome="failed"} 3.0' in metrics
            assert 'llmqd_traced_calls_total{outcome="sent"} 1.0' in metrics


async def test_a_refusal_is_told_with_its_status_and_a_transient_one_is_repeated(tmp_path: Path) -> None:
    async with receiving() as receiver, FakeUpstream() as upstream:
        toml = upstream_toml("openai", upstream.url) + traced(receiver)
        async with running(tmp_path, toml) as daemon:
            receiver.statuses = [401]
            await ask(daemon)
            await daemon.until(lambda: bool(daemon.telemetry.faults()), within=15)
            assert daemon.telemetry.faults()[0].endswith("it answered 401")
            receiver.statuses = [503]
            await ask(daemon)
            await daemon.until(lambda: daemon.telemetry.figures()["sent"] == 1, within=15)
            assert len(receiver.headers) == 3


async def test_what_waits_is_sent_when_the_daemon_stops_and_a_reload_changes_the_receiver(tmp_path: Path) -> None:
    async with receiving() as first, receiving() as second, FakeUpstream() as upstream:
        slow = 'export_every = "1h"\nsteps = false'
        toml = upstream_toml("openai", upstream.url)
        async with running(tmp_path, f'{toml}[telemetry]\nendpoint = "{first.url}"\n{slow}\n') as daemon:
            await ask(daemon, **{"X-LLMQD-Session": "first"})
            path = tmp_path / "llmqd.toml"
            path.write_text(path.read_text().replace(first.url, second.url))
            daemon.reload(lambda: load(path, {}))
            await first.until(lambda: bool(first.spans))
            await ask(daemon, **{"X-LLMQD-Session": "second"})
        assert [attributes(span.attributes)["gen_ai.conversation.id"] for span in second.spans] == ["second"]
        assert len(first.spans) == 1
        assert daemon.telemetry.figures() == {"sent": 2, "failed": 0, "dropped": 0}


def test_without_the_packages_a_check_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk", None)
    monkeypatch.delitem(sys.modules, "opentelemetry.sdk.trace", raising=False)
    path = tmp_path / "llmqd.toml"
    path.write_text('[telemetry]\nendpoint = "http://127.0.0.1:4318"\n')
    with pytest.raises(ConfigError) as error:
        load(path, {})
    [fault] = error.value.faults
    assert fault == (
        f"{path} line 2: [telemetry] endpoint: the package opentelemetry.sdk is not installed; "
        "install llmqd[otel], for example with pip"
    )
    path.write_text("[telemetry]\nsample = 0.5\n")
    assert load(path, {}).telemetry.endpoint is None, "without an endpoint nothing is needed"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('attributes = { "gen_ai.sytem" = "x" }', 'no attribute is named "gen_ai.sytem"'),
        ('attributes = { "gen_ai.provider.nam" = "x" }', "did you mean gen_ai.provider.name?"),
        ('attributes = { "user.id" = "llmqd.key" }', 'two attributes would be named "llmqd.key"'),
        ('attributes = { "user.id" = "a b" }', "user.id: a name has letters"),
        ("sample = 1.5", "at most 1"),
        ('headers = { A = "env:NOT_THERE" }', "headers: A: "),
        ('propagate = "yes"', "pass, span"),
    ],
)
def test_a_bad_setting_is_told_with_its_line(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "llmqd.toml"
    path.write_text(f"[telemetry]\n{line}\n")
    with pytest.raises(ConfigError) as error:
        load(path, {})
    assert said in error.value.faults[0]
    assert "line 2" in error.value.faults[0]


class Stuck:
    """Sends nothing until it is let go."""

    def __init__(self, *, fails: str | None = None) -> None:
        self.let_go = threading.Event()
        self.begun = threading.Event()
        self.batches: list[int] = []
        self.fails = fails

    def send(self, calls: list[tuple[Call, Outcome]]) -> None:
        self.begun.set()
        self.let_go.wait(10)
        self.batches.append(len(calls))
        if self.fails is not None:
            raise TelemetryError(self.fails)

    def close(self) -> None:
        self.let_go.set()


def settings(**more: object) -> Settings:
    return Settings(endpoint="http://127.0.0.1:4318", headers=(("a", Secret("b")),), **more)  # type: ignore[arg-type]


async def test_calls_that_do_not_fit_are_dropped_and_counted_and_batches_are_bounded() -> None:
    stuck = Stuck()
    record = answer(make_record("s", trace=TraceContext("1" * 32, "2" * 16)))
    async with Telemetry(settings(max_pending=5, max_batch=2, export_every=0.01), lambda _: stuck) as telemetry:
        telemetry.ended(record)
        assert await asyncio.to_thread(stuck.begun.wait, 10)
        for _ in range(8):
            telemetry.ended(record)
        assert telemetry.figures() == {"sent": 0, "failed": 0, "dropped": 3}
        stuck.let_go.set()
    assert telemetry.figures() == {"sent": 6, "failed": 0, "dropped": 3}
    assert stuck.batches == [1, 2, 2, 1]


async def test_a_call_that_is_not_traced_is_not_taken() -> None:
    stuck = Stuck()
    async with Telemetry(settings(), lambda _: stuck) as telemetry:
        telemetry.ended(answer(make_record("s")))
    assert stuck.batches == []


async def test_what_cannot_be_made_is_a_fault_and_calls_are_counted_as_failed(caplog: pytest.LogCaptureFixture) -> None:
    def fails(_: Settings) -> Stuck:
        raise ImportError("no such package")

    with caplog.at_level(logging.ERROR):
        async with Telemetry(settings(export_every=0.01), fails) as telemetry:
            telemetry.ended(answer(make_record("s", trace=TraceContext("1" * 32, "2" * 16))))
    assert telemetry.figures()["failed"] == 1
    assert telemetry.faults() == ["telemetry: http://127.0.0.1:4318 does not take traces: no such package"]
    assert "no such package" in caplog.text


def test_without_an_endpoint_there_is_no_trace_and_no_thread() -> None:
    before = threading.active_count()
    telemetry = Telemetry(Settings(), lambda _: Stuck())
    headers = CIMultiDict({"traceparent": PARENT})
    assert telemetry.trace(headers) is None
    telemetry.propagate(headers, None)
    assert headers["traceparent"] == PARENT
    assert threading.active_count() == before
