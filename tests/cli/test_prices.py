"""llmqd prices: the operator's price goes before the list, and what is not known is never 0."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from llmqd.cli import main
from llmqd.cli.codes import DONE, FAILED

Capture = pytest.CaptureFixture[str]
CONFIG = """
[[upstream]]
name = "openai"
api_key = "k"
[[upstream]]
name = "local"
type = "openai"
base_url = "http://127.0.0.1:9"
[[price]]
model = "my-*"
input = 0.15
output = 0.60
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "llmqd.toml"
    path.write_text(CONFIG)
    return str(path)


def test_all_that_the_configured_upstreams_sell(config: str, capsys: Capture) -> None:
    assert main(["prices", "--config", config]) == DONE
    head, own, *listed, unit = capsys.readouterr().out.splitlines()
    assert head.split() == ["MODEL", "UPSTREAM", "INPUT", "OUTPUT", "CACHED", "CACHE", "WRITE", "SOURCE"]
    assert own.split() == ["my-*", "any", "$0.15", "$0.6", "-", "-", "[[price]]"]
    assert len(listed) > 50
    assert {line.split()[1] for line in listed} == {"openai"}
    assert "per million tokens" in unit


def test_a_pattern_and_a_name(config: str, capsys: Capture) -> None:
    assert main(["prices", "gpt-4o-min?", "my-model", "--upstream", "openai", "--config", config, "--json"]) == DONE
    listed, own = orjson.loads(capsys.readouterr().out)
    assert (listed["model"], listed["input"], listed["output"]) == ("gpt-4o-mini", "0.15", "0.6")
    assert (listed["cache_read"], listed["source"]) == ("0.075", "list")
    assert own == {
        "model": "my-model", "upstream": "openai", "input": "0.15", "output": "0.6",
        "cache_read": None, "cache_write": None, "source": "[[price]]",
    }  # fmt: skip


def test_a_price_that_is_not_known_is_null_and_fails(config: str, capsys: Capture) -> None:
    assert main(["prices", "unheard-of", "--upstream", "local", "--config", config, "--json"]) == FAILED
    (row,) = orjson.loads(capsys.readouterr().out)
    assert (row["input"], row["output"], row["source"]) == (None, None, "unknown")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--upstream", "nobody"], "no upstream is named 'nobody'; there are: openai, local"),
        (["nothing-*"], "no price fits"),
    ],
)
def test_what_does_not_exist_is_said(config: str, capsys: Capture, words: list[str], said: str) -> None:
    assert main(["prices", *words, "--config", config]) == FAILED
    assert said in capsys.readouterr().err
