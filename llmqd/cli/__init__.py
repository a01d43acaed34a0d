"""The command line: reads the arguments and runs one command."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from llmqd import __version__
from llmqd.cli.codes import DONE, USED_WRONGLY


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` names (None: the process's own arguments).

    Returns the exit code: 0 done, 1 failed, 2 used wrongly. Each command is imported only when it runs, so that small
    ones answer at once.
    """
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
    if args.command == "serve":
        from llmqd.cli import serve

        return serve.run(args)
    if args.command == "check":
        from llmqd.cli import check

        return check.run(args)
    if args.command == "init":
        from llmqd.cli import init

        return init.run(args)
    print(f"llmqd {__version__}")
    return DONE


def build_parser() -> argparse.ArgumentParser:
    """The whole command line, as argparse knows it."""
    parser = argparse.ArgumentParser(
        prog="llmqd",
        description="A daemon that queues, forwards and records the calls of programs that share LLM API keys.",
        epilog="Exit codes: 0 done, 1 failed, 2 used wrongly. `llmqd COMMAND --help` tells more about a command.",
    )
    parser.add_argument("--version", action="version", version=f"llmqd {__version__}")
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
    commands.add_parser("version", help="show the version", description="Show the version.")
    return parser


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
        help="its key: env:NAME, file:/path, credential:NAME or the key itself; WARNING: the key itself shows in the"
        " process list to every user of this machine",
    )
    command.add_argument("--state-directory", metavar="D", help="where the database and the journal lie")
    command.add_argument("--log-level", metavar="L", help="least important level shown: debug, info, warning or error")
