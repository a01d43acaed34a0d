"""Imports point down: every module has its place, and imports only from places below its own."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "llmqd"

LAYERS = (
    ("__main__",),
    ("cli",),
    ("cli.simulate",),
    ("simulate",),
    ("arrivals",),
    ("cli.*",),
    ("cli.top_screen",),
    ("cli.tail", "cli.queue", "cli.top_picture"),
    ("cli.follow", "cli.keyboard"),
    ("doctor.running",),
    (
        "cli.options",
        "cli.ledger_options",
        "cli.doctor_options",
        "cli.key_options",
        "cli.codes",
        "cli.client",
        "cli.locate",
        "cli.table",
    ),
    ("doctor.*",),
    ("doctor.finding", "doctor"),
    ("daemon",),
    ("watch", "interpreter"),
    ("web.app", "web.listening"),
    ("web.api.*",),
    ("web.proxy", "web.cors", "web.dashboard", "web.queue_api", "web.event_stream", "web.door"),
    ("web.own", "web.connection"),
    ("web.attempts",),
    ("web.model_list",),
    ("web.relay",),
    ("web.sender", "web.disconnects"),
    ("web.outgoing",),
    ("web.looking_on",),
    ("web.passage", "web.queue_input", "web.queue_shapes", "web.queue_whole"),
    ("web.late_answer",),
    ("web.head",),
    ("web.fingerprint",),
    (
        "web.accepting",
        "web.tls",
        "web.scope",
        "web.body",
        "web.rename",
        "web.headers",
        "web.heartbeat",
        "web.patience",
        "web.pages",
        "web.passed",
        "web.refusal",
        "web.shown",
        "web.tunnel",
    ),
    ("web.form", "web.splice"),
    ("web", "web.api"),
    ("admission",),
    ("middleware.onlookers", "alerts.alerts", "telemetry.telemetry"),
    ("telemetry.*",),
    (
        "middleware.printer",
        "middleware.trace",
        "middleware.redacting",
        "middleware",
        "alerts.trouble",
        "alerts.webhook",
    ),
    ("middleware.watching",),
    ("middleware.sighting", "alerts", "telemetry"),
    ("budgets.recall",),
    ("budgets.budgets", "guards.guards"),
    ("budgets.together", "budgets.saying"),
    ("recorder", "recall", "conversations", "in_force", "handover", "litellm.follower"),
    ("litellm.importing",),
    ("cluster.membership",),
    ("cluster.cluster",),
    (
        "cluster.shared_budgets",
        "cluster.shared_events",
        "cluster.shared_guards",
        "cluster.shared_sessions",
        "cluster.node",
    ),
    ("cluster.messages",),
    ("cluster.asking", "cluster.telling"),
    ("metrics", "upstream", "lane.lanes", "store.ledger", "prices", "sim"),
    ("sim.*",),
    ("metrics_collectors",),
    ("lane.turn",),
    ("auth.key_lanes",),
    ("store.postgres.*", "store.postgres"),
    ("cluster.shared_lane",),
    ("cluster.held_lane",),
    ("cluster.held_turn",),
    ("cluster.arbiter", "cluster.link", "cluster.seen_lane"),
    ("cluster.owned_lane", "cluster.slots"),
    (
        "cluster.codec",
        "cluster.past",
        "cluster.redis_time",
        "cluster.scripts",
        "cluster.timing",
        "cluster.news",
        "cluster",
    ),
    ("lane.lane", "store.*", "tap.tap", "tap.include_usage"),
    ("lane.outlook",),
    ("lane.throttle", "lane.queue", "tap.*"),
    ("budgets.expectations", "guards.runaways"),
    ("lane.gate", "lane.learn", "lane.brake", "lane.order", "lane.estimate", "lane.flow", "lane.announcer"),
    ("lane.gauge", "lane.standing", "lane.deadlines"),
    ("lane.places",),
    ("lane.limiting", "lane.suspects", "lane.forecast"),
    ("lane.search",),
    ("lane.spacing", "lane.windows", "lane.shares", "lane.walls"),
    ("lane.meters", "lane.amounts", "lane.ticket", "lane.alarm", "lane.history"),
    ("events",),
    ("events.*",),
    ("lane", "store", "tap"),
    ("auth.*", "budgets.book"),
    ("budgets.meter",),
    ("budgets.periods",),
    ("auth",),
    ("names",),
    ("routing", "session", "controls", "systemd"),
    ("litellm.*",),
    ("detection.*",),
    ("guards.doing",),
    ("guards",),
    ("messages.*",),
    ("detection", "messages", "litellm"),
    ("providers.operations", "providers.openai", "providers.anthropic", "providers.gemini", "providers.ollama"),
    ("exchange",),
    ("outbound",),
    ("pool", "wire"),
    ("chunked",),
    ("config.*",),
    ("config",),
    ("providers.*",),
    ("providers",),
    ("log",),
    ("log.*",),
    ("call",),
    ("plugins",),
    ("budgets.charge",),
    ("budgets",),
    ("usage", "errors", "background", "memo", "private", "signals", "series"),
    ("",),
)
"""From the top down; within a line nobody imports a neighbour, except inside one package (`x.*`)."""


def modules() -> list[tuple[str, Path]]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found.append((".".join(parts[:-1] if parts[-1] == "__init__" else parts), path))
    return found


def place(module: str) -> int:
    package = module.rpartition(".")[0]
    for wanted in (module, f"{package}.*" if package else None):
        for number, layer in enumerate(LAYERS):
            if wanted in layer:
                return number
    pytest.fail(f"llmqd.{module} has no place in LAYERS: put it where it belongs")


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(parsed(path)))


def imports(module: str, path: Path) -> Iterator[str]:
    """The modules of llmqd that are imported at run time; imports for type checkers alone are free."""
    for_types = {
        id(inner)
        for node in nodes(path)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in nodes(path):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module == "llmqd" or (node.module or "").startswith("llmqd."):
                base = (node.module or "").removeprefix("llmqd").removeprefix(".")
                for alias in node.names:
                    name = f"{base}.{alias.name}".lstrip(".")
                    yield name if is_module(name) else base
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("llmqd."):
                    yield alias.name.removeprefix("llmqd.")


def is_module(name: str) -> bool:
    path = PACKAGE / name.replace(".", "/")
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


@pytest.mark.parametrize(("module", "path"), modules(), ids=lambda value: value if isinstance(value, str) else "")
def test_imports_point_down(module: str, path: Path) -> None:
    own = place(module)
    for imported in imports(module, path):
        same_package = "." in module and imported.rpartition(".")[0] == module.rpartition(".")[0]
        below = place(imported) > own or (place(imported) == own and same_package)
        assert below, f"llmqd.{module} imports llmqd.{imported}, which is not below it"


@pytest.mark.parametrize(
    ("library", "owners"),
    [
        ("sqlite3", ("store.",)),
        ("aiosqlite", ("store.",)),
        ("aiohttp.web", ("web.", "sim")),
        ("genai_prices", ("prices",)),
        ("prometheus_client", ("metrics", "series")),
        ("opentelemetry", ("telemetry.export",)),
        ("asyncpg", ("litellm.", "store.postgres.")),
        ("redis", ("cluster.",)),
        ("tomllib", ("config.",)),
        ("sdnotify", ("systemd",)),
    ],
)
def test_a_technology_stays_in_its_room(library: str, owners: tuple[str, ...]) -> None:
    for module, path in modules():
        for node in nodes(path):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
            if library in names:
                assert module.startswith(owners), f"llmqd.{module} imports {library}"


def test_files_and_functions_can_be_read_in_one_sitting() -> None:
    for module, path in modules():
        source = path.read_text()
        assert source.count("\n") <= 400, f"llmqd.{module} has {source.count(chr(10))} lines"
        for node in nodes(path):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                size = (node.end_lineno or 0) - node.lineno + 1
                assert size <= 60, f"llmqd.{module}.{node.name} has {size} lines"


@pytest.mark.parametrize(("module", "path"), modules(), ids=lambda value: value if isinstance(value, str) else "")
def test_every_module_says_its_job_in_its_first_line(module: str, path: Path) -> None:
    docstring = ast.get_docstring(parsed(path))
    assert docstring, f"llmqd.{module} has no docstring"
    assert docstring.splitlines()[0].endswith("."), f"llmqd.{module}: the first line is not a sentence"


def test_nobody_waits_in_a_way_that_swallows_the_end_of_a_task() -> None:
    # wait_for of Python 3.11 forgets that it was cancelled where the wait ends at the same moment
    for module, path in modules():
        assert "asyncio.wait_for(" not in path.read_text(), f"llmqd.{module}: use asyncio.timeout"
