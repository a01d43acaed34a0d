"""Permissions and disk, as the doctor sees them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llmqd.config.load import secret_sources
from llmqd.doctor.files import look_at_configuration, look_at_disk, look_at_secrets, look_at_state

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def configured(tmp_path: Path, key: str, mode: int) -> Path:
    path = tmp_path / "llmqd.toml"
    path.write_text(f'[[upstream]]\nname = "openai"\napi_key = "{key}"\n')
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("key", "mode", "level", "words"),
    [
        ("env:OPENAI_API_KEY", 0o644, "ok", "is in force"),
        ("sk-plain", 0o640, "ok", "is in force"),
        ("sk-plain", 0o644, "fault", '[[upstream]] "openai" api_key'),
        ("env:OPENAI_API_KEY", 0o664, "fault", "can be written by its group"),
        ("env:OPENAI_API_KEY", 0o646, "fault", "can be written by everybody"),
    ],
)
def test_the_configuration(tmp_path: Path, key: str, mode: int, level: str, words: str) -> None:
    path = configured(tmp_path, key, mode)
    [found] = look_at_configuration(path, secret_sources(path))
    assert (found.level, words in found.text) == (level, True)
    assert "sk-plain" not in found.text + found.advice


def test_files_of_secrets(tmp_path: Path) -> None:
    (tmp_path / "open").write_text("k")
    (tmp_path / "open").chmod(0o604)
    (tmp_path / "llmqd_closed").write_text("k")
    (tmp_path / "llmqd_closed").chmod(0o640)
    path = tmp_path / "llmqd.toml"
    path.write_text(
        f'[[upstream]]\nname = "openai"\nheaders = {{ X-Team = "file:{tmp_path}/open" }}\n'
        '[[upstream.key]]\nname = "a"\napi_key = "credential:closed"\n'
        '[[upstream.key]]\nname = "b"\napi_key = "credential:gone"\n'
    )
    first, second = look_at_secrets(secret_sources(path), {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert (first.level, first.advice) == ("fault", f"chmod o-rwx {tmp_path}/open")
    assert "headers X-Team" in first.text
    assert (second.level, "llmqd_closed" in second.text) == ("ok", True)


@pytest.mark.parametrize(("key", "level"), [("", "fault"), ('tls_key = "credential:key"\n', "ok")])
def test_a_certificate_is_no_secret_unless_its_key_is_in_the_same_file(tmp_path: Path, key: str, level: str) -> None:
    for name, mode in (("certificate", 0o644), ("key", 0o600)):
        (tmp_path / name).write_text("PEM")
        (tmp_path / name).chmod(mode)
    path = tmp_path / "llmqd.toml"
    path.write_text(f'[server]\ntls_certificate = "credential:certificate"\n{key}')
    [found] = look_at_secrets(secret_sources(path), {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert found.level == level


def test_the_state_directory_and_what_lies_in_it(tmp_path: Path) -> None:
    state = tmp_path / "state"
    [missing] = look_at_state(state)
    assert (missing.level, "does not exist yet" in missing.text) == ("warning", True)
    (state / "journal").mkdir(parents=True)
    state.chmod(0o750)
    (state / "journal" / "lock").touch(0o600)
    [well] = look_at_state(state)
    assert well.level == "ok"
    (state / "llmqd.db").touch()
    (state / "llmqd.db").chmod(0o644)
    [found] = look_at_state(state)
    assert (found.level, found.advice) == ("fault", f"chmod o-rwx {state}/llmqd.db")
    state.chmod(0o755)
    assert f"chmod o-rwx {state}" in [each.advice for each in look_at_state(state)]


@AS_ROOT
def test_a_file_of_another_user(tmp_path: Path) -> None:
    (tmp_path / "secret").touch(0o600)
    os.chown(tmp_path / "secret", 4242, 4242)
    tmp_path.chmod(0o700)
    [found] = look_at_state(tmp_path)
    assert (found.level, "belongs to 4242 instead of root" in found.text) == ("fault", True)


@AS_ROOT
def test_the_places_of_further_instances_are_theirs(tmp_path: Path) -> None:
    state = tmp_path / "state"
    (state / "instances" / "team").mkdir(parents=True)
    state.chmod(0o750)
    for path in (state, state / "instances" / "team"):
        os.chown(path, 4242, 4242)
    [well] = look_at_state(state)
    assert well.level == "ok"


def test_a_file_in_place_of_the_directory(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    [found] = look_at_state(tmp_path / "state")
    assert (found.level, "is no directory" in found.text) == ("fault", True)


def disk(*, free: int, flags: int = 0, files: int = 10**6) -> os.statvfs_result:
    return os.statvfs_result((4096, 4096, 10**9, free // 4096, free // 4096, 10**6, files, files, flags, 255))


@pytest.mark.parametrize(
    ("state", "level", "words"),
    [
        (disk(free=10 << 30), "ok", "10 GiB of"),
        (disk(free=512 << 20), "warning", "only 512 MiB"),
        (disk(free=1 << 20), "fault", "only 1 MiB"),
        (disk(free=10 << 30, flags=os.ST_RDONLY), "fault", "read-only"),
        (disk(free=10 << 30, files=5), "fault", "only 5 more files"),
    ],
)
def test_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: os.statvfs_result, level: str, words: str
) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: state)
    found = look_at_disk(tmp_path)
    assert (found.level, words in found.text) == (level, True), found


def test_the_disk_of_a_directory_that_is_not_there_yet(tmp_path: Path) -> None:
    assert str(tmp_path / "a" / "b") in look_at_disk(tmp_path / "a" / "b").text
