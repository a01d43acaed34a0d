"""Shows on stderr how far a long run has come: a bar on a terminal, a line now and then where lines are kept."""

from __future__ import annotations

import sys
import time

_AFTER, _EVERY, _LINE_EVERY = 1.0, 0.25, 10.0
"""Seconds: nothing is shown before, then so often on a terminal, and so often where lines are kept."""
_WIDTH = 30


class Progress:
    """A context manager that clears its bar in the end. `what` is said behind the number, `total` None is unknown."""

    def __init__(self, total: int | None, what: str) -> None:
        self._total = total
        self._what = what
        self._done = 0
        self._terminal = sys.stderr.isatty()
        self._began = time.monotonic()
        self._next = self._began + _AFTER
        self._shown = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown and self._terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def step(self, count: int = 1) -> None:
        """So many more are done."""
        before, self._done = self._done, self._done + count
        if before // 64 == self._done // 64 or time.monotonic() < self._next:
            return
        text = self._text()
        print(
            f"\r{text}\x1b[K" if self._terminal else text,
            end="" if self._terminal else "\n",
            file=sys.stderr,
            flush=True,
        )
        self._shown = True
        self._next = time.monotonic() + (_EVERY if self._terminal else _LINE_EVERY)

    def _text(self) -> str:
        if not self._total:
            return f"{self._done:,} {self._what}"
        share = min(1.0, self._done / self._total)
        left = (time.monotonic() - self._began) * (1 - share) / max(share, 1e-9)
        filled = int(_WIDTH * share)
        bar = f"[{'#' * filled}{'.' * (_WIDTH - filled)}] " if self._terminal else ""
        return f"{bar}{self._done:,} of {self._total:,} ({share:.0%}) {self._what}, {left:,.0f} s left"
