"""Puts one handler on the root logger: journal, text or JSON, as configured or as the surroundings suggest."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping
from typing import Literal, TextIO

from llmqd.log.formats import JsonFormatter
from llmqd.log.journal import JournalHandler
from llmqd.log.redact import RedactSecrets
from llmqd.log.text import TextHandler

Format = Literal["auto", "text", "json", "journal"]

_NAME = "llmqd"


def configure(
    level: str, format: Format | str, *, stream: TextIO | None = None, environ: Mapping[str, str] | None = None
) -> None:
    """Logs records of `level` (debug, info, warning, error) and above. May be called again; the last call counts.

    `auto` is `journal` where `stream` (stderr unless given) is connected to journald, else `text`. Fields are given as
    `logger.info("...", extra={"fields": {"request_id": ...}})`. Raises ValueError for an unknown level or format.
    """
    out = sys.stderr if stream is None else stream
    if format == "auto":
        format = "journal" if _is_journal(out, os.environ if environ is None else environ) else "text"
    handler: logging.Handler
    redact = RedactSecrets()
    if format == "journal":
        handler = JournalHandler(out, redact)
    elif format == "json":
        handler = logging.StreamHandler(out)
        handler.setFormatter(JsonFormatter())
    elif format == "text":
        handler = TextHandler(out, redact)
    else:
        raise ValueError(f"log format {format!r} is none of auto, text, json, journal")
    handler.name = _NAME
    handler.addFilter(redact)
    set_level(level)
    # Nobody reads these of a record, and each costs a look-up.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    root = logging.getLogger()
    for old in [each for each in root.handlers if each.name == _NAME]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)


def set_level(level: str) -> None:
    """Changes the level alone. Libraries stay at info or above: their debug lines show headers and SQL."""
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"log level {level!r} is none of debug, info, warning, error")
    logging.getLogger().setLevel(max(number, logging.INFO))
    logging.getLogger("llmqd").setLevel(number)


def redact_also(clean: Callable[[str], str], *, anywhere: bool = False) -> None:
    """From now on this is done to every text that is logged, too. `anywhere`: see RedactSecrets."""
    for handler in logging.getLogger().handlers:
        for each in handler.filters:
            if isinstance(each, RedactSecrets):
                each.also, each.anywhere = clean, anywhere


def _is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """systemd.exec(5), $JOURNAL_STREAM: device and inode of the stream, so that a redirected stderr is noticed."""
    device, _, inode = environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return (device, inode) == (str(found.st_dev), str(found.st_ino))
