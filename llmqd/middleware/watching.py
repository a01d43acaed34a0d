"""Lets middlewares look on, each in a thread of its own behind a bounded queue: none can hold or break a call."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

from llmqd.middleware.sighting import Asked, Sighting

logger = logging.getLogger(__name__)


class Middleware(Protocol):
    """Who looks on. Its methods run in a thread of their own, one at a time; what they raise is logged."""

    def request(self, asked: Asked) -> None:
        """A call has come, and is going to wait or to be sent."""
        ...

    def response(self, sighting: Sighting) -> None:
        """Its answer has ended, or its client has left."""
        ...

    def close(self) -> None:
        """The daemon stops; nothing comes any more."""
        ...


class Watcher:
    """One middleware with its thread and its queue of at most `most` bytes; what does not fit is dropped and counted.

    `ready` makes what the middleware sees out of what was seen, in the thread as well.
    """

    def __init__(self, name: str, middleware: Middleware, most: int) -> None:
        self.name = name
        self.dropped = 0
        self.failed = 0
        self.fault: str | None = None
        """What it failed with last; None once it works."""
        self._middleware = middleware
        self._most = most
        self._waiting: deque[tuple[int, Callable[[Middleware], None]]] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f"middleware {name}", daemon=True)
        self._thread.start()

    def offer(self, size: int, work: Callable[[Middleware], None]) -> None:
        """Has `work` done with the middleware, later; never waits. `size` is what it keeps in memory, in bytes."""
        with self._changed:
            if self._bytes + size > self._most:
                self.dropped += 1
                if self.dropped & (self.dropped - 1) == 0:
                    logger.warning("middleware %s is too slow: %d copies of calls dropped", self.name, self.dropped)
                return
            self._bytes += size
            self._waiting.append((size, work))
            self._changed.notify()

    def end(self) -> None:
        """Nothing comes any more; it finishes what waits."""
        with self._changed:
            self._closing = True
            self._changed.notify()

    def join(self, patience: float) -> None:
        """Waits until it has finished, for `patience` seconds at most."""
        self._thread.join(patience)
        if self._thread.is_alive():
            logger.warning("middleware %s did not end in time; it is left behind", self.name)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closing:
                    self._changed.wait()
                if not self._waiting:
                    break
                size, work = self._waiting.popleft()
            try:
                work(self._middleware)
                self.fault = None
            except Exception as error:
                self.failed += 1
                self.fault = repr(error)
                if self.failed & (self.failed - 1) == 0:  # the first, then ever more rarely: a disk may be full
                    logger.exception("middleware %s failed (%d times by now)", self.name, self.failed)
            with self._changed:
                self._bytes -= size
        try:
            self._middleware.close()
        except Exception:
            logger.exception("middleware %s failed to close", self.name)
