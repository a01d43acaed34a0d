"""`llmqd init`: writes the sample configuration."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from llmqd.cli.codes import DONE, FAILED
from llmqd.config.sample import sample

_MODE = 0o640
"""The file may come to hold keys, so it is not for everybody to read."""


def run(args: argparse.Namespace) -> int:
    """Write to the file, or to stdout for `-`; an existing file is kept unless forced."""
    if args.file == "-":
        sys.stdout.write(sample())
        return DONE
    path = Path(args.file)
    how = os.O_TRUNC if args.force else os.O_EXCL
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | how, _MODE)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(sample())
    except FileExistsError:
        print(f"{path} exists and stays as it is; --force overwrites it", file=sys.stderr)
        return FAILED
    except OSError as error:
        print(f"{path}: cannot be written: {error.strerror}", file=sys.stderr)
        return FAILED
    print(f"wrote {path}; edit it, then: llmqd check --config {path}")
    return DONE
