"""The options of the commands that tell what was used and what it costs: sessions, usage, export, prices."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

AddLocation = Callable[[argparse.ArgumentParser], None]
"""Adds the options that say where the running daemon is."""


def add_questions(commands: argparse._SubParsersAction[argparse.ArgumentParser], add_location: AddLocation) -> None:
    """The commands that ask the ledger."""
    _add_sessions(
        commands.add_parser(
            "sessions",
            help="show which conversations there were, and what was said",
            description="Show which conversations the ledger has, and what was said in them.",
        ),
        add_location,
    )
    _add_usage(
        commands.add_parser(
            "usage",
            help="show what was used and what it cost",
            description="Show what was used and what it cost, the dearest first, by default in the last 30 days.",
        ),
        add_location,
    )
    _add_export(
        commands.add_parser(
            "export",
            help="write calls, sessions or usage as CSV, JSON or JSON Lines",
            description="Write all calls, sessions or usage that fit, of any number, to stdout or into a file.",
        ),
        add_location,
    )


def add_prices(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command that tells prices, which asks nobody."""
    command = commands.add_parser(
        "prices",
        help="show what tokens cost at the configured upstreams",
        description="Show what a million tokens cost: by [[price]] of the configuration, else by the list that comes"
        " with llmqd. Exit code 1 when the price of a model that is named is not known.",
    )
    command.add_argument(
        "models", metavar="MODEL", nargs="*", help="these models; * and ? stand for any text (default: all)"
    )
    command.add_argument("--upstream", metavar="U", help="only at this upstream")
    configuration = command.add_mutually_exclusive_group()
    configuration.add_argument("--config", type=Path, metavar="F", help="configuration file, as for serve")
    configuration.add_argument("--defaults", action="store_true", help="use no file, even if the system has one")
    command.add_argument("--json", action="store_true", help="print JSON")


def _add_sessions(command: argparse.ArgumentParser, add_location: AddLocation) -> None:
    actions = command.add_subparsers(dest="action", metavar="ACTION", title="actions", required=True)
    listed = actions.add_parser("list", help="show sessions that fit, the one that began last first")
    search = actions.add_parser("search", help="show sessions in which some words were said in one message")
    search.add_argument("words", metavar="WORD", nargs="+", help="whole words, in any case; refund* is a beginning")
    for action in (listed, search):
        _add_filters(action)
        action.add_argument("--limit", metavar="N", type=_some, default=50, help="how many, 1 to 1000 (default: 50)")
        action.add_argument("--cursor", metavar="C", help="go on where a page ended, as it said")
    show = actions.add_parser("show", help="show one session and what was said in it")
    show.add_argument("session_id", metavar="ID", help="the session, X-LLMQD-Session-Id of its calls")
    for action in (listed, search, show):
        add_location(action)


def _add_usage(command: argparse.ArgumentParser, add_location: AddLocation) -> None:
    command.add_argument(
        "--by",
        choices=("model", "agent", "user", "key", "upstream", "session", "hour", "day"),
        default="model",
        help="what is told apart (default: model)",
    )
    command.add_argument("--limit", metavar="N", type=_some, default=100, help="rows, 1 to 1000 (default: 100)")
    _add_window(command)
    add_location(command)


def _add_export(command: argparse.ArgumentParser, add_location: AddLocation) -> None:
    command.add_argument("what", choices=("requests", "sessions", "usage"), help="what is exported")
    command.add_argument("--format", choices=("csv", "json", "jsonl"), default="jsonl", help="default: jsonl")
    command.add_argument("-o", "--output", metavar="F", help="file to write (default, or -: stdout)")
    command.add_argument("-q", "--quiet", action="store_true", help="show no progress")
    _add_filters(command)
    command.add_argument("--session", dest="session_id", metavar="S", help="only requests of this session")
    command.add_argument("--key", metavar="K", help="only requests of this client key")
    command.add_argument("--upstream", metavar="U", help="only requests to this upstream")
    command.add_argument("--granularity", choices=("hour", "day"), help="of usage (default: day)")
    command.add_argument(
        "--by", choices=("model", "agent", "user", "key", "upstream"), help="of usage: what is told apart"
    )
    add_location(command)


def _add_filters(command: argparse.ArgumentParser) -> None:
    for option, name, metavar in (
        ("--agent", "agent_name", "A"),
        ("--user", "user_id", "U"),
        ("--model", "model", "M"),
        ("--tag", "tag", "T"),
        ("--status", "status", "S"),
    ):
        command.add_argument(option, dest=name, metavar=metavar, help=f"only with this {option[2:]}")
    for option in ("--min-cost", "--max-cost"):
        command.add_argument(option, metavar="D", type=_dollars, help="only where the cost in US dollars is so much")
    _add_window(command)


def _add_window(command: argparse.ArgumentParser) -> None:
    for option, name, which in (("--since", "start_date", "then or later"), ("--until", "end_date", "then or earlier")):
        command.add_argument(
            option, dest=name, metavar="T", type=_moment, help=f"{which}: 24h or 7d ago, or a time such as 2026-12-01"
        )


def _some(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= 1000):
        raise argparse.ArgumentTypeError(f"{text} is not 1 to 1000")
    return int(text)


def _dollars(text: str) -> float:
    try:
        amount = float(text)
    except ValueError:
        amount = -1.0
    if not 0 <= amount < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not an amount in US dollars, such as 0.25")
    return amount


def _moment(text: str) -> str:
    """A time for the API: as it is, or so long ago."""
    from datetime import UTC, datetime, timedelta

    from llmqd.config.quantities import parse_duration

    try:
        ago = timedelta(seconds=parse_duration(text))
        return (datetime.now(UTC) - ago).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (ValueError, OverflowError):
        pass
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a time (2026-12-01) nor how long ago (7d)") from None
    return text
