"""`llmqd export`: writes all calls, sessions or usage into a file or to stdout, with a progress bar on a terminal."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlencode

from llmqd.cli.client import DaemonClient
from llmqd.cli.codes import DONE, FAILED
from llmqd.cli.locate import locate
from llmqd.cli.sessions import FILTERS
from llmqd.errors import ConfigError, DaemonRefused, DaemonUnreachable

_OTHERS = ("session_id", "key", "upstream", "granularity", "by")


def run(args: argparse.Namespace) -> int:
    """Write the export whole or not at all: a file gets its name when everything is in it. Faults go to stderr."""
    wanted = {name: value for name in (*FILTERS, *_OTHERS) if (value := getattr(args, name)) is not None}
    query = urlencode({"what": args.what, "format": args.format} | wanted)
    try:
        daemon = DaemonClient(locate(args.url, args.config, os.environ))
        with daemon.streaming(f"/api/v1/export?{query}") as pieces:
            bar = None if args.quiet or not sys.stderr.isatty() else _rows(args.what, daemon, wanted)
            shown = pieces if bar is None else _with_progress(pieces, bar)
            if args.output in (None, "-"):
                _write(sys.stdout.buffer, shown)
            else:
                _save(Path(args.output), shown)
    except (ConfigError, DaemonUnreachable, DaemonRefused) as error:
        print(f"llmqd: {error}", file=sys.stderr)
        return FAILED
    except BrokenPipeError:  # who read it has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        print(f"llmqd: {args.output or 'stdout'}: {error.strerror or error}", file=sys.stderr)
        return FAILED
    return DONE


def _write(target: BinaryIO, pieces: Iterable[bytes]) -> None:
    for piece in pieces:
        target.write(piece)
    target.flush()


def _save(path: Path, pieces: Iterable[bytes]) -> None:
    """A device or a pipe is written to as it stands there, and so is what a link leads to; neither is replaced."""
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            _write(file, pieces)
        return
    path = path.resolve()
    unfinished = path.with_name(f"{path.name}.part")
    try:
        with unfinished.open("wb") as file:
            _write(file, pieces)
        unfinished.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise


def _rows(what: str, daemon: DaemonClient, wanted: dict[str, str]) -> int:
    """About how many rows there will be, for the bar; 0: not known."""
    if what == "sessions":
        return int(daemon.ask("POST", "/api/v1/sessions/search?limit=1", wanted)["total"] or 0)
    if what == "requests" and not wanted.keys() - {"start_date", "end_date"}:
        window = {"from": wanted.get("start_date", "1970-01-02"), "to": wanted.get("end_date")}
        query = urlencode({name: value for name, value in window.items() if value})
        return int(daemon.ask("GET", f"/api/v1/analytics/overview?{query}")["total_requests"])
    return 0


def _with_progress(pieces: Iterable[bytes], rows: int) -> Iterator[bytes]:
    """The pieces; a bar on stderr follows the lines in them."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("exporting"), BarColumn(), MofNCompleteColumn(), TextColumn("rows"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("exporting", total=rows or None)
        for piece in pieces:
            progress.advance(task, piece.count(b"\n"))
            yield piece
