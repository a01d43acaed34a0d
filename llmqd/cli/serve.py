"""`llmqd serve`: runs the daemon."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import resource
import sys
from pathlib import Path

import uvloop

from llmqd import log
from llmqd.config.load import Overrides, load
from llmqd.config.model import Config
from llmqd.daemon import serve
from llmqd.errors import ConfigError, LlmqdError

logger = logging.getLogger(__name__)


def run(args: argparse.Namespace) -> int:
    """Loads the configuration and serves until a stop signal; 1 when it cannot start, with the reason on stderr."""
    overrides = Overrides(
        listen=tuple(args.listen or ()),
        base_url=args.base_url,
        type=args.type,
        api_key=args.api_key,
        log_level=args.log_level,
        state_directory=args.state_directory,
    )
    path: Path | None = args.config

    def read() -> Config:
        return load(path, os.environ, overrides)

    try:
        config = read()
    except ConfigError as error:
        for fault in error.faults:
            print(f"llmqd: {fault}", file=sys.stderr)
        return 1
    log.configure(config.log.level, config.log.format)
    for warning in config.warnings:
        logger.warning("%s", warning)
    _raise_file_limit()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(config, read, os.environ))
    except LlmqdError as error:
        logger.error("%s", error)
        return 1
    return 0


def _raise_file_limit() -> None:
    """Every call takes two sockets; the soft limit of 1,024 is for programs that use select()."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
