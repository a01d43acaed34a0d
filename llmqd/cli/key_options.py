"""The arguments of `llmqd keys`, and how numbers in arguments are read."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_keys(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`llmqd keys` with its actions."""
    command = commands.add_parser(
        "keys",
        help="make, list and revoke client keys, and set their budgets",
        description="Make, list and revoke client keys, and set their budgets. A running daemon knows each change at"
        " once.",
    )
    actions = command.add_subparsers(dest="action", metavar="ACTION", title="actions", required=True)
    create = actions.add_parser("create", help="make a key and show it, this once")
    create.add_argument("--name", required=True, help="what records and figures call it; never given twice")
    create.add_argument(
        "--priority",
        metavar="P",
        type=read_priority,
        help="priority of calls that name none (default: [queue] priority)",
    )
    create.add_argument("--weight", metavar="W", type=_weight, default=1.0, help="its share beside others (default: 1)")
    create.add_argument("--rpm", metavar="N", type=whole, default=0, help="calls a minute; more wait (default: any)")
    create.add_argument("--tpm", metavar="N", type=whole, default=0, help="tokens a minute; more wait (default: any)")
    create.add_argument(
        "--models", metavar="M", type=_patterns, default=(), help="patterns of models that it may use, by commas"
    )
    create.add_argument(
        "--upstreams", metavar="U", type=_patterns, default=(), help="patterns of upstreams that it may use, by commas"
    )
    create.add_argument(
        "--expires", metavar="T", type=_lifetime, help="how long it is good for, such as 90d (default: for ever)"
    )
    create.add_argument(
        "--budget",
        dest="limit",
        metavar="B",
        type=_allowance,
        action="append",
        default=[],
        help='what it may spend, such as 20/day (US dollars), "1M tokens/month"; may be given several times',
    )
    budget = _add_budget(actions, create)
    listed = actions.add_parser("list", help="show all keys, without what opens anything")
    revoke = actions.add_parser("revoke", help="make keys worthless at once; calls that wait with them are refused")
    revoke.add_argument("name", metavar="NAME", nargs="+", help="name of a key")
    for action in (create, budget, listed, revoke):
        place = action.add_mutually_exclusive_group()
        place.add_argument("--config", type=Path, metavar="F", help="the configuration file of the daemon")
        place.add_argument("--defaults", action="store_true", help="use no file, even if /etc/llmqd/llmqd.toml exists")
        action.add_argument("--state-directory", metavar="D", help="where the daemon keeps its database and keys")
        action.add_argument("--json", action="store_true", help="print JSON")


def _patterns(text: str) -> tuple[str, ...]:
    """A list by commas. An empty one would allow all, which a script whose variable is unset does not mean."""
    parts = tuple(part.strip() for part in text.split(",") if part.strip())
    if not parts:
        raise argparse.ArgumentTypeError(f"{text!r} names none; leave the option out to allow all")
    return parts


def _add_budget(
    actions: argparse._SubParsersAction[argparse.ArgumentParser], create: argparse.ArgumentParser
) -> argparse.ArgumentParser:
    budget = actions.add_parser("budget", help="show what a key may spend, or set it anew")
    budget.add_argument("name", metavar="NAME", help="name of a key")
    new = budget.add_mutually_exclusive_group()
    new.add_argument(
        "limit",
        metavar="B",
        type=_allowance,
        nargs="*",
        default=[],
        help='such as 20/day (US dollars), "1M tokens/month", "500 calls/hour"; these take the place of all it has',
    )
    new.add_argument("--none", action="store_true", help="it has no budget any more")
    for action in (create, budget):
        action.add_argument(
            "--zone", metavar="Z", type=_zone, default="UTC", help="time zone of its days and months (default: UTC)"
        )
        action.add_argument(
            "--demote-to",
            metavar="P",
            choices=("high", "normal", "low", "batch"),
            help="priority that its calls have at most once four fifths are spent (default: as before)",
        )
    return budget


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = 0.0
    if not 0.001 <= weight <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0.001 to 1000")
    return weight


def _allowance(text: str) -> object:
    from llmqd.config.budgets import parse_allowance

    try:
        return parse_allowance(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error}") from None


def _zone(text: str) -> str:
    from llmqd.config.kinds import Zone

    try:
        return Zone().read(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None


def _lifetime(text: str) -> float:
    from llmqd.config.quantities import parse_duration

    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f'{error}; write for example "90d"') from None
    if seconds <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no time at all; without --expires a key is good for ever")
    return seconds


def whole(text: str) -> int:
    """A whole number from 0 on."""
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 0 or more")
    return int(text)


def read_priority(text: str) -> int:
    """A priority by its name or number."""
    from llmqd.controls import parse_priority

    try:
        return parse_priority(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
