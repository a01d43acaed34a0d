"""The command line: reads the arguments and runs one command."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from llmqd import __version__
from llmqd.cli.codes import DONE, USED_WRONGLY
from llmqd.cli.doctor_options import add_doctor
from llmqd.cli.key_options import add_keys, read_priority, whole
from llmqd.cli.ledger_options import add_prices, add_questions
from llmqd.cli.output import printing

_MODULES = {"import": "importing"}
"""Commands whose name is a word of Python's."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` names (None: the process's own arguments).

    Returns the exit code: 0 done, 1 failed, 2 used wrongly. Each command is imported only when it runs, so that small
    ones answer at once.
    """
    return printing(lambda: _main(argv))


def _main(argv: Sequence[str] | None) -> int:
    parser = build_parser()
    try:
        args = parser.parse_args(argv)
    except SystemExit as stop:  # argparse has printed the help, or what is wrong with the arguments
        return stop.code if isinstance(stop.code, int) else USED_WRONGLY
    if args.command is None:
        parser.print_help()
        return USED_WRONGLY
    return _run(args)


def _run(args: argparse.Namespace) -> int:
    """`args.config` is the file that was asked for or found, None for none, before a command sees it."""
    if "config" in args:
        from llmqd.cli.options import config_file

        args.config = config_file(args)
    if args.command == "version":
        print(f"llmqd {__version__}")
        return DONE
    code: int = import_module(f"llmqd.cli.{_MODULES.get(args.command, args.command)}").run(args)
    return code


def build_parser() -> argparse.ArgumentParser:
    """The whole command line, as argparse knows it."""
    parser = argparse.ArgumentParser(
        prog="llmqd",
        description="A daemon that queues, forwards and records the calls of programs that share LLM API keys.",
        epilog="Exit codes: 0 done, 1 failed, 2 used wrongly. `llmqd COMMAND --help` tells more about a command.",
    )
    parser.add_argument("--version", action="version", version=f"llmqd {__version__}", help="show the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    serve = commands.add_parser(
        "serve",
        help="run the daemon in the foreground",
        description="Run the daemon in the foreground until SIGTERM or SIGINT. SIGHUP reloads the configuration.",
    )
    check = commands.add_parser(
        "check",
        help="check the configuration and show what is in force",
        description="Check the configuration that `serve` would use with the same options. Says every fault at once.",
    )
    for command in (serve, check):
        _add_configuration(command)
    _add_init(commands)
    _add_simulate(
        commands.add_parser(
            "simulate",
            help="replay the ledger under other limits, keys or priorities",
            description="Replay a ledger, or calls drawn from a pattern, on a virtual clock with the daemon's own queue"
            " and limits, and print how long calls wait, which are refused and how much of each limit is used.",
        )
    )
    status = commands.add_parser(
        "status",
        help="show how the running daemon is",
        description="Show how the running daemon is: faults, lanes, store. Exit code 1 when calls are not served.",
    )
    _add_location(status)
    add_doctor(commands)
    _add_views(commands)
    _add_queue(
        commands.add_parser(
            "queue",
            help="show who waits at the running daemon, and steer it",
            description="Show who waits at the running daemon, and steer it.",
        )
    )
    add_keys(commands)
    add_questions(commands, _add_location)
    add_prices(commands)
    _add_import(
        commands.add_parser(
            "import",
            help="take the calls of a LiteLLM proxy, or a ledger in SQLite, into the ledger",
            description="Take the calls that another program has recorded into the ledger, each once; a second time"
            " only what has come since. A running daemon does it by itself, with [litellm] dsn in its configuration.",
        )
    )
    commands.add_parser("version", help="show the version", description="Show the version.")
    return parser


def _add_init(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    init = commands.add_parser(
        "init",
        help="write a configuration file with every setting, commented",
        description="Write a configuration file in which every setting stands commented out at its default.",
    )
    init.add_argument(
        "file",
        nargs="?",
        default="llmqd.toml",
        metavar="F",
        help="where to write (default: ./llmqd.toml; -: to stdout)",
    )
    init.add_argument("--force", action="store_true", help="overwrite the file if it exists")


def _add_simulate(command: argparse.ArgumentParser) -> None:
    source = command.add_mutually_exclusive_group()
    source.add_argument("--db", metavar="F", help="the ledger to replay (default: the configured one)")
    source.add_argument(
        "--synthetic",
        metavar="PATTERN",
        action="append",
        default=[],
        help="calls to draw instead, for example rate=600,tokens=1000,seconds=2,for=1h,priority=high:1/low:9,users=5;"
        " may be repeated to lay several over each other",
    )
    configuration = command.add_mutually_exclusive_group()
    configuration.add_argument("--config", type=Path, metavar="F", help="configuration file, as for serve")
    configuration.add_argument("--defaults", action="store_true", help="use no file, even if the system has one")
    command.add_argument(
        "--set",
        metavar="WHERE.SETTING=VALUE",
        action="append",
        default=[],
        help="another limit or number of keys, for example openai.requests_per_minute=500, openai.keys=2,"
        " queue.max_wait=30s; * in WHERE stands for any upstream; may be repeated",
    )
    command.add_argument(
        "--priority",
        metavar="WHO:NAME=PRIORITY",
        action="append",
        default=[],
        help="another priority for the calls of an agent, user, model, session or upstream, for example"
        " agent:crawler=batch; may be repeated, the first that fits decides",
    )
    command.add_argument("--load", type=float, default=1.0, metavar="X", help="X times as many calls in the same time")
    command.add_argument("--since", metavar="D", help="replay only the calls of so long a time before now, such as 24h")
    command.add_argument("--json", action="store_true", help="print JSON")


def _add_import(command: argparse.ArgumentParser) -> None:
    sources = command.add_subparsers(dest="source", metavar="SOURCE", title="sources", required=True)
    litellm = sources.add_parser(
        "litellm",
        help="LiteLLM's PostgreSQL database",
        description="Import the table LiteLLM_SpendLogs. The daemon that uses the same state directory must not run.",
    )
    litellm.add_argument(
        "--dsn",
        metavar="DSN",
        help="its address, for example postgresql://user@host/litellm, or where that stands: env:NAME, file:/path"
        " (default: [litellm] dsn, else $DATABASE_URL); WARNING: a password in it shows in the process list",
    )
    sqlite = sources.add_parser(
        "sqlite",
        help="a ledger of llmqd in SQLite, into PostgreSQL",
        description="Move a ledger from SQLite to the PostgreSQL database of the configuration: everything, once; where"
        " it was stopped it goes on. The daemon that wrote the file must have been stopped.",
    )
    sqlite.add_argument("path", type=Path, metavar="PATH", help="its file, for example /var/lib/llmqd/llmqd.db")
    for source in (litellm, sqlite):
        configuration = source.add_mutually_exclusive_group()
        configuration.add_argument("--config", type=Path, metavar="F", help="configuration file, as for serve")
        configuration.add_argument("--defaults", action="store_true", help="use no file, even if the system has one")
        source.add_argument("--state-directory", metavar="D", help="where the database and the journal lie")


def _add_queue(command: argparse.ArgumentParser) -> None:
    actions = command.add_subparsers(dest="action", metavar="ACTION", title="actions", required=True)
    listed = actions.add_parser("list", help="show lanes, waiting calls in their order, and running calls")
    listed.add_argument("--lane", metavar="L", help="only this lane, or the lanes of this upstream")
    listed.add_argument("--session", metavar="S", help="only the calls of this session")
    listed.add_argument("--limit", metavar="N", type=_calls, help="calls to show, 0 to 1000 (default: 50)")
    listed.add_argument("--offset", metavar="N", type=whole, help="calls to pass over")
    pause = actions.add_parser("pause", help="let nobody through; calls go on waiting, running ones go on")
    pause.add_argument(
        "--for", dest="seconds", metavar="T", type=_duration, help="how long, for example 5m (default: until resumed)"
    )
    pause.add_argument("--reason", metavar="TEXT", default="", help="shown to everybody who looks at the queue")
    resume = actions.add_parser("resume", help="let calls through again")
    for action in (pause, resume):
        action.add_argument("lane", metavar="LANE", help="a lane, or an upstream for all its lanes")
    cancel = actions.add_parser("cancel", help="send waiting calls away with an error")
    cancel.add_argument("request_id", metavar="ID", nargs="+", help="X-LLMQD-Request-Id of a waiting call")
    priority = actions.add_parser("priority", help="give waiting calls another priority")
    priority.add_argument("request_id", metavar="ID", nargs="+", help="X-LLMQD-Request-Id of a waiting call")
    priority.add_argument(
        "priority", metavar="PRIORITY", type=read_priority, help="high, normal, low, batch, or 0 (first) to 9"
    )
    for action in (listed, pause, resume, cancel, priority):
        _add_location(action)


def _add_views(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The two live views."""
    top = commands.add_parser(
        "top",
        help="watch lanes, waiting calls and spend live, with keys to steer",
        description="Watch lanes, waiting calls and spend live. Arrows select a call, + and - or a digit give it"
        " another priority, c cancels it; Tab selects a lane, p pauses or resumes it; q quits. --json prints one look.",
    )
    _add_location(top)
    _add_tail(
        commands.add_parser(
            "tail",
            help="print a line for every call as it ends",
            description="Print a line for every call as it ends, and for pauses, learned limits and alerts. Waits for a"
            " daemon that restarts, and goes on where it was.",
        )
    )


def _add_tail(command: argparse.ArgumentParser) -> None:
    command.add_argument("--lane", metavar="L", help="only these lanes, a comma list")
    command.add_argument(
        "--session", metavar="S", action="append", default=[], help="only this session; may be repeated"
    )
    command.add_argument("--upstream", metavar="U", help="only this upstream")
    command.add_argument("--model", metavar="PATTERN", help="only models like this, for example 'claude-*'")
    command.add_argument("--errors", action="store_true", help="only calls that were not answered well, and alerts")
    kinds = command.add_mutually_exclusive_group()
    kinds.add_argument("--steps", action="store_true", help="also when calls are queued and get their turn")
    kinds.add_argument("--types", metavar="T", type=_types, help="only these types of event, a comma list")
    command.add_argument("--held", action="store_true", help="begin with the events that the daemon still holds")
    command.add_argument("-n", "--count", metavar="N", type=_count, help="end after so many lines")
    command.add_argument("--color", choices=("auto", "always", "never"), default="auto", help="default: auto")
    _add_location(command)


def _add_location(command: argparse.ArgumentParser) -> None:
    """Where the running daemon is, and how its answer is printed."""
    place = command.add_mutually_exclusive_group()
    place.add_argument(
        "--url",
        metavar="U",
        help="the daemon's address, for example http://127.0.0.1:8080 or unix:/run/llmqd/llmqd.sock"
        " (default: $LLMQD_URL, else where the configuration lets it listen)",
    )
    place.add_argument("--config", type=Path, metavar="F", help="the configuration file that says where it listens")
    place.add_argument("--defaults", action="store_true", help="use no file, even if /etc/llmqd/llmqd.toml exists")
    command.add_argument("--json", action="store_true", help="print the daemon's answer as JSON")


def _types(text: str) -> str:
    from llmqd.events.kinds import TYPES  # not at the start: it takes as long as all the rest

    for one in text.split(","):
        if one.strip() not in TYPES:
            raise argparse.ArgumentTypeError(f"{one!r} is no type of event; there are {', '.join(TYPES)}")
    return text


def _count(text: str) -> int:
    if not whole(text):
        raise argparse.ArgumentTypeError("0 is no number of lines; leave it out to go on until interrupted")
    return int(text)


def _calls(text: str) -> int:
    if whole(text) > 1000:
        raise argparse.ArgumentTypeError(f"{text} is more than 1000; use --offset for what comes behind")
    return int(text)


def _duration(text: str) -> float:
    from llmqd.config.quantities import parse_duration

    try:
        seconds = parse_duration(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 365 * 86400:
        raise argparse.ArgumentTypeError(f'{text!r} is not a length of time such as "30s", "5m" or "1h30m"')
    return seconds


def _add_configuration(command: argparse.ArgumentParser) -> None:
    """The options that decide the configuration; they go before the file, the file before the environment."""
    source = command.add_mutually_exclusive_group()
    source.add_argument(
        "--config",
        type=Path,
        metavar="F",
        help="configuration file (default: /etc/llmqd/llmqd.toml if it exists, else none)",
    )
    source.add_argument("--defaults", action="store_true", help="use no file, even if /etc/llmqd/llmqd.toml exists")
    command.add_argument(
        "--listen",
        metavar="A",
        action="append",
        default=[],
        help="address to listen on: host:port, [::1]:port or unix:/path; may be repeated",
    )
    upstream = command.add_argument_group(
        "one upstream", "Any of these describes one upstream, named after its type, before all others."
    )
    upstream.add_argument("--base-url", metavar="U", help="where it is, for example https://api.openai.com")
    upstream.add_argument(
        "--type", metavar="T", help="what it speaks: openai, anthropic, gemini, ollama or the name of a known provider"
    )
    upstream.add_argument(
        "--api-key",
        metavar="K",
        help="its key: env:NAME, file:/path, credential:NAME or the key itself; WARNING: the key itself stays in"
        " the shell's history, and shows in the process list until the daemon has wiped it from there",
    )
    command.add_argument("--state-directory", metavar="D", help="where the database and the journal lie")
    command.add_argument("--log-level", metavar="L", help="least important level shown: debug, info, warning or error")
