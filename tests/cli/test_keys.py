"""`llmqd keys`."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from llmqd.auth.key_file import KeyFile
from llmqd.auth.keyring import Keyring
from llmqd.cli import main
from llmqd.errors import InvalidKey


def keys(tmp_path: Path, *arguments: str) -> int:
    action, *rest = arguments
    return main(["keys", action, "--defaults", "--state-directory", str(tmp_path), *rest])


def test_a_key_is_made_shown_once_listed_and_revoked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = "--priority high --weight 2 --rpm 60 --tpm 1000 --models gpt-4o*,o3 --upstreams openai --expires 90d"
    assert keys(tmp_path, "create", "--name", "app", *options.split()) == 0
    shown = capsys.readouterr()
    token = shown.out.strip()
    assert "only now" in shown.err
    ring = Keyring(KeyFile(tmp_path), wall=lambda: 1.0)
    key = ring.find(token)
    assert (key.name, key.priority, key.weight, key.rpm, key.tpm) == ("app", 1, 2.0, 60, 1000)
    assert (key.models, key.upstreams) == (("gpt-4o*", "o3"), ("openai",))
    ring.keep_uses()
    assert keys(tmp_path, "list", "--json") == 0
    listed = capsys.readouterr().out
    [one] = orjson.loads(listed)
    assert token not in listed
    assert key.digest not in listed
    assert (one["name"], one["state"], one["last_used"]) == ("app", "active", "1970-01-01T00:00:01Z")
    assert keys(tmp_path, "list") == 0
    assert "gpt-4o*,o3" in capsys.readouterr().out
    assert keys(tmp_path, "revoke", "app") == 0
    with pytest.raises(InvalidKey, match="revoked"):
        ring.find(token)
    assert keys(tmp_path, "create", "--name", "app") == 1
    assert "never given twice" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["", "-x", "a b", "127.0.0.1", "uid-7", "x" * 65])
def test_names_that_would_be_taken_for_something_else_are_refused(tmp_path: Path, name: str) -> None:
    assert keys(tmp_path, "create", f"--name={name}") == 2
    assert not (tmp_path / "keys.json").exists()


@pytest.mark.parametrize(
    "option",
    ["--expires=soon", "--expires=0s", "--weight=0", "--rpm=-1", "--priority=first", "--models=", "--upstreams=,"],
)
def test_options_that_mean_nothing_are_refused(tmp_path: Path, option: str) -> None:
    assert keys(tmp_path, "create", "--name", "app", option) == 2


def test_an_unknown_key_cannot_be_revoked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert keys(tmp_path, "revoke", "nobody") == 1
    assert "no key is named 'nobody'" in capsys.readouterr().err


def test_a_key_has_budgets_that_can_be_set_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = KeyFile(tmp_path)
    options = ["--budget", "20/day", "--budget", "1M tokens/month", "--zone", "Europe/Berlin", "--demote-to", "low"]
    assert keys(tmp_path, "create", "--name", "app", *options) == 0
    [key] = file.read()
    assert [(one.limit, one.zone, one.demote_to) for one in key.budgets] == [
        ("20 USD/day", "Europe/Berlin", "low"), ("1000000 tokens/month", "Europe/Berlin", "low"),
    ]  # fmt: skip
    assert [(one.by, one.names, one.title) for one in key.allowances] == [
        ("key", ("app",), "20 USD/day"), ("key", ("app",), "1000000 tokens/month"),
    ]  # fmt: skip
    assert keys(tmp_path, "list") == 0
    assert "20 USD/day, 1000000 tokens/month" in capsys.readouterr().out
    assert keys(tmp_path, "budget", "app", "30/day", "--json") == 0
    assert orjson.loads(capsys.readouterr().out) == {
        "name": "app", "budgets": [{"limit": "30 USD/day", "zone": "UTC", "demote_to": None}],
    }  # fmt: skip
    assert keys(tmp_path, "budget", "app") == 0
    assert capsys.readouterr().out == "app: 30 USD/day\n"
    assert keys(tmp_path, "budget", "app", "--none") == 0
    assert file.read()[0].budgets == ()
    assert keys(tmp_path, "budget", "nobody", "1/day") == 1
    assert keys(tmp_path, "budget", "nobody") == 1


@pytest.mark.parametrize("text", ["20", "20/week", "-1/day", "0/day", "1.5 calls/day", "x/day", "9999999/day"])
def test_a_budget_that_means_nothing_is_refused(tmp_path: Path, text: str) -> None:
    assert keys(tmp_path, "create", "--name", "app", f"--budget={text}") == 2


def test_a_file_with_a_budget_that_means_nothing_lets_nobody_in(tmp_path: Path) -> None:
    assert keys(tmp_path, "create", "--name", "app", "--budget", "20/day") == 0
    path = KeyFile(tmp_path).path
    path.write_bytes(path.read_bytes().replace(b"20 USD/day", b"20 EUR/day"))
    assert "keys.json is damaged" in (Keyring(KeyFile(tmp_path), wall=lambda: 1.0).fault or "")
