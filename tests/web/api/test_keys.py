"""The list of client keys: what each may, and nothing that could be used."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import aiohttp

from llmqd.auth.key import ClientKey, new_token
from llmqd.auth.key_file import KeyFile
from tests.under_test import running, upstream_toml

ADMIN = "an-admin-token-of-some-length"
GUARDED = upstream_toml("openai", "http://127.0.0.1:9") + f'[auth]\nmode = "keys"\nadmin_token = "{ADMIN}"\n'


async def test_keys_are_listed_with_what_they_may_and_without_their_secret(tmp_path: Path) -> None:
    token, now = new_token(), time.time()
    made = ClientKey(
        id=token.id, name="app", digest=token.digest, created=now - 60, rpm=30.0, models=("gpt-*",), expires=now + 600
    )
    (tmp_path / "state").mkdir()
    with KeyFile(tmp_path / "state").changing() as keys:
        keys["app"] = made
        keys["old"] = replace(made, id=new_token().id, name="old", created=now - 50, expires=now - 1)
        keys["gone"] = replace(made, id=new_token().id, name="gone", created=now - 40, revoked=now - 1)
    async with running(tmp_path, GUARDED) as daemon, aiohttp.ClientSession(daemon.url) as client:
        url, admin = "/api/v1/keys", {"Authorization": f"Bearer {ADMIN}"}
        async with client.get(url, headers=admin) as answer:
            text, listed = await answer.text(), (await answer.json())["keys"]
        async with client.get(url, headers={"Authorization": f"Bearer {token.text}"}) as refused:
            assert refused.status == 403
        async with client.get(url, headers=admin) as answer:
            used = (await answer.json())["keys"][0]["last_used"]
    assert [(one["name"], one["state"]) for one in listed] == [
        ("app", "active"),
        ("old", "expired"),
        ("gone", "revoked"),
    ]
    assert (listed[0]["rpm"], listed[0]["models"], listed[0]["last_used"]) == (30.0, ["gpt-*"], None)
    assert used is not None
    assert token.digest not in text
    assert token.text not in text
