"""`llmqd usage`: what was used and what it cost, by model, agent, user, key, upstream, session, hour or day."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

import orjson

from llmqd.cli.client import DaemonClient
from llmqd.cli.codes import DONE, FAILED
from llmqd.cli.locate import locate
from llmqd.cli.table import count, money, span, table
from llmqd.errors import ConfigError, DaemonRefused, DaemonUnreachable

Answer = Mapping[str, Any]


def run(args: argparse.Namespace) -> int:
    """Print one table, its last line the sum; faults go to stderr."""
    window = {"from": args.start_date, "to": args.end_date}
    given = {name: value for name, value in window.items() if value is not None}
    try:
        daemon = DaemonClient(locate(args.url, args.config, os.environ))
        whole = daemon.ask("GET", f"/api/v1/analytics/overview?{urlencode(given)}")
        if args.by in ("hour", "day"):
            rows = daemon.ask("GET", f"/api/v1/analytics/usage-trends?{urlencode(given | {'granularity': args.by})}")
        else:
            query = urlencode(given | {"by": args.by, "limit": args.limit})
            rows = daemon.ask("GET", f"/api/v1/analytics/cost-breakdown?{query}")
    except (ConfigError, DaemonUnreachable, DaemonRefused) as error:
        print(f"llmqd: {error}", file=sys.stderr)
        return FAILED
    if args.json:
        print(orjson.dumps({"by": args.by, "rows": rows, "total": whole}, option=orjson.OPT_INDENT_2).decode())
    else:
        for line in over_time(rows, whole) if args.by in ("hour", "day") else shares(args.by, rows, whole):
            print(line)
    return DONE


def shares(by: str, rows: list[Answer], whole: Answer) -> Iterator[str]:
    """Who spent what, the dearest first."""
    yield from table(
        (by.upper(), "CALLS", "TOKENS", "COST", "SHARE"),
        [
            *(
                (
                    row["category"],
                    count(row["total_requests"]),
                    count(row["total_tokens"]),
                    money(row["total_cost"]),
                    f"{row['cost_percentage']:g} %",
                )
                for row in rows
            ),
            ("in all", count(whole["total_requests"]), count(whole["total_tokens"]), money(whole["total_cost"]), ""),
        ],
        right=("CALLS", "TOKENS", "COST", "SHARE"),
    )


def over_time(rows: list[Answer], whole: Answer) -> Iterator[str]:
    """What was used when; times without calls are left out."""
    yield from table(
        ("TIME (UTC)", "CALLS", "ERRORS", "IN", "OUT", "COST", "MEAN", "P95"),
        [
            (
                row["time_period"] if row is not whole else "in all",
                count(row["total_requests"]),
                count(row["error_count"]),
                count(row["total_prompt_tokens"]),
                count(row["total_completion_tokens"]),
                money(row["total_cost"]),
                span(row["avg_response_time"]),
                span(row["response_time"]["p95"]),
            )
            for row in [*rows, whole]
            if row["total_requests"] or row is whole
        ],
        right=("CALLS", "ERRORS", "IN", "OUT", "COST", "MEAN", "P95"),
    )
