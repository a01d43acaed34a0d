"""Alerts: found in what happens, told once, and delivered to a webhook that checks the signature."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest
from aiohttp import web

from llmqd.alerts.trouble import Troubles
from llmqd.alerts.webhook import Webhook, signature
from llmqd.config.alerts import Alerts as AlertSettings
from llmqd.config.secret import Secret
from llmqd.events import Alert
from llmqd.events.kinds import Finished, LimitLearned
from tests.fake_upstream import FakeUpstream, json_answer
from tests.fake_upstream import openai_answers as openai
from tests.under_test import call, running, upstream_toml

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef").decode()
PLAIN = b'{"model":"gpt-4o","messages":[]}'


class Receiver:
    def __init__(self) -> None:
        self.url = ""
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int] = []

    def names(self) -> list[str]:
        return [orjson.loads(body)["data"]["name"] for _, body in self.got]

    async def take(self, request: web.Request) -> web.Response:
        self.got.append((dict(request.headers), await request.read()))
        return web.Response(status=self.statuses.pop(0) if self.statuses else 204)

    async def until(self, count: int) -> None:
        async with asyncio.timeout(15):
            while len(self.got) < count:  # noqa: ASYNC110
                await asyncio.sleep(0.005)


@asynccontextmanager
async def receiver() -> AsyncIterator[Receiver]:
    taking = Receiver()
    app = web.Application()
    app.router.add_post("/hook/secret-path", taking.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    taking.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook/secret-path"
    try:
        yield taking
    finally:
        await runner.cleanup()


def finished(error: str | None, status: str = "done", http_status: int | None = 200) -> Finished:
    return Finished(
        upstream="openai", lane="openai", request_id="r", priority=5, status=status, error=error,
        http_status=http_status, attempts=1, queued_ms=None, first_byte_ms=None, total_ms=None,
    )  # fmt: skip


def test_an_upstream_is_down_after_some_failures_and_up_with_the_first_answer() -> None:
    troubles = Troubles(upstream_down_after=3)
    fail = finished("upstream_unreachable", "failed", 502)
    assert [troubles.seen(fail), troubles.seen(fail)] == [None, None]
    down = troubles.seen(fail)
    assert down is not None
    assert (down.name, down.upstream, troubles.down) == ("upstream_down", "openai", ["openai"])
    assert troubles.seen(fail) is None
    up = troubles.seen(finished(None))
    assert up is not None
    assert (up.name, troubles.down) == ("upstream_up", [])


def test_calls_that_say_nothing_of_the_upstream_change_nothing() -> None:
    troubles = Troubles(upstream_down_after=2)
    fail = finished("upstream_timeout", "failed", 504)
    assert troubles.seen(fail) is None
    assert troubles.seen(finished("queue_full", "refused", 429)) is None
    assert troubles.seen(finished(None, "abandoned", None)) is None
    assert troubles.seen(fail) is not None


def test_the_store_is_told_of_once_each_way() -> None:
    troubles = Troubles(upstream_down_after=2)
    told = [troubles.store(fault) for fault in (None, "full", "still full", None, None)]
    assert [one and one.name for one in told] == [None, "store_degraded", None, "store_recovered", None]


def test_a_learned_limit_is_told_with_its_figures() -> None:
    learned = LimitLearned(
        lane="openai",
        upstream="openai",
        dimension="requests_per_minute",
        group="",
        limit=50,
        before=60,
        source="headers",
    )
    alert = Troubles(upstream_down_after=2).seen(learned)
    assert alert is not None
    assert (alert.name, "50" in alert.message, "60" in alert.message) == ("limit_learned", True, True)


def test_the_signature_is_that_of_the_standard() -> None:
    """The example of standardwebhooks.com's specification."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    body = b'{"test": 2432232314}'
    assert signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body) == (
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )


async def test_an_upstream_that_is_down_reaches_the_webhook_signed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "llmqd.alerts")
    async with receiver() as hook, FakeUpstream() as upstream:
        toml = upstream_toml("openai", upstream.url, "retries = 0\nlearn = false")
        toml += f'[alerts]\nwebhook = "{hook.url}"\nwebhook_secret = "{SECRET}"\nupstream_down_after = 2\n'
        async with running(tmp_path, toml) as daemon:
            upstream.play(json_answer({}, 500), json_answer({}, 500), openai.chat())
            for _ in range(3):
                await call(daemon.port, "POST", "/v1/chat/completions", PLAIN, {"Content-Type": "application/json"})
            await hook.until(2)
            shown = (await call(daemon.port, "GET", "/config")).body.decode()
            assert "secret-path" not in shown
    assert hook.names() == ["upstream_down", "upstream_up"]
    headers, body = hook.got[0]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(b"0123456789abcdef", signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert [record.levelname for record in caplog.records if record.name == "llmqd.alerts"] == ["WARNING", "INFO"]


async def test_every_alert_on_the_bus_is_told_and_the_same_one_once(tmp_path: Path) -> None:
    async with receiver() as hook:
        toml = upstream_toml("openai", "http://127.0.0.1:9") + f'[alerts]\nwebhook = "{hook.url}"\n'
        async with running(tmp_path, toml) as daemon:
            for name in ("runaway_session", "runaway_session", "budget"):
                daemon.events.publish(Alert(name=name, message="look", session="s1"))
            await hook.until(2)
        assert hook.names() == ["runaway_session", "budget"]
        assert orjson.loads(hook.got[0][1])["data"]["session"] == "s1"


async def test_only_wanted_names_go_to_the_webhook(tmp_path: Path) -> None:
    async with receiver() as hook:
        toml = upstream_toml("openai", "http://127.0.0.1:9") + f'[alerts]\nwebhook = "{hook.url}"\nnames = ["budget"]\n'
        async with running(tmp_path, toml) as daemon:
            daemon.events.publish(Alert(name="other", message="look"))
            daemon.events.publish(Alert(name="budget", message="look"))
            await hook.until(1)
        assert hook.names() == ["budget"]


def settings(url: str, **more: object) -> AlertSettings:
    return AlertSettings(webhook=Secret(url), **more)  # type: ignore[arg-type]


async def test_a_post_that_failed_is_sent_again_with_growing_pauses() -> None:
    pauses: list[float] = []
    async with receiver() as hook:
        hook.statuses = [500, 429, 503]
        async with Webhook(settings(hook.url), wall=lambda: 1000.0, pause=pauses.append) as webhook:
            webhook.send("evt_1", b'{"data":{"name":"a"}}')
            await hook.until(4)
        assert (pauses, webhook.delivered, webhook.fault) == ([1.0, 2.0, 4.0], 1, None)
        assert len({headers["webhook-id"] for headers, _ in hook.got}) == 1


async def test_a_refusal_that_no_repetition_helps_is_given_up_and_said(caplog: pytest.LogCaptureFixture) -> None:
    async with receiver() as hook:
        hook.statuses = [404]
        async with Webhook(settings(hook.url), wall=lambda: 1000.0, pause=lambda _: None) as webhook:
            webhook.send("evt_1", b"{}")
            await hook.until(1)
        assert (webhook.dropped, webhook.fault) == (1, "it answered 404")
    said = [record.getMessage() for record in caplog.records if record.name.startswith("llmqd")]
    assert said
    assert not any("secret-path" in one for one in said)


async def test_what_waits_is_bounded_and_the_oldest_go(caplog: pytest.LogCaptureFixture) -> None:
    webhook = Webhook(settings("http://127.0.0.1:9/", max_pending=1024), wall=lambda: 1000.0)
    for number in range(100):
        webhook.send(f"evt_{number}", b"x" * 100)
    assert (webhook.dropped, webhook._waiting[-1][0]) == (90, "evt_99")


async def test_a_store_that_is_not_well_is_told(tmp_path: Path) -> None:
    async with receiver() as hook:
        toml = upstream_toml("openai", "http://127.0.0.1:9") + f'[alerts]\nwebhook = "{hook.url}"\n'
        async with running(tmp_path, toml) as daemon:
            daemon.alerts._store = lambda: "disk full"
            await hook.until(1)
            daemon.alerts._store = lambda: None
            await hook.until(2)
        assert hook.names() == ["store_degraded", "store_recovered"]
