"""`llmqd tail`: a line for every call that ends, and for whatever else happens, as it happens."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

import orjson
from rich.console import Console
from rich.text import Text

from llmqd.cli.client import DaemonClient
from llmqd.cli.codes import DONE, FAILED
from llmqd.cli.follow import Event, follow
from llmqd.cli.locate import locate
from llmqd.cli.table import cell, span
from llmqd.errors import ConfigError, DaemonRefused, DaemonUnreachable

ENDS = ("finished", "refused", "cancelled")
"""The events with which a call ends."""
_STEPS = ("queued", "started")
_OTHERS = ("paused", "resumed", "limit_learned", "alert")


def run(args: argparse.Namespace) -> int:
    """Print until interrupted, or until `--count` lines."""
    try:
        return asyncio.run(_tail(args))
    except (ConfigError, DaemonUnreachable, DaemonRefused) as error:
        print(f"llmqd: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return DONE
    except BrokenPipeError:  # whoever read along has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


async def _tail(args: argparse.Namespace) -> int:
    console = Console(
        highlight=False, soft_wrap=True, force_terminal=True if args.color == "always" else None,
        no_color=True if args.color == "never" else None, color_system=None if args.color == "never" else "auto",
    )  # fmt: skip
    daemon = DaemonClient(locate(args.url, args.config, os.environ))
    after = 0 if args.held else None
    left = args.count
    events = follow(daemon.located, list(_filters(args)), after=after, connected=_connection_told())
    async for event in events:
        if event["type"] == "gap" and event["after"] == 0:
            continue  # of `--held`: nobody asked for what is no longer held
        if event["type"] != "gap" and not wanted(event, args.model, args.upstream, args.errors):
            continue
        if args.json:
            sys.stdout.write(orjson.dumps(event).decode() + "\n")
            sys.stdout.flush()
        else:
            console.print(line(event))
        if left is not None and event["type"] != "gap":
            left -= 1
            if left == 0:
                break
    return DONE


def _connection_told() -> Callable[[bool], None]:
    """Says on stderr when the daemon goes away and comes back."""
    state = {"lost": False}

    def tell(connected: bool) -> None:
        if not connected and not state["lost"]:
            print("llmqd: the daemon is away; waiting for it", file=sys.stderr)
        if connected and state["lost"]:
            print("llmqd: the daemon is back", file=sys.stderr)
        state["lost"] = not connected

    return tell


def _filters(args: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """What the daemon can leave out by itself."""
    types = args.types or ",".join((*_STEPS, *ENDS, *_OTHERS) if args.steps else (*ENDS, *_OTHERS))
    yield "types", types
    if args.lane:
        yield "lane", args.lane
    for session in args.session:
        yield "session", session


def wanted(event: Event, model: str | None, upstream: str | None, errors: bool) -> bool:
    """Whether an event is of this model (a pattern such as `claude-*`) and upstream, and, for `errors`, of a call that
    was not answered well; what is of no call is then wanted only when it is an alert."""
    if upstream is not None and event["upstream"] != upstream:
        return False
    if model is not None and not fnmatchcase(event.get("model") or "", model):
        return False
    return not errors or _style(event) == "red" or event["type"] == "alert"


def line(event: Event) -> Text:
    """An event for people: one line, coloured by how it went."""
    if event["type"] == "gap":
        return Text(
            "-- some events are missing here: the daemon has restarted, or this terminal was too slow", "yellow"
        )
    at = datetime.fromisoformat(event["at"]).astimezone()
    text = Text(f"{at:%H:%M:%S} ")
    text.append(f"{event['type']:<9} ", _style(event))
    for part, style in _parts(event):
        text.append(part, style)
    return text


def _style(event: Event) -> str:
    kind = event["type"]
    if kind == "finished":
        http = event["http_status"]
        return "green" if event["status"] == "done" and http is not None and http < 400 else "red"
    return {"refused": "red", "cancelled": "yellow", "paused": "yellow", "alert": "bold red"}.get(kind, "cyan")


def _parts(event: Event) -> Iterator[tuple[str, str]]:
    kind = event["type"]
    if "request_id" in event:
        yield f"{cell(event['request_id'])} ", "dim"
        yield f"{cell(event['lane'] or event['upstream'])} {cell(event['model'])}", "bold"
    else:
        yield cell(event["lane"] or event["upstream"] or "llmqd"), "bold"
    yield f"  {_SAYS[kind](event)}", ""
    if event.get("session"):
        yield f"  session {cell(event['session'])}", "dim"


def _finished(event: Event) -> str:
    said = [cell(event["http_status"]) if event["status"] == "done" else f"{event['status']}: {cell(event['error'])}"]
    said += [
        f"{name} {span(event[field] / 1000)}"
        for name, field in (("queued", "queued_ms"), ("first", "first_byte_ms"), ("total", "total_ms"))
        if event[field] is not None
    ]
    if event["input_tokens"] is not None:
        said.append(f"{event['input_tokens']}+{event['output_tokens']} tokens")
    if event["cost_usd"] is not None:
        said.append(f"${float(event['cost_usd']):.6f}")
    if event["attempts"] > 1:
        said.append(f"{event['attempts']} attempts")
    return "  ".join(said)


def _queued(event: Event) -> str:
    eta = "" if event["eta_ms"] is None else f", turn in {span(event['eta_ms'] / 1000)}"
    return f"place {event['position']}{eta}"


def _paused(event: Event) -> str:
    length = "until resumed" if event["seconds"] is None else f"for {span(event['seconds'])}"
    return f"by {event['by']} {length}" + (f": {cell(event['reason'])}" if event["reason"] else "")


def _learned(event: Event) -> str:
    before = "" if event["before"] is None else f" (was {event['before']:g})"
    return f"{event['dimension']} {event['limit']:g}{before}, from {cell(event['source'])}"


_SAYS: dict[str, Callable[[Any], str]] = {
    "queued": _queued,
    "started": lambda event: (
        f"waited {span(event['queued_ms'] / 1000)}" + (f", attempt {event['attempt']}" if event["attempt"] > 1 else "")
    ),
    "finished": _finished,
    "refused": lambda event: f"{event['http_status']} {cell(event['code'])}: {cell(event['message'])}",
    "cancelled": lambda event: cell(event["message"]),
    "paused": _paused,
    "resumed": lambda event: f"by {event['by']}",
    "limit_learned": _learned,
    "alert": lambda event: f"{cell(event['name'])}: {cell(event['message'])}",
}
