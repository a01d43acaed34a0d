"""Where commands look for the running daemon."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from llmqd.cli.locate import locate
from llmqd.errors import ConfigError, DaemonUnreachable


def listening(tmp_path: Path, *addresses: str) -> Path:
    path = tmp_path / "llmqd.toml"
    path.write_text(f"[server]\nlisten = {list(addresses)}\n")
    return path


def test_without_anything_it_is_the_default() -> None:
    found = locate(None, None, {})
    assert (str(found), found.why) == ("http://127.0.0.1:8080", "there is no configuration file")


def test_the_environment_that_moves_the_daemon_moves_the_command() -> None:
    assert str(locate(None, None, {"PORT": "9000"})) == "http://127.0.0.1:9000"


def test_a_url_goes_before_the_variable_and_a_named_file_before_it_too(tmp_path: Path) -> None:
    environ = {"LLMQD_URL": "http://127.0.0.1:2"}
    path = listening(tmp_path, "127.0.0.1:3")
    assert str(locate("http://127.0.0.1:1", None, environ)) == "http://127.0.0.1:1"
    assert (str(locate(None, None, environ)), locate(None, None, environ).why) == ("http://127.0.0.1:2", "LLMQD_URL")
    assert str(locate(None, path, environ)) == "http://127.0.0.1:3"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("http://127.0.0.1:1", "http://127.0.0.1:1"),
        ("http://localhost/", "http://localhost:80"),
        ("https://llmqd.test", "https://llmqd.test:443"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("127.0.0.1:1", "http://127.0.0.1:1"),
        ("unix:/run/llmqd/llmqd.sock", "unix:/run/llmqd/llmqd.sock"),
    ],
)
def test_a_url_may_be_written_as_a_url_or_as_an_address(given: str, shown: str) -> None:
    assert str(locate(given, None, {})) == shown


@pytest.mark.parametrize("given", ["ftp://x", "http://", "http://x/path", "http://x:99999", "nonsense", "unix:here"])
def test_a_wrong_url_is_named(given: str) -> None:
    with pytest.raises(DaemonUnreachable, match="--url '" + given):
        locate(given, None, {})


@pytest.mark.parametrize(
    ("addresses", "shown"),
    [
        (["0.0.0.0:81"], "http://127.0.0.1:81"),
        (["[::]:81"], "http://[::1]:81"),
        (["127.0.0.1:0", "127.0.0.1:82"], "http://127.0.0.1:82"),
        (["unix:/nowhere/llmqd.sock", "127.0.0.1:83"], "http://127.0.0.1:83"),
        (["unix:/nowhere/llmqd.sock"], "unix:/nowhere/llmqd.sock"),
    ],
)
def test_a_listener_is_seen_from_this_machine(tmp_path: Path, addresses: list[str], shown: str) -> None:
    path = listening(tmp_path, *addresses)
    path.write_text(f'{path.read_text()}\n[auth]\nmode = "keys"\n')  # without keys nobody may listen so
    found = locate(None, path, {})
    assert (str(found), found.why) == (shown, str(path))


def test_a_socket_that_may_be_used_is_preferred(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        path = listening(tmp_path, "127.0.0.1:80", f"unix:{tmp_path}/s")
        assert str(locate(None, path, {})) == f"unix:{tmp_path}/s"


def test_a_port_that_nobody_knows_is_said(tmp_path: Path) -> None:
    with pytest.raises(DaemonUnreachable, match="a port that it chose itself"):
        locate(None, listening(tmp_path, "127.0.0.1:0"), {})


def test_a_named_file_must_be_usable_but_the_systems_need_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "llmqd.toml"
    path.write_text("[server]\nlisten = 5\n")
    with pytest.raises(ConfigError):
        locate(None, path, {})
    monkeypatch.setattr("llmqd.cli.locate.SYSTEM_FILE", path)
    found = locate(None, path, {})
    assert str(found) == "http://127.0.0.1:8080"
    assert str(path) in found.why
