"""`llmqd sessions`: which conversations there are, what they came to, and what was said in them."""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from llmqd.cli.client import DaemonClient
from llmqd.cli.codes import DONE, FAILED
from llmqd.cli.locate import locate
from llmqd.cli.table import cell, count, money, span, table, when
from llmqd.errors import ConfigError, DaemonRefused, DaemonUnreachable

Answer = Mapping[str, Any]

FILTERS = ("agent_name", "user_id", "model", "tag", "status", "start_date", "end_date", "min_cost", "max_cost")
"""Options that are filters of the API by the same name."""
_WIDTH = 100
_PAGE = 1000


def run(args: argparse.Namespace) -> int:
    """Run one action and print what came of it; faults go to stderr."""
    try:
        daemon = DaemonClient(locate(args.url, args.config, os.environ))
        return _show(args, daemon) if args.action == "show" else _list(args, daemon)
    except (ConfigError, DaemonUnreachable, DaemonRefused) as error:
        print(f"llmqd: {error}", file=sys.stderr)
        return FAILED


def _list(args: argparse.Namespace, daemon: DaemonClient) -> int:
    wanted = {name: value for name in FILTERS if (value := getattr(args, name)) is not None}
    if args.action == "search":
        wanted["text"] = " ".join(args.words)
    paging = {"limit": args.limit} | ({"cursor": args.cursor} if args.cursor else {})
    answer = daemon.ask("POST", f"/api/v1/sessions/search?{urlencode(paging)}", wanted)
    if args.json:
        print(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())
    else:
        for line in listing(answer):
            print(line)
    return DONE


def _show(args: argparse.Namespace, daemon: DaemonClient) -> int:
    path = f"/api/v1/sessions/{quote(args.session_id, safe='')}"
    summary = daemon.ask("GET", f"{path}/summary")
    messages: list[Answer] = []
    cursor = ""
    while True:
        page, following = daemon.page(f"{path}/messages?limit={_PAGE}{cursor}")
        messages += page
        if not following:
            break
        cursor = f"&cursor={following}"
    if args.json:
        print(orjson.dumps({"summary": summary, "messages": messages}, option=orjson.OPT_INDENT_2).decode())
    else:
        for line in [*totals(summary), *conversation(messages)]:
            print(line)
    return DONE


def listing(answer: Answer) -> Iterator[str]:
    """A page of sessions as a table."""
    sessions = answer["sessions"]
    if not sessions:
        yield "no session fits" if answer["next"] is None else "none found yet"
    else:
        yield from table(
            ("SESSION", "BEGAN", "LASTED", "CALLS", "ERRORS", "TOKENS", "COST", "AGENT", "USER", "MODELS"),
            (
                (
                    each["session_id"],
                    when(each["session_start"]),
                    span(each["total_duration_seconds"]),
                    count(each["request_count"]),
                    count(each["error_count"]),
                    count(each["total_tokens"]),
                    money(each["total_cost"]),
                    each["agent_name"],
                    each["user_id"],
                    " ".join(each["models_used"]),
                )
                for each in sessions
            ),
            right=("LASTED", "CALLS", "ERRORS", "TOKENS", "COST"),
        )
    if answer["next"] is not None:
        total = "" if answer["total"] is None else f" of {answer['total']}"
        yield ""
        yield f"{len(sessions)}{total} shown; go on with --cursor {answer['next']}"


def totals(summary: Answer) -> Iterator[str]:
    """A session's summary, a line a figure."""
    figures = {
        "session": summary["session_id"],
        "recognised by": summary["source"],
        "began": when(summary["session_start"]),
        "lasted": span(summary["total_duration_seconds"]),
        "agent": summary["agent_name"],
        "user": summary["user_id"],
        "conversation": summary["conversation_name"],
        "tags": " ".join(summary["tags"]),
        "models": " ".join(summary["models_used"]),
        "calls": f"{summary['request_count']} answered, {summary['error_count']} not",
        "tokens": f"{count(summary['prompt_tokens'])} in, {count(summary['completion_tokens'])} out",
        "cost": money(summary["total_cost"]),
        "mean answer": span(summary["avg_response_time"]),
        "tool calls": summary["function_calls_count"],
        "cache hits": f"{summary['cache_hit_rate']:g} %",
    }
    for name, value in figures.items():
        yield f"{name + ':':14} {cell(value)}"


def conversation(messages: Iterable[Answer]) -> Iterator[str]:
    """What was said, in its order; a branch says where it begins."""
    before = None
    numbers: dict[str, int] = {}
    for message in messages:
        number = message["message_sequence"]
        branch = ""
        if before is not None and message["parent"] != before:
            from_number = numbers.get(message["parent"])
            branch = f"  (after {from_number})" if from_number else "  (a branch)"
        yield ""
        yield f"{number}  {cell(message['role'])}  {when(message['timestamp'])}{branch}"
        for line in _words(message):
            yield f"   {line}"
        before = message["id"]
        numbers[message["id"]] = number


def _words(message: Answer) -> Iterator[str]:
    if message["parts"] is None:
        yield "[not kept]"
        return
    for part in message["parts"]:
        if part["kind"] == "tool_call":
            text = f"[calls {part['name']} {part.get('arguments', '')}]"
        elif part["kind"] == "media":
            text = f"[{part.get('type') or 'file'}, {part.get('size', 0)} bytes]"
        elif part["kind"] == "tool_result":
            text = f"[result] {part['text']}"
        elif part["kind"] == "reasoning":
            text = f"[thinks] {part['text']}"
        else:
            text = part["text"]
        for line in text.splitlines() or [""]:
            yield from textwrap.wrap(cell(line), _WIDTH) if line.strip() else [""]
