"""No secret stands anywhere after a full run: planted ones are looked for in everything that the daemon leaves."""

from __future__ import annotations

import asyncio
import base64
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import orjson

from tests.fake_upstream import FakeUpstream
from tests.fake_upstream import openai_answers as openai
from tests.fake_upstream.openai_answers import chat
from tests.fake_upstream.request import Received
from tests.fake_upstream.script import Answer, json_answer
from tests.process import LlmqdProcess
from tests.under_test import RawResponse, call

UPSTREAM_KEY = "planted-upstream-key-0123456789abcdef"
SECOND_KEY = "planted-second-key-0123456789abcdef"
HEADER = "planted-header-secret-0123456789abcdef"
ADMIN = "planted-admin-token-0123456789abcdef"
WEBHOOK = "planted-webhook-path-0123456789abcdef"
SIGNING = "planted-signing-secret-0123456789abcdef"
PROVIDER = "sk-proj-plantedprovidersecret0123456789abcdefghij"
AUTHORIZATION = "planted-authorization-0123456789abcdef"
TICKET = "PLANTED-TICKET-123456"
OPTION = "planted-key-on-the-command-line-0123456789"

TOML = """
[auth]
mode = "keys"
admin_token = "env:ADMIN"
[store]
redact = ['PLANTED-TICKET-[0-9]+']
batch_every = "10ms"
[log]
level = "debug"
[alerts]
webhook = "env:WEBHOOK"
webhook_secret = "env:SIGNING"
retries = 0
[[upstream]]
name = "openai"
base_url = "{url}"
headers = {{ X-Secret = "env:HEADER" }}
requests_per_minute = 0
retries = 1
[[upstream.key]]
name = "one"
api_key = "env:UPSTREAM_KEY"
[[upstream.key]]
name = "two"
api_key = "env:SECOND_KEY"
[[upstream]]
name = "dead"
type = "groq"
base_url = "http://127.0.0.1:9"
api_key = "env:SECOND_KEY"
requests_per_minute = 0
retries = 0
[[middleware]]
type = "trace"
[[middleware]]
type = "printer"
log_body = true
"""
CHAT = "/openai/v1/session/planted/chat/completions"


class Optioned(LlmqdProcess):
    """Started with a key among its arguments."""

    def arguments(self) -> list[str]:
        return [*super().arguments(), "--type", "mistral", "--api-key", OPTION]


def echoing(request: Received) -> Answer:
    """An upstream that repeats whatever it is shown, in its words and headers."""
    shown = " ".join((request.header("Authorization") or "", request.header("X-Secret") or "", TICKET, PROVIDER))
    if b"fail" in request.body:
        return openai.error(401, f"Incorrect API key provided: {shown}", "invalid_request_error")
    given = chat("gpt-4o", words=(shown,)).with_headers(("X-Echo", shown))
    if b"claims" in request.body:
        claims = {"id": PROVIDER, "model": TICKET, "choices": [{"finish_reason": PROVIDER, "index": 0}], "usage": {}}
        return json_answer(claims)
    return given


async def made_key(process: LlmqdProcess) -> str:
    command = ["-m", "llmqd", "keys", "create", "--name", "app", "--config", str(process.config)]
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, *command], capture_output=True, check=True, env=dict(process.environ)
    )
    return str(done.stdout.decode().strip())


async def exercise(process: LlmqdProcess, key: str) -> list[RawResponse]:
    """Calls of every fate with secrets in every place, and all questions that can be asked; own answers come back."""
    said = f"my key is {PROVIDER}, Authorization: Bearer {AUTHORIZATION}, ticket {TICKET}, and {UPSTREAM_KEY}"
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": said}], "user": "somebody"}
    names: list[dict[str, object]] = [
        {"user": PROVIDER},
        {"safety_identifier": TICKET},
        {"metadata": {"user_id": PROVIDER, "agent_name": UPSTREAM_KEY, "conversation": TICKET, "tags": [PROVIDER]}},
        {"tags": [TICKET]},
        {"labels": {"a": PROVIDER}},
        {"prompt_cache_key": PROVIDER},
        {"conversation": {"id": TICKET}},
        {"model": PROVIDER},
        {"messages": [{"role": "user", "content": "claims"}]},
    ]
    failing = body | {"messages": [{"role": "user", "content": f"fail {said}"}]}
    json = {"Content-Type": "application/json"}
    own: list[RawResponse] = []
    for carrier in ({"Authorization": f"Bearer {key}"}, {"x-api-key": key}, {"api-key": key, "Cookie": f"a={key}"}):
        for sent in (body, body | {"stream": True}, failing):
            answer = await call(process.port, "POST", CHAT, orjson.dumps(sent), json | carrier)
            assert answer.status in (200, 401), answer.body
        for path in (f"/dead/openai/v1/chat/completions?key={key}", "/nowhere/v1/x", "/v1/session/x"):
            own.append(await call(process.port, "POST", path, orjson.dumps(body), json | carrier))
    for wrong in (f"Bearer {AUTHORIZATION}", f"Basic {AUTHORIZATION}", f"Bearer {key}x"):
        own.append(await call(process.port, "POST", CHAT, orjson.dumps(body), json | {"Authorization": wrong}))
        own.append(await call(process.port, "GET", f"/queue?key={AUTHORIZATION}", b"", {"Authorization": wrong}))
    for named in names:
        for path in (CHAT, "/openai/v1/chat/completions"):
            data = orjson.dumps({"model": "gpt-4o", "messages": []} | named)
            await call(process.port, "POST", path, data, json | {"Authorization": f"Bearer {key}"})
    for header in ("Session", "Agent", "User", "Conversation", "Tags"):
        for secret in (PROVIDER, TICKET, SECOND_KEY):
            carried = {"Authorization": f"Bearer {key}", f"X-LLMQD-{header}": f"my {secret}"}
            await call(process.port, "POST", "/openai/v1/chat/completions", orjson.dumps(body), json | carried)
            await call(process.port, "GET", f"/openai/v1/files/{secret}", b"", carried)
    await call(process.port, "POST", CHAT.replace("planted", TICKET), orjson.dumps(body), json | carried)
    await call(process.port, "POST", CHAT, b"{" + said.encode(), json | {"Authorization": f"Bearer {key}"})
    await asyncio.sleep(0.5)  # the database has what the journal has
    admin = {"Authorization": f"Bearer {ADMIN}"}
    for path in (
        "/config", "/health", "/queue", "/metrics", "/providers", "/", "/sessions/status?detail=1",
        "/api/v1/sessions", "/api/v1/sessions/planted/messages", "/api/v1/sessions/planted/summary", "/api/v1/requests",
        "/api/v1/analytics/overview", "/api/v1/analytics/models", "/api/v1/export?what=requests&format=jsonl",
        "/api/v1/export?what=sessions&format=csv", "/api/v1/analytics/cost-breakdown?by=user", "/api/v1/budgets",
        "/openapi.json",
    ):  # fmt: skip
        answer = await call(process.port, "GET", path, b"", admin)
        assert answer.status == 200, (path, answer.body)
        own.append(answer)
    listed = await call(process.port, "GET", "/api/v1/requests?limit=1000", b"", admin)
    for request in orjson.loads(listed.body)["requests"]:
        for more in ("", "/messages"):
            own.append(await call(process.port, "GET", f"/api/v1/requests/{request['request_id']}{more}", b"", admin))
    return own


async def test_no_planted_secret_is_found_anywhere(tmp_path: Path) -> None:
    async with FakeUpstream(echoing, tolerant=True) as upstream:
        environ = {
            "UPSTREAM_KEY": UPSTREAM_KEY,
            "SECOND_KEY": SECOND_KEY,
            "HEADER": HEADER,
            "ADMIN": ADMIN,
            "WEBHOOK": f"http://127.0.0.1:9/{WEBHOOK}",
            "SIGNING": SIGNING,
        }
        process = Optioned(tmp_path, TOML.format(url=upstream.url), environ)
        await process.start()
        try:
            key = await made_key(process)
            own = await exercise(process, key)
            shown = Path(f"/proc/{process.pid}/cmdline").read_bytes()
            assert await process.stop() == 0
        finally:
            if process.running:
                await process.kill()
    secrets = (
        UPSTREAM_KEY, SECOND_KEY, HEADER, ADMIN, WEBHOOK, SIGNING, PROVIDER, AUTHORIZATION, TICKET, OPTION, key,
        key.rpartition("-")[2],
    )  # fmt: skip
    places = {f"file {path.relative_to(tmp_path)}": path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    places |= {f"answer {number}": each.body + repr(each.raw_headers).encode() for number, each in enumerate(own)}
    places |= {"command line": shown, "to systemd": "\n".join(process.messages).encode()}
    places["database"] = dumped(tmp_path / "state" / "llmqd.db")
    assert places["database"].count(b"[redacted:") > 30
    assert {"file llmqd.log", "file state/llmqd.db", "file state/keys.json"} <= places.keys()
    assert any(name.startswith("file state/traces/") for name in places)
    assert any(b"[redacted:" in data for data in places.values())
    found = [f"{secret} in {name}" for secret in secrets for name, data in places.items() if holds(data, secret)]
    assert not found, "\n".join(found)


def holds(data: bytes, secret: str) -> bool:
    """As it is, or as base64 or hexadecimal would have it."""
    plain = secret.encode()
    inner = base64.b64encode(plain)[:-4]
    return plain in data or inner in data or plain.hex().encode() in data.lower()


def dumped(path: Path) -> bytes:
    """Every value of every table that can be read; the index of words has none that does not stand elsewhere."""
    with closing(sqlite3.connect(path)) as database:
        names = [row[0] for row in database.execute("SELECT name FROM sqlite_schema WHERE sql LIKE 'CREATE TABLE%'")]
        return repr([database.execute(f'SELECT * FROM "{name}"').fetchall() for name in names]).encode()
