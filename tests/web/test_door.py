"""Who may call the daemon and ask it what, over the wire."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp
import orjson
import pytest

from llmqd.auth.key import ClientKey, new_token
from llmqd.auth.key_file import KeyFile
from llmqd.config.load import load
from llmqd.errors import ConfigError
from tests.fake_upstream import FakeUpstream
from tests.under_test import DaemonUnderTest, RawResponse, call, running, upstream_toml

ADMIN = "an-admin-token-of-some-length"
CHAT = b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"hi"}]}'
KEYS = f'[auth]\nmode = "keys"\nadmin_token = "{ADMIN}"\n'


def bearer(token: str) -> dict[str, str]:
    return {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}


def create(tmp_path: Path, name: str, **more: object) -> str:
    token = new_token()
    key = ClientKey(id=token.id, name=name, digest=token.digest, created=0.0, **more)  # type: ignore[arg-type]
    with KeyFile(tmp_path / "state").changing() as keys:
        keys[name] = key
    return token.text


@asynccontextmanager
async def guarded(
    tmp_path: Path, more: str = "", auth: str = KEYS
) -> AsyncIterator[tuple[DaemonUnderTest, FakeUpstream]]:
    async with FakeUpstream() as upstream:
        toml = upstream_toml("openai", upstream.url) + upstream_toml("anthropic", upstream.url)
        async with running(tmp_path, toml + auth) as daemon:
            yield daemon, upstream


async def chat(daemon: DaemonUnderTest, headers: dict[str, str], path: str = "/v1/chat/completions") -> RawResponse:
    return await call(daemon.port, "POST", path, CHAT, {"Content-Type": "application/json"} | headers)


def code(response: RawResponse) -> str:
    found: str = orjson.loads(response.body)["error"]["code"]
    return found


@pytest.mark.parametrize("form", ["bearer", "x-api-key", "x-goog-api-key", "api-key", "query"])
async def test_a_key_is_taken_in_every_form_and_never_reaches_the_upstream(tmp_path: Path, form: str) -> None:
    token = create(tmp_path, "app")
    async with guarded(tmp_path) as (daemon, upstream):
        headers = {} if form == "query" else {"Authorization": f"Bearer {token}"} if form == "bearer" else {form: token}
        path = f"/v1/chat/completions?%6bey={token}" if form == "query" else "/v1/chat/completions"
        answer = await chat(daemon, headers, path)
        assert answer.status == 200
        record = await daemon.record(answer.header("x-llmqd-request-id") or "")
        assert record.call.key == "app"
        sent = upstream.requests[-1]
        assert token not in repr(sent.raw_headers) + sent.target
        assert "sk-upstream" in repr(sent.raw_headers)


async def test_the_key_is_stripped_even_where_the_upstream_has_none_of_its_own(tmp_path: Path) -> None:
    token = create(tmp_path, "app")
    async with FakeUpstream() as upstream:
        toml = (
            upstream_toml("local", upstream.url)
            .replace('api_key = "sk-upstream"\n', "")
            .replace('type = "local"', 'type = "openai"')
        )
        async with running(tmp_path, toml + KEYS) as daemon:
            assert (await chat(daemon, {"x-api-key": token})).status == 200
            assert token not in repr(upstream.requests[-1].raw_headers)
        async with running(tmp_path, toml) as daemon:
            assert (await chat(daemon, bearer("sk-of-the-client"))).status == 200
            assert "sk-of-the-client" in repr(upstream.requests[-1].raw_headers)
            assert (await chat(daemon, bearer(token))).status == 200  # mode open: known by its form
            assert token not in repr(upstream.requests[-1].raw_headers)


async def test_without_a_right_key_nothing_is_sent_and_each_dialect_says_so(tmp_path: Path) -> None:
    async with guarded(tmp_path) as (daemon, upstream):
        refused = await chat(daemon, {})
        assert (refused.status, code(refused)) == (401, "invalid_key")
        assert (refused.header("www-authenticate"), refused.header("x-should-retry")) == (
            'Bearer realm="llmqd"',
            "false",
        )
        anthropic = await chat(daemon, bearer("wrong"), "/anthropic/v1/messages")
        assert anthropic.status == 401
        body = orjson.loads(anthropic.body)
        assert (body["type"], body["error"]["type"]) == ("error", "authentication_error")
        gemini = await chat(daemon, {}, "/v1beta/models/gemini-2.0-flash:generateContent?key=AIzawrong")
        assert (gemini.status, orjson.loads(gemini.body)["error"]["status"]) == (401, "UNAUTHENTICATED")
        hidden = await chat(daemon, {}, "/nosuch/v1/chat/completions")
        assert hidden.status == 401
        admin = await chat(daemon, bearer(ADMIN))
        assert (admin.status, code(admin)) == (403, "not_allowed")
        assert upstream.requests == []


async def test_expired_and_revoked_keys_and_models_and_upstreams_that_are_not_allowed(tmp_path: Path) -> None:
    old = create(tmp_path, "old", expires=1.0)
    narrow = create(tmp_path, "narrow", models=("gpt-4o",), upstreams=("openai",))
    elsewhere = create(tmp_path, "elsewhere", upstreams=("anthropic",))
    async with guarded(tmp_path) as (daemon, upstream):
        assert b"expired" in (await chat(daemon, bearer(old))).body
        for token in (narrow, elsewhere):
            refused = await chat(daemon, bearer(token))
            assert (refused.status, code(refused)) == (403, "not_allowed")
        no_model = await call(daemon.port, "POST", "/v1/batches", b"{}", bearer(narrow))
        assert no_model.status == 403
        assert upstream.requests == []
        assert (await call(daemon.port, "GET", "/openai/v1/models", headers=bearer(narrow))).status == 200


async def test_a_key_revoked_while_its_call_waits_is_refused(tmp_path: Path) -> None:
    token = create(tmp_path, "app")
    async with guarded(tmp_path) as (daemon, upstream):
        for lane in daemon.lanes:
            lane.pause(None, "test")
        waiting = asyncio.create_task(chat(daemon, bearer(token)))
        await daemon.until(lambda: daemon.waiting == 1)
        with KeyFile(tmp_path / "state").changing() as keys:
            keys["app"] = replace(keys["app"], revoked=1.0)
        refused = await asyncio.wait_for(waiting, 20)
        assert (refused.status, code(refused)) == (401, "invalid_key")
        assert upstream.requests == []
        assert (await chat(daemon, bearer(token))).status == 401


async def test_a_call_beyond_the_rate_of_its_key_waits_and_does_not_fail(tmp_path: Path) -> None:
    token = create(tmp_path, "app", rpm=2)
    async with guarded(tmp_path) as (daemon, upstream):
        assert [(await chat(daemon, bearer(token))).status for _ in range(2)] == [200, 200]
        third = asyncio.create_task(chat(daemon, bearer(token)))
        await daemon.until(lambda: sum(lane.waiting for lane in daemon.key_lanes) == 1)
        assert len(upstream.requests) == 2
        refused = await chat(daemon, bearer(token) | {"X-LLMQD-No-Queue": "1"})
        assert (refused.status, code(refused)) == (429, "queue_full")
        third.cancel()


async def test_own_urls_need_the_admin_token_but_for_health_and_metrics(tmp_path: Path) -> None:
    async with guarded(tmp_path) as (daemon, _):
        for path in ("/health", "/metrics"):
            assert (await call(daemon.port, "GET", path)).status == 200
        for path in (
            "/config",
            "/queue",
            "/events",
            "/providers",
            "/sessions/status",
            "/api/v1/sessions",
            "/docs",
            "/",
        ):
            assert (await call(daemon.port, "GET", path)).status == 401, path
        answer = await call(daemon.port, "GET", "/config", headers=bearer(ADMIN))
        assert answer.status == 200
        assert ADMIN.encode() not in answer.body
        assert answer.header("x-content-type-options") == "nosniff"
        assert (await call(daemon.port, "POST", "/queue/openai/pause")).status == 401
    async with guarded(tmp_path, auth=KEYS + 'guard = ["health", "metrics"]\n') as (daemon, _):
        for path in ("/health", "/metrics"):
            assert (await call(daemon.port, "GET", path)).status == 401
            assert (await call(daemon.port, "GET", path, headers=bearer(ADMIN))).status == 200


async def test_a_client_key_sees_its_own_sessions_and_calls_only(tmp_path: Path) -> None:
    mine, theirs = create(tmp_path, "mine"), create(tmp_path, "theirs")
    async with guarded(tmp_path) as (daemon, _):
        ids = {}
        for token, session in ((mine, "one"), (theirs, "two")):
            answer = await chat(daemon, bearer(token), f"/v1/session/{session}/chat/completions")
            ids[session] = answer.header("x-llmqd-request-id")
        await chat(daemon, bearer(theirs), "/v1/session/one/chat/completions")  # does not make it theirs
        assert await daemon.ledger.settled(5)

        async def get(path: str, token: str = mine) -> RawResponse:
            return await call(daemon.port, "GET", path, headers=bearer(token))

        assert [*orjson.loads((await get("/sessions/status")).body)] == ["one"]
        sessions = orjson.loads((await get("/api/v1/sessions")).body)
        assert [each["session_id"] for each in sessions["sessions"]] == ["one"]
        calls = orjson.loads((await get("/api/v1/requests?key=theirs")).body)
        assert len(calls["requests"]) == 1
        for path in (f"/api/v1/requests/{ids['two']}", "/api/v1/sessions/two/messages", "/api/v1/sessions/two/summary"):
            assert (await get(path)).status == 404, path
        assert (await get("/api/v1/sessions/one/messages", theirs)).status == 404
        assert (await get(f"/api/v1/requests/{ids['one']}/messages")).status == 200
        for path in ("/api/v1/analytics/overview", "/queue", "/config", "/events"):
            assert (await get(path)).status == 403, path
        shares = await get("/api/v1/analytics/cost-breakdown?by=key", ADMIN)
        assert b'"mine"' in shares.body


async def test_what_several_keys_said_in_one_session_is_for_none_of_them_to_read(tmp_path: Path) -> None:
    mine, theirs = create(tmp_path, "mine"), create(tmp_path, "theirs")
    async with guarded(tmp_path) as (daemon, _):

        async def get(path: str, token: str = mine) -> RawResponse:
            assert await daemon.ledger.settled(5)
            return await call(daemon.port, "GET", path, headers=bearer(token))

        first = await chat(daemon, bearer(mine), "/v1/session/main/chat/completions")
        said, found = "/api/v1/sessions/main/messages", "/api/v1/sessions?text=Hello"
        assert (await get(said)).status == 200
        assert orjson.loads((await get(found)).body)["total"] == 1
        await chat(daemon, bearer(theirs), "/v1/session/main/chat/completions")
        refused = await get(said)
        assert (refused.status, code(refused)) == (403, "not_allowed")
        assert orjson.loads((await get(found)).body)["total"] == 0
        assert (await get(f"/api/v1/requests/{first.header('x-llmqd-request-id')}/messages")).status == 200
        assert (await get(said, ADMIN)).status == 200
        assert orjson.loads((await get(found, ADMIN)).body)["total"] == 1


async def test_wrong_keys_are_limited_and_right_ones_pass_all_the_same(tmp_path: Path) -> None:
    token = create(tmp_path, "app")
    async with guarded(tmp_path) as (daemon, _):
        statuses = [(await chat(daemon, bearer(f"sk-wrong-{number}"))).status for number in range(14)]
        assert statuses[0] == 401
        assert statuses[-1] == 429
        assert (await chat(daemon, bearer(token))).status == 200
        assert (await call(daemon.port, "GET", "/queue", headers=bearer(ADMIN))).status == 200


async def test_the_dashboard_logs_in_with_a_cookie_that_needs_a_header_to_change_things(tmp_path: Path) -> None:
    async with guarded(tmp_path) as (daemon, _):
        wrong = await call(daemon.port, "POST", "/dashboard/login", b'{"token":"nonsense"}')
        assert wrong.status == 401
        answer = await call(daemon.port, "POST", "/dashboard/login", orjson.dumps({"token": ADMIN}))
        assert answer.status == 200
        cookie = answer.header("set-cookie") or ""
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert ADMIN not in cookie
        with_cookie = {"Cookie": cookie.partition(";")[0]}
        assert (await call(daemon.port, "GET", "/queue", headers=with_cookie)).status == 200
        pause = "/queue/openai/pause"
        assert (await call(daemon.port, "POST", pause, headers=with_cookie)).status == 403
        ours = with_cookie | {"X-LLMQD-CSRF": "1"}
        assert (await call(daemon.port, "POST", pause, headers=ours)).status == 200
        foreign = ours | {"Origin": "https://evil.example"}
        assert (await call(daemon.port, "POST", pause, headers=foreign)).status == 403
        assert (await chat(daemon, with_cookie)).status == 401  # a cookie makes no calls
        await call(daemon.port, "POST", "/dashboard/logout", headers=ours)
        assert (await call(daemon.port, "GET", "/queue", headers=with_cookie)).status == 401


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "192.0.2.7:8080", "example.org:80"])
def test_open_to_other_machines_does_not_start(tmp_path: Path, listen: str) -> None:
    path = tmp_path / "llmqd.toml"
    path.write_text(f'[server]\nlisten = ["{listen}"]\n')
    with pytest.raises(ConfigError, match=r"can be reached from other machines.*keys create"):
        load(path, {})
    path.write_text(f'[server]\nlisten = ["{listen}"]\n[auth]\nmode = "keys"\nadmin_token = "{ADMIN}"\n')
    assert load(path, {}).auth.mode == "keys"


async def test_users_of_the_unix_socket_are_known_by_their_id(tmp_path: Path) -> None:
    path = tmp_path / "llmqd.sock"
    async with FakeUpstream() as upstream:
        config = tmp_path / "unix.toml"
        config.write_text(
            f'[server]\nlisten = ["unix:{path}"]\nstate_directory = "{tmp_path}/other"\n[store]\nbackend = "memory"\n'
            + upstream_toml("openai", upstream.url)
            + '[auth]\nmode = "keys"\n'
        )
        async with (
            DaemonUnderTest(load(config, {}), {}) as daemon,
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as client,
        ):
            async with client.get("http://llmqd/config") as answer:
                assert answer.status == 200
            async with client.post("http://llmqd/v1/chat/completions", data=CHAT) as answer:
                assert answer.status == 200
                record = await daemon.record(answer.headers["X-LLMQD-Request-Id"])
    assert (record.call.key or "").startswith("uid-")


async def test_a_tls_listener_takes_a_new_certificate_with_a_reload(tmp_path: Path) -> None:
    cert, key = tmp_path / "tls.crt", tmp_path / "tls.key"

    async def make(name: str) -> None:
        arguments = f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={name}"
        process = await asyncio.create_subprocess_exec(
            "openssl", *arguments.split(), "-addext", f"subjectAltName=DNS:{name}", "-keyout", str(key), "-out",
            str(cert), stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        assert await process.wait() == 0

    async def seen(port: int, name: str) -> bool:
        context = ssl.create_default_context(cafile=str(cert))
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
        except ssl.SSLError:
            return False
        writer.close()
        return True

    await make("one.test")
    config = tmp_path / "llmqd.toml"
    config.write_text(
        f'[server]\nlisten = ["tls:127.0.0.1:0"]\ntls_certificate = "file:{cert}"\ntls_key = "file:{key}"\n'
        f'state_directory = "{tmp_path}/state"\n[store]\nbackend = "memory"\n'
    )
    async with DaemonUnderTest(load(config, {}), {}) as daemon:
        assert daemon.url.startswith("https://127.0.0.1:")
        assert await seen(daemon.port, "one.test")
        await make("two.test")
        assert not await seen(daemon.port, "two.test")
        daemon.reload(lambda: load(config, {}))
        assert await seen(daemon.port, "two.test")
        cert.write_text("no certificate")
        daemon.reload(lambda: load(config, {}))  # stays as it was
        await make("three.test")
        assert not await seen(daemon.port, "three.test")
