"""The options of `llmqd doctor`."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_doctor(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command with its help."""
    command = commands.add_parser(
        "doctor",
        help="look for what is wrong with a running installation",
        description="Look for what is wrong with a running installation: permissions, disk, database, journal, clock,"
        " keys, the daemon itself, and whether each upstream can be reached and takes its key (a question for its list"
        " of models, which costs nothing). Changes nothing. Exit code 1 when there is a fault; run it as root to have"
        " everything looked at.",
    )
    place = command.add_mutually_exclusive_group()
    place.add_argument("--config", type=Path, metavar="F", help="the configuration file of the daemon")
    place.add_argument("--defaults", action="store_true", help="use no file, even if /etc/llmqd/llmqd.toml exists")
    command.add_argument("--url", metavar="U", help="the daemon's address (default: where the configuration says)")
    command.add_argument("--state-directory", metavar="D", help="where the database and the journal lie")
    command.add_argument("--no-upstreams", action="store_true", help="ask no upstream")
    command.add_argument("--json", action="store_true", help="print JSON")
