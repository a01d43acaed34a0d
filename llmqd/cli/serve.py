"""`llmqd serve`: runs the daemon."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import resource
import sys

import uvloop

from llmqd import log
from llmqd.cli.codes import DONE, FAILED
from llmqd.cli.options import load_config
from llmqd.config.secret import SCHEMES
from llmqd.daemon import serve
from llmqd.errors import ConfigError, LlmqdError
from llmqd.private import close_memory, wipe_from_command_line

logger = logging.getLogger(__name__)


def run(args: argparse.Namespace) -> int:
    """Loads the configuration and serves until a stop signal; 1 when it cannot start, with the reason on stderr."""
    close_memory()
    if args.api_key and not args.api_key.startswith(tuple(f"{scheme}:" for scheme in SCHEMES)):
        wipe_from_command_line(args.api_key)
    try:
        config = load_config(args, os.environ)
    except ConfigError as error:
        for fault in error.faults:
            print(f"llmqd: {fault}", file=sys.stderr)
        return FAILED
    log.configure(config.log.level, config.log.format)
    for warning in config.warnings:
        logger.warning("%s", warning)
    _raise_file_limit()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(config, lambda: load_config(args, os.environ), os.environ))
    except LlmqdError as error:
        logger.error("%s", error)
        return FAILED
    return DONE


def _raise_file_limit() -> None:
    """Every call takes two sockets; the soft limit of 1,024 is for programs that use select()."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        # A system call filter may forbid it; the unit file then has set the limit already.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
