"""Turns the options of `serve` and `check` into the configuration they ask for."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from llmqd.config.load import SYSTEM_FILE, Overrides, load
from llmqd.config.model import Config


def load_config(args: argparse.Namespace, environ: Mapping[str, str]) -> Config:
    """The configuration for these arguments, from the file `args.config` (None: no file). Raises ConfigError.

    May be called again for a reload.
    """
    return load(args.config, environ, overrides(args))


def config_file(args: argparse.Namespace) -> Path | None:
    """The file asked for, else the system's if there is one, else none."""
    if args.config is not None or args.defaults:
        config: Path | None = args.config
        return config
    try:
        SYSTEM_FILE.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        pass  # it may be there; loading it will say what is in the way
    return SYSTEM_FILE


def overrides(args: argparse.Namespace) -> Overrides:
    """What the command line lays over file and environment."""
    return Overrides(
        listen=tuple(args.listen),
        base_url=args.base_url,
        type=args.type,
        api_key=args.api_key,
        log_level=args.log_level,
        state_directory=args.state_directory,
    )
