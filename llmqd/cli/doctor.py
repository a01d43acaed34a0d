"""`llmqd doctor`: looks at a running installation and says what is wrong with it."""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import orjson

from llmqd.cli.codes import DONE, FAILED
from llmqd.cli.locate import locate
from llmqd.cli.progress import Progress
from llmqd.cli.table import cell
from llmqd.config.load import SYSTEM_FILE, Overrides, load, secret_sources
from llmqd.config.model import Config
from llmqd.doctor.clock import look_at_clock, synchronised
from llmqd.doctor.environment import unit_environment
from llmqd.doctor.files import look_at_configuration, look_at_disk, look_at_secrets, look_at_state
from llmqd.doctor.finding import Finding, fault, warning
from llmqd.doctor.keys import look_at_keys
from llmqd.doctor.ledger import look_at_database, look_at_journal, look_at_server
from llmqd.doctor.reach import look_at_upstreams
from llmqd.doctor.running import look_at_daemon, look_at_process
from llmqd.errors import ConfigError, DaemonUnreachable, StoreError
from llmqd.store.inspection import STEPS, DatabaseFound, inspect_journal
from llmqd.store.postgres.inspection import ServerFound

_MARKS = {"ok": "ok     ", "warning": "WARNING", "fault": "FAULT  "}


def run(args: argparse.Namespace) -> int:
    """Print a line for everything that was looked at; 1 where there is a fault, however many warnings there are."""
    environ = dict(os.environ)
    if args.config == SYSTEM_FILE:
        environ = unit_environment(environ)
    findings = list(_look(args, environ))
    faults = sum(each.level == "fault" for each in findings)
    warnings = sum(each.level == "warning" for each in findings)
    if args.json:
        shown = [
            {"level": each.level, "about": each.about, "text": each.text, "advice": each.advice} for each in findings
        ]
        answer = {"faults": faults, "warnings": warnings, "findings": shown}
        print(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())
    else:
        for line in report(findings):
            print(line)
        print(
            f"{faults or 'no'} {'fault' if faults == 1 else 'faults'}, {warnings or 'no'} "
            f"{'warning' if warnings == 1 else 'warnings'}"
        )
    return FAILED if faults else DONE


def report(findings: list[Finding]) -> Iterator[str]:
    """The findings for people, what to do below what is wrong."""
    for each in findings:
        yield f"{_MARKS[each.level]} {cell(each.about)}: {cell(each.text)}"
        if each.advice:
            yield f"        -> {cell(each.advice)}"


def _look(args: argparse.Namespace, environ: dict[str, str]) -> Iterator[Finding]:
    try:
        config = load(args.config, environ, Overrides(state_directory=args.state_directory))
    except ConfigError as error:
        for each in error.faults:
            yield fault("configuration", each)
        yield fault("configuration", "the daemon would not start with it", "llmqd check tells more")
        return
    for text in config.warnings:
        if "has no key yet" not in text:  # that is said with the keys
            yield warning("configuration", text)
    if args.config is not None:
        sources = secret_sources(args.config)
        yield from look_at_configuration(args.config, sources)
        yield from look_at_secrets(sources, environ)
    now, directory = time.time(), config.server.state_directory
    yield from look_at_state(directory)
    yield look_at_disk(directory)
    newest = None
    if config.store.backend != "memory":
        newest = yield from _look_at_ledger(config, directory)
    yield from look_at_keys(config, now)
    try:
        yield from look_at_daemon(locate(args.url, args.config, environ))
    except DaemonUnreachable as error:
        yield fault("daemon", str(error))
    ahead: dict[str, float] = {}
    if not args.no_upstreams:
        reached = asyncio.run(look_at_upstreams(config, wall=time.time))
        yield from reached.findings
        ahead = reached.ahead
    yield from look_at_clock(now, kept=synchronised(), newest=newest, others=ahead)


def _look_at_ledger(config: Config, directory: Path) -> Generator[Finding, None, float | None]:
    """Returns when the newest call came."""
    found: DatabaseFound | ServerFound | None
    if config.store.backend == "postgresql" and config.store.dsn is not None:
        found, finding = look_at_server(config.store.dsn.reveal())
    else:
        with Progress(None, "thousand steps through the database") as progress:
            found, finding = look_at_database(config.database, lambda: progress.step(STEPS // 1000))
    yield finding
    try:
        journal = inspect_journal(directory / "journal", config.database)
    except StoreError as error:
        yield fault("journal", str(error), "run this as root or as the daemon's user")
    else:
        yield from look_at_journal(journal)
        if journal.holder is not None:
            yield from look_at_process(journal.holder)
    return found.newest if found is not None else None
