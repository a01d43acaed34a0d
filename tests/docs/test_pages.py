"""Every link, command and snippet of the README and the documentation holds."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import tomllib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from llmqd.cli import build_parser
from llmqd.config.load import load
from llmqd.config.model import SECTIONS
from llmqd.config.telemetry import missing_packages
from llmqd.errors import CallRefused
from tests.docs.pages import PAGES, ROOT, Block, anchors, blocks, commands, links
from tests.process import LlmqdProcess

BLOCKS = blocks()
CONFIGURATIONS = [
    one
    for one in BLOCKS
    if one.language in ("", "toml")
    and re.match(rf"(#.*\n)*\[+({'|'.join(section.name for section in SECTIONS)})[].]", one.text)
]
OTHER_TOML = [one for one in BLOCKS if one.language == "toml" and one not in CONFIGURATIONS]
PYTHON = [one for one in BLOCKS if one.language == "python"]
CURLS = [
    pytest.param(words, id=f"{one}-{at}")
    for one in BLOCKS
    for at, words in enumerate(commands(one, "curl"))
    if any("localhost:8080" in word for word in words)
]
COMMANDS = [
    pytest.param(words[1:], id=f"{one}-{at}") for one in BLOCKS for at, words in enumerate(commands(one, "llmqd"))
]
MONITORING = ROOT / "docs" / "monitoring"


class Defaults(LlmqdProcess):
    """The daemon as `make run` starts it, with one session in its ledger."""

    def arguments(self) -> list[str]:
        state = str(self.directory / "var")
        return ["--defaults", "--listen", f"127.0.0.1:{self.port}", "--state-directory", state]


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[LlmqdProcess]:
    process = Defaults(tmp_path, "")
    await process.start()
    yield process
    await process.stop()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            assert link.startswith("https://"), link
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name} links to {link}"
        assert not anchor or anchor in anchors(target), f"{page.name} links to {link}"


def test_every_page_can_be_found() -> None:
    reached, ahead = set(), [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        reached.add(page)
        found = {(page.parent / link.partition("#")[0]).resolve() for link in links(page) if ":" not in link}
        ahead += [one for one in found if one.suffix == ".md" and one.exists() and one not in reached]
    assert {page for page in PAGES if page not in reached} <= {ROOT / "CHANGELOG.md"}


@pytest.mark.parametrize("words", COMMANDS)
def test_commands_are_understood(words: list[str]) -> None:
    words = [word for word in words if word not in ("[ID", "...]")]
    if "--help" in words:
        words.remove("--help")
    build_parser().parse_args(words)


@pytest.mark.parametrize("block", CONFIGURATIONS, ids=str)
def test_configurations_load(block: Block, tmp_path: Path) -> None:
    text = re.sub(r"^(tls_certificate|tls_key|llmqd) .*$", "", block.text, flags=re.MULTILINE).replace('"tls:', '"')
    text = re.sub(r'"(file|credential):[^"]*"', '"https://secret.example/long-enough"', text)
    if 'mode = "keys"' not in text:
        text = text.replace("0.0.0.0", "127.0.0.1")
    data = tomllib.loads(text)
    steps = [step for route in data.get("route", ()) for step in route.get("upstreams", ())]
    for name in dict.fromkeys(step["name"] if isinstance(step, dict) else step for step in steps):
        if all(one["name"] != name for one in data.get("upstream", ())):
            text += f'\n[[upstream]]\nname = "{name}"\ntype = "openai"\nbase_url = "https://{name}.example"\n'
    if "telemetry" in data and (missing := missing_packages()) is not None:
        pytest.skip(missing)
    path = tmp_path / "llmqd.toml"
    path.write_text(text)
    environment = dict.fromkeys(re.findall(r'"env:(\w+)"', text), "sk-x")
    addresses = {
        "LITELLM_DATABASE_URL": "postgresql://llmqd@db.example/litellm",
        "LEDGER_URL": "postgresql://llmqd@db.example/llmqd",
    }
    load(path, environment | addresses)


@pytest.mark.parametrize("block", OTHER_TOML, ids=str)
def test_other_toml_is_toml(block: Block) -> None:
    assert tomllib.loads(block.text)


@pytest.mark.parametrize("block", [one for one in BLOCKS if one.language in ("yaml", "json")], ids=str)
def test_yaml_and_json_are_read(block: Block) -> None:
    assert yaml.safe_load(block.text) if block.language == "yaml" else json.loads(block.text)


async def test_every_curl_is_answered(daemon: LlmqdProcess) -> None:
    """One daemon for all: an unknown id may be 404, never an unknown URL, a wrong method or field."""
    wrong = []
    for parameter in CURLS:
        [words] = parameter.values
        assert isinstance(words, list)
        status, answer = await _curl(
            [str(word).replace("localhost:8080", f"127.0.0.1:{daemon.port}") for word in words]
        )
        unknown = status in (404, 422) and re.search(
            r'"message":"[^"]*(no session|no call|no lane|no medium|no such)', answer
        )
        if not (200 <= status < 400 or unknown):
            wrong.append(f"{parameter.id}: {' '.join(words)}: {status} {answer[:300]}")
    assert wrong == []


async def _curl(words: list[str]) -> tuple[int, str]:
    quiet = [word for word in words if word not in ("-N", "-f", "-sf", "-sN")]
    for option in ("-o", "-w"):
        if option in quiet:
            at = quiet.index(option)
            del quiet[at : at + 2]
    if any("/events" in word for word in quiet):
        quiet += ["--max-time", "1"]
    shell = await asyncio.create_subprocess_exec(
        *quiet, "-s", "-w", "\n%{http_code}", stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await shell.communicate()
    body, _, status = output.decode().rpartition("\n")
    return int(status), body


@pytest.mark.parametrize("block", PYTHON, ids=str)
async def test_python_runs(block: Block, daemon: LlmqdProcess, tmp_path: Path) -> None:
    script = tmp_path / "snippet.py"
    script.write_text(block.text.replace("localhost:8080", f"127.0.0.1:{daemon.port}"))
    python = await asyncio.create_subprocess_exec(
        sys.executable, str(script), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=tmp_path
    )
    output, _ = await python.communicate()
    assert python.returncode == 0, output.decode()
    if "print(" in block.text:
        assert output.strip()


async def test_rules_and_grafana_ask_for_figures_that_there_are(daemon: LlmqdProcess) -> None:
    _, text = await _curl(["curl", f"{daemon.url}/metrics"])
    families = list(text_string_to_metric_families(text))
    names = {family.name for family in families} | {sample.name for family in families for sample in family.samples}
    names |= {f"{family.name}_{end}" for family in families for end in ("total", "bucket", "sum", "count", "created")}
    rules = yaml.safe_load((MONITORING / "prometheus-rules.yaml").read_text())
    board = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    asked = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    asked += [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    assert len(asked) > 12
    for expression in asked:
        assert expression.count("(") == expression.count(")"), expression
        for name in re.findall(r"\bllmqd_\w+", expression):
            assert name in names, f"{expression}: {name}"
    for rule in (rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule):
        assert rule["annotations"]["summary"]


def refusals(kind: type[CallRefused] = CallRefused) -> Iterator[type[CallRefused]]:
    """Every kind of refusal."""
    yield kind
    for narrower in kind.__subclasses__():
        yield from refusals(narrower)


def test_every_code_of_an_error_is_explained() -> None:
    explained = (ROOT / "docs" / "http.md").read_text()
    missing = {f"| `{kind.code}` | {kind.status} |" for kind in refusals()} - set(
        re.findall(r"^\| `\w+` \| \d{3} \|", explained, re.M)
    )
    assert not missing


def test_blocks_are_found() -> None:
    """The ways of taking pages apart still find what stands there."""
    assert min(len(CONFIGURATIONS), len(CURLS)) > 12
    assert len(PYTHON) > 5
    assert len(COMMANDS) > 30
