"""Stdout of every command: its reader may have gone, its disk may be full, and it may not know every character."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable

from llmqd.cli.codes import FAILED

_UNWRITABLE = frozenset({errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})
"""What writing to stdout may end with. Commands catch what files and connections of their own do, and name them."""


def printing(command: Callable[[], int]) -> int:
    """Run a command and return its exit code, once what it printed is written.

    A reader that has gone, as `head` does, ends it in silence; a full disk with one line; Ctrl-C in silence as well.
    """
    if sys.stdout is None:  # closed by whoever started the command
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (for the life of the process)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = command()
        sys.stdout.flush()
    except KeyboardInterrupt:
        return FAILED
    except OSError as error:
        if error.filename is not None or error.errno not in _UNWRITABLE:
            raise
        if error.errno != errno.EPIPE:
            print(f"llmqd: stdout: {error.strerror}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what the interpreter has still to write
        return FAILED
    return code
