"""Keys, as the doctor sees them."""

from __future__ import annotations

from pathlib import Path

from llmqd.auth.key import ClientKey
from llmqd.auth.key_file import KeyFile
from llmqd.config.load import load
from llmqd.config.model import Config
from llmqd.doctor.keys import look_at_keys

DAY = 86400.0


def configured(tmp_path: Path, toml: str) -> Config:
    path = tmp_path / "llmqd.toml"
    path.write_text(f'[server]\nstate_directory = "{tmp_path}"\n{toml}')
    return load(path, {})


def key(name: str, **more: object) -> ClientKey:
    return ClientKey(id=name, name=name, digest="", created=0.0, **more)  # type: ignore[arg-type]


def test_missing_keys_are_faults(tmp_path: Path) -> None:
    config = configured(
        tmp_path, '[auth]\nadmin_token = "env:NOT_SET"\n[[upstream]]\nname = "openai"\napi_key = "env:UNSET"\n'
    )
    first, second, last = look_at_keys(config, 0.0)
    assert (first.level, "UNSET is not set" in first.text) == ("fault", True)
    assert (second.level, "NOT_SET is not set" in second.text) == ("fault", True)
    assert last.level == "ok"


def test_nobody_can_call(tmp_path: Path) -> None:
    config = configured(tmp_path, '[auth]\nmode = "keys"\n')
    first, second, last = look_at_keys(config, 0.0)
    assert "none can be used" in first.text
    assert "admin_token is not set" in second.text
    assert last.text == "0 of 0 client keys can be used; mode keys"


def test_client_keys_that_end_soon(tmp_path: Path) -> None:
    config = configured(tmp_path, "")
    with KeyFile(tmp_path).changing() as keys:
        keys |= {
            each.name: each
            for each in (
                key("soon", expires=11 * DAY),
                key("late", expires=100 * DAY),
                key("gone", expires=DAY),
                key("revoked", revoked=1.0),
            )
        }
    first, last = look_at_keys(config, 10 * DAY)
    assert (first.level, first.text) == ("warning", "client keys that expire within a week: soon")
    assert last.text == "2 of 4 client keys can be used; mode open"


def test_a_damaged_file_of_keys(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text("{")
    [found] = look_at_keys(configured(tmp_path, ""), 0.0)
    assert (found.level, "is damaged" in found.text) == ("fault", True)
