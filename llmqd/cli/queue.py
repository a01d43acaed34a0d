"""`llmqd queue`: shows who waits where at the running daemon, and steers it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from llmqd.cli.client import DaemonClient
from llmqd.cli.codes import DONE, FAILED
from llmqd.cli.locate import locate
from llmqd.cli.table import cell, per_minute, span, table
from llmqd.errors import ConfigError, DaemonRefused, DaemonUnreachable

Answer = Mapping[str, Any]


def run(args: argparse.Namespace) -> int:
    """Run one action and print what came of it; faults go to stderr."""
    try:
        daemon = DaemonClient(locate(args.url, args.config, os.environ))
        if args.action == "list":
            return _list(args, daemon)
        if args.action in ("pause", "resume"):
            return _hold(args, daemon)
        return _change(args, daemon)
    except (ConfigError, DaemonUnreachable, DaemonRefused) as error:
        print(f"llmqd: {error}", file=sys.stderr)
        return FAILED


def _list(args: argparse.Namespace, daemon: DaemonClient) -> int:
    wanted = {"lane": args.lane, "session": args.session, "limit": args.limit, "offset": args.offset}
    query = urlencode({name: value for name, value in wanted.items() if value is not None})
    answer = daemon.ask("GET", f"/queue?{query}")
    _print(args, answer, listing(answer))
    return DONE


def _hold(args: argparse.Namespace, daemon: DaemonClient) -> int:
    body: dict[str, object] = {}
    if args.action == "pause":
        body = {"seconds": args.seconds, "reason": args.reason}
    answer = daemon.ask("POST", f"/queue/{quote(args.lane)}/{args.action}", body)
    _print(args, answer, (f"{cell(lane['lane'])}: {pause_text(lane['paused'])}" for lane in answer["lanes"]))
    return DONE


def _change(args: argparse.Namespace, daemon: DaemonClient) -> int:
    """One call after the other; a call that cannot be changed does not keep the others from it."""
    changed: list[Answer] = []
    failed = False
    for call_id in args.request_id:
        path = f"/queue/{quote(call_id, safe='')}"
        try:
            if args.action == "cancel":
                changed.append(daemon.ask("DELETE", path))
            else:
                changed.append(daemon.ask("PATCH", path, {"priority": args.priority}))
        except DaemonRefused as error:
            print(f"llmqd: {error}", file=sys.stderr)
            failed = True
    _print(args, changed, map(_changed_text, changed))
    return FAILED if failed else DONE


def _changed_text(call: Answer) -> str:
    if call["state"] == "cancelled":
        return f"{cell(call['request_id'])}: cancelled after {span(call['waited_ms'] / 1000)} in {cell(call['lane'])}"
    return f"{cell(call['request_id'])}: priority {call['priority']}, place {call['position']} in {cell(call['lane'])}"


def _print(args: argparse.Namespace, answer: object, lines: Iterator[str]) -> None:
    if args.json:
        print(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())
    else:
        for line in lines:
            print(line)


def listing(answer: Answer) -> Iterator[str]:
    """The answer of `GET /queue` as tables."""
    yield from lanes_table(answer["lanes"])
    waiting, running = answer["waiting"], answer["running"]
    if waiting:
        yield ""
        yield from table(
            ("PLACE", "REQUEST", "PRIORITY", "WAITED", "ETA", "LANE", "MODEL", "SESSION"),
            (
                (
                    call["position"],
                    call["request_id"],
                    call["priority"],
                    span(call["waited_ms"] / 1000),
                    span(None if call["eta_ms"] is None else call["eta_ms"] / 1000),
                    call["lane"],
                    call["model"],
                    call["session"],
                )
                for call in waiting
            ),
            right=("PLACE", "PRIORITY", "WAITED", "ETA"),
        )
    if running:
        yield ""
        yield from table(
            ("RUNNING", "REQUEST", "PRIORITY", "WAITED", "LANE", "MODEL", "SESSION"),
            (
                (
                    span(call["running_ms"] / 1000),
                    call["request_id"],
                    call["priority"],
                    span(call["waited_ms"] / 1000),
                    call["lane"],
                    call["model"],
                    call["session"],
                )
                for call in running
            ),
            right=("RUNNING", "PRIORITY", "WAITED"),
        )
    if answer["next"] is not None:
        yield ""
        yield (
            f"{len(waiting)} of {answer['total']} waiting and {len(running)} of {answer['running_total']} running calls"
            f" shown; go on with --offset {answer['next']}"
        )


def lanes_table(lanes: list[Answer]) -> Iterator[str]:
    """The lanes of an answer of `GET /queue`."""
    if not lanes:
        yield "no lanes: no upstream is configured"
        return
    yield from table(
        ("LANE", "WAITING", "RUNNING", "RATE", "STATE"),
        (
            (
                lane["lane"],
                lane["waiting"],
                lane["running"],
                per_minute(lane["requests_per_minute"]),
                pause_text(lane["paused"]),
            )
            for lane in lanes
        ),
        right=("WAITING", "RUNNING", "RATE"),
    )


def pause_text(pause: Answer | None) -> str:
    """What a lane does: lets calls through, or who paused it, for how long and why."""
    if pause is None:
        return "open"
    left = pause["seconds_left"]
    length = "until resumed" if left is None else f"for {span(left)}"
    reason = f": {cell(pause['reason'])}" if pause["reason"] else ""
    return f"paused by {pause['by']} {length}{reason}"
