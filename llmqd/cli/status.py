"""`llmqd status`: how the running daemon is."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from llmqd.cli.client import DaemonClient
from llmqd.cli.codes import DONE, FAILED
from llmqd.cli.locate import locate
from llmqd.cli.queue import lanes_table
from llmqd.cli.table import cell, span
from llmqd.errors import ConfigError, DaemonRefused, DaemonUnreachable


def run(args: argparse.Namespace) -> int:
    """Print state, faults, lanes and store; fails when calls are not served, not when something is merely amiss."""
    try:
        daemon = DaemonClient(locate(args.url, args.config, os.environ))
        health = daemon.ask("GET", "/health", accept=(200, 503))
        lanes = daemon.ask("GET", "/queue?limit=0")["lanes"]
    except (ConfigError, DaemonUnreachable, DaemonRefused) as error:
        print(f"llmqd: {error}", file=sys.stderr)
        return FAILED
    if args.json:
        answer = {"url": str(daemon.located), "health": health, "lanes": lanes}
        print(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())
    else:
        for line in report(str(daemon.located), health, lanes):
            print(line)
    return FAILED if health["status"] == "stopping" else DONE


def report(url: str, health: Mapping[str, Any], lanes: list[Mapping[str, Any]]) -> Iterator[str]:
    """The answers of `GET /health` and `GET /queue` for people."""
    yield f"llmqd {cell(health['version'])} at {url}: {health['status']}, up {span(health['uptime_seconds'])}"
    for fault in health["faults"]:
        yield f"fault: {cell(fault)}"
    yield ""
    yield from lanes_table(lanes)
    yield ""
    store = health["store"]
    state = "ok" if store["ok"] else "FAILING"
    lost = f", {store['lost']} records lost" if store["lost"] else ""
    yield f"store {state}: {store['records_behind']} records on their way to the database{lost}"
