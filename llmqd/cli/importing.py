"""`llmqd import`: calls that a LiteLLM proxy has recorded, or a whole ledger from SQLite to PostgreSQL."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmqd.cli.codes import DONE, FAILED, USED_WRONGLY
from llmqd.cli.progress import Progress
from llmqd.config.load import Overrides, load
from llmqd.config.secret import parse_source, read_source
from llmqd.errors import ConfigError, LlmqdError
from llmqd.litellm.importing import Import, Imported
from llmqd.litellm.spend_logs import SpendLogs
from llmqd.messages.digest import Digests
from llmqd.store.ledger import Ledger
from llmqd.store.names_redaction import NamesRedaction
from llmqd.store.postgres.backend import PostgreSQL
from llmqd.store.postgres.moving import Moved, Moving, Source
from llmqd.store.redaction import Redaction
from llmqd.store.retention import Terms
from llmqd.store.secret import installation_secret
from llmqd.store.transcripts import Transcripts

if TYPE_CHECKING:
    from llmqd.config.model import Config

_SETTLE = 600.0


def run(args: argparse.Namespace) -> int:
    """Imports and prints what it has come to; progress goes to stderr. Goes on where an earlier import has ended."""
    return _run_sqlite(args) if args.source == "sqlite" else _run_litellm(args)


def _run_litellm(args: argparse.Namespace) -> int:
    try:
        config = load(args.config, os.environ, Overrides(state_directory=args.state_directory))
        if config.store.backend == "memory":
            raise ConfigError(['[store] backend is "memory": nothing would be left of an import'])
        dsn = config.litellm.dsn if args.dsn is None else read_source(parse_source(args.dsn), os.environ)
    except (ConfigError, ValueError) as error:
        print(f"llmqd import: {error}", file=sys.stderr)
        return FAILED if isinstance(error, ConfigError) else USED_WRONGLY
    if dsn is None:
        print("llmqd import: no database is named: give --dsn, or set [litellm] dsn", file=sys.stderr)
        return USED_WRONGLY
    in_use = "A running daemon imports by itself: set [litellm] dsn and reload it (SIGHUP)."
    return _carried_out(_import(config, dsn.reveal()), in_use)


def _carried_out(work: Coroutine[Any, Any, object], in_use: str = "") -> int:
    """Does the work and prints what has come of it. `in_use` is what to do where another llmqd has the ledger."""
    began = time.monotonic()
    try:
        done = asyncio.run(work)
    except LlmqdError as error:
        print(f"llmqd import: {error}", file=sys.stderr)
        if in_use and "in use by another llmqd" in str(error):
            print(in_use, file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("llmqd import: stopped; the next import goes on from here", file=sys.stderr)
        return FAILED
    print(f"{done}, in {time.monotonic() - began:.1f} s")
    return DONE


async def _import(config: Config, dsn: str) -> Imported:
    digests = Digests(installation_secret(config.server.state_directory), 8 * config.sessions.max)
    redaction = Redaction(config.store.redact, shapes=config.store.redact_secrets, own=[dsn])
    transcripts = Transcripts(config.store, redaction, digests)
    names = NamesRedaction(redaction, digests)
    async with (
        SpendLogs.connect(dsn) as source,
        Ledger(config.store, config.server.state_directory, transcripts=transcripts) as ledger,
    ):
        importing = Import(ledger, transcripts, names, digests, config, wall=time.time)
        after = await importing.place(source)
        with Progress(await source.count(after), "calls imported") as progress:
            imported = await importing.run(source, after, progress=progress.step)
        await ledger.settled(_SETTLE)
    return imported


def _run_sqlite(args: argparse.Namespace) -> int:
    try:
        config = load(args.config, os.environ, Overrides(state_directory=args.state_directory))
    except ConfigError as error:
        print(f"llmqd import: {error}", file=sys.stderr)
        return FAILED
    if config.store.backend != "postgresql" or config.store.dsn is None:
        print(
            'llmqd import: a ledger in SQLite is moved to PostgreSQL: set [store] backend = "postgresql" and dsn first',
            file=sys.stderr,
        )
        return USED_WRONGLY
    return _carried_out(_move(args.path, config.store.dsn.reveal(), Terms.of(config.store)))


async def _move(path: Path, dsn: str, terms: Terms) -> Moved:
    source = Source(path)
    target = PostgreSQL(dsn, terms=terms)
    await target.open(source.journal)
    try:
        with Progress(source.count(), "rows moved") as progress:
            return await Moving(source, target).run(progress.step)
    finally:
        await target.close()
