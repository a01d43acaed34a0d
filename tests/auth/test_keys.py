"""Client keys: tokens, their file, the keyring, guesses, logins."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.auth.guessing import Guesses
from llmqd.auth.key import ClientKey, NewToken, new_token, parse_token
from llmqd.auth.key_file import KeyFile
from llmqd.auth.keyring import Keyring
from llmqd.auth.logins import LASTS, Logins
from llmqd.errors import InvalidKey, KeyFileError
from llmqd.log.redact import redact
from tests.clock import ManualClock


def made(token: NewToken, name: str = "app", **more: object) -> ClientKey:
    return ClientKey(id=token.id, name=name, digest=token.digest, created=0.0, **more)  # type: ignore[arg-type]


def keep(file: KeyFile, *keys: ClientKey) -> None:
    with file.changing() as known:
        known.update({key.name: key for key in keys})


def test_a_token_is_long_random_and_masked_in_every_log() -> None:
    one, other = new_token(), new_token()
    assert one.text != other.text
    assert parse_token(one.text) is not None
    assert one.text.rpartition("-")[2] not in one.digest
    assert redact(f"key {one.text} was shown") == "key [secret] was shown"
    for broken in ("", "sk-llmqd-", one.text[:-1], one.text + "a", one.text.upper(), "sk-proj-abc"):
        assert parse_token(broken) is None


@given(st.text(max_size=80) | st.text("sk-lmqdabc0-_", max_size=80).map(lambda text: f"sk-llmqd-{text}"))
def test_any_text_is_a_token_or_none(text: str) -> None:
    found = parse_token(text)
    assert found is None or all(isinstance(part, str) for part in found)


@given(
    st.binary(max_size=100) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(repr).map(str.encode)
)
def test_any_file_of_keys_is_read_or_refused(data: bytes) -> None:
    with TemporaryDirectory() as directory:
        file = KeyFile(Path(directory))
        file.path.write_bytes(data)
        file.uses_path.write_bytes(data)
        with contextlib.suppress(KeyFileError):
            file.read()
        file.read_uses()


def test_the_file_holds_no_token_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    file, token = KeyFile(tmp_path), new_token()
    old = os.umask(0)
    try:
        keep(file, made(token, models=("gpt-4o*",)))
        file.write_uses({"app": 1.0})
    finally:
        os.umask(old)
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        assert token.text.encode() not in path.read_bytes()
        assert token.text.rpartition("-")[2].encode() not in path.read_bytes()
    assert file.read() == (made(token, models=("gpt-4o*",)),)


def test_a_change_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    file = KeyFile(tmp_path)
    keep(file, made(new_token()))
    before = file.path.read_bytes()
    with pytest.raises(ZeroDivisionError), file.changing() as keys:
        keys[str(1 / 0)] = keys.pop("app")
    assert file.path.read_bytes() == before


def test_a_damaged_file_lets_nobody_in_and_is_said(tmp_path: Path) -> None:
    file, token = KeyFile(tmp_path), new_token()
    keep(file, made(token))
    ring = Keyring(file, wall=lambda: 10.0)
    assert ring.find(token.text).name == "app"
    file.path.write_bytes(b'{"version": 1, "keys": [')
    with pytest.raises(InvalidKey):
        ring.find(token.text)
    assert re.search("keys.json is damaged", ring.fault or "")
    with pytest.raises(KeyFileError):
        keep(file, made(new_token()))


def test_a_key_is_refused_from_the_moment_it_expires_or_is_revoked(tmp_path: Path) -> None:
    file, token, clock = KeyFile(tmp_path), new_token(), ManualClock(100.0)
    keep(file, made(token, expires=200.0))
    ring = Keyring(file, wall=clock)
    assert ring.last_use("app") is None
    assert ring.usable() == {"app"}
    ring.find(token.text)
    assert ring.last_use("app") == 100.0
    clock.now = 200.0
    with pytest.raises(InvalidKey, match="expired") as expired:
        ring.find(token.text)
    assert expired.value.known
    assert ring.usable() == set()
    keep(file, made(token, revoked=150.0), made(new_token(), "other"))
    assert ring.usable() == {"other"}
    with pytest.raises(InvalidKey, match="revoked"):
        ring.check("app")
    with pytest.raises(InvalidKey, match="not known") as unknown:
        ring.find(new_token().text)
    assert not unknown.value.known


def test_when_keys_were_used_survives_a_restart(tmp_path: Path) -> None:
    file, token = KeyFile(tmp_path), new_token()
    keep(file, made(token))
    ring = Keyring(file, wall=lambda: 123.0)
    ring.find(token.text)
    ring.keep_uses()
    assert Keyring(file, wall=lambda: 200.0).last_use("app") == 123.0


def test_models_and_upstreams_are_patterns() -> None:
    key = made(new_token(), models=("gpt-4o*", "o3"), upstreams=("open*",))
    assert [key.may_use_model(model) for model in ("gpt-4o-mini", "o3", "o3-mini", None)] == [True, True, False, False]
    assert [key.may_use_upstream(name) for name in ("openai", "OpenAI", "anthropic")] == [True, True, False]
    everything = replace(key, models=(), upstreams=())
    assert everything.may_use_model(None)
    assert everything.may_use_upstream("anything")


def test_wrong_keys_are_limited_by_address_and_forgiven_in_time() -> None:
    clock = ManualClock(100.0)
    guesses = Guesses(clock=clock, burst=3, per_minute=6, addresses=2)
    assert [guesses.wrong("a") for _ in range(3)] == [None, None, None]
    assert guesses.wrong("a") == pytest.approx(10.0)
    assert guesses.wrong("b") is None
    clock.now += 10.0
    assert guesses.wrong("a") is None
    assert guesses.wrong("a") is not None


def test_a_login_ends_by_time_by_logout_and_with_the_token() -> None:
    clock = ManualClock(100.0)
    logins = Logins(wall=clock, most=2)
    cookie, other = logins.begin(""), logins.begin("app")
    assert (logins.who(cookie), logins.who(other), logins.who("x")) == ("", "app", None)
    logins.end(cookie)
    assert logins.who(cookie) is None
    clock.now += LASTS
    assert logins.who(other) is None
    last = [logins.begin("a"), logins.begin("b"), logins.begin("c")]
    assert [logins.who(each) for each in last] == [None, "b", "c"]
    logins.end_all()
    assert logins.who(last[2]) is None
