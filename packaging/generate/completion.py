"""Prints the bash completion of llmqd, made from its own argument parser by shtab."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import shtab  # type: ignore[import-not-found, import-untyped, unused-ignore]

sys.path.insert(0, str(Path(__file__).parents[2]))

from llmqd.cli import build_parser

COMPLETED_AS = {"config": shtab.FILE, "file": shtab.FILE, "state_directory": shtab.DIRECTORY}
"""What completes the values of arguments that are paths, by the argument's destination."""


def every_argument(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """All arguments of the parser and of its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from every_argument(command)


if __name__ == "__main__":
    parser = build_parser()
    for argument in every_argument(parser):
        if argument.dest in COMPLETED_AS:
            argument.complete = COMPLETED_AS[argument.dest]  # type: ignore[attr-defined]
    sys.stdout.write(shtab.complete(parser, shell="bash"))
