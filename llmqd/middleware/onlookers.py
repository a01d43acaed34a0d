"""Everyone who looks on, as configured: makes them, tells them of calls without secrets, and takes them down."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from llmqd.errors import PluginError
from llmqd.middleware.printer import Printer
from llmqd.middleware.redacting import redacted_answer, redacted_request
from llmqd.middleware.sighting import Answered, Asked, Sighting
from llmqd.middleware.trace import Trace
from llmqd.middleware.watching import Middleware, Watcher
from llmqd.plugins import MIDDLEWARE, load_plugin

if TYPE_CHECKING:
    from llmqd.config.middleware import MiddlewareSettings
    from llmqd.store.redaction import Redaction

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

_PATIENCE = 5.0
"""Seconds that each may take at the end for what waits."""
_OVERHEAD = 4096
"""Bytes of a copy beside its bodies, roughly."""


class Onlookers:
    """Tells each of every call. An async context manager: leaving it lets them finish. Empty, it costs nothing."""

    def __init__(self, settings: Iterable[MiddlewareSettings], state_directory: Path, redaction: Redaction) -> None:
        self._state_directory = state_directory
        self._redaction = redaction
        self._settings: tuple[MiddlewareSettings, ...] = ()
        self._watchers: list[Watcher] = []
        self._faults: list[str] = []
        self.replace(settings, redaction)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for watcher in self._watchers:
            watcher.end()
        for watcher in self._watchers:
            await asyncio.to_thread(watcher.join, _PATIENCE)

    def __bool__(self) -> bool:
        """Whether anybody looks on."""
        return bool(self._watchers)

    @property
    def max_body(self) -> int:
        """Bytes of the largest body that anybody wants."""
        return max((one.max_body_size for one in self._settings if one.enabled), default=0)

    def faults(self) -> list[str]:
        """Who cannot look on, as sentences."""
        return self._faults + [
            f"middleware {one.name} fails: {one.fault}" for one in self._watchers if one.fault is not None
        ]

    def replace(self, settings: Iterable[MiddlewareSettings], redaction: Redaction) -> None:
        """Other settings are in force; those whose settings have changed are made anew."""
        self._redaction, wanted = redaction, tuple(settings)
        if wanted == self._settings:
            return
        for watcher in self._watchers:
            watcher.end()
        self._settings, self._faults, self._watchers = wanted, [], []
        for one in wanted:
            if not one.enabled:
                continue
            try:
                self._watchers.append(Watcher(one.type, self._made(one), one.max_pending))
            except PluginError as error:
                self._faults.append(f"middleware {one.type}: {error}")
                logger.error("middleware %s: %s", one.type, error)

    def asked(self, asked: Asked) -> None:
        """A call has come. Never waits."""
        redaction = self._redaction
        cleaned = _Once(lambda: redacted_request(asked, redaction))
        size = _OVERHEAD + len(asked.body or b"")
        for watcher in self._watchers:
            watcher.offer(size, lambda middleware: middleware.request(cleaned.value()))

    def answered(self, asked: Asked, answered: Answered) -> None:
        """Its answer has ended. Never waits."""
        redaction = self._redaction

        def clean() -> Sighting:
            return Sighting(redacted_request(asked, redaction), redacted_answer(asked, answered, redaction))

        cleaned = _Once(clean)
        size = _OVERHEAD + len(asked.body or b"") + sum(map(len, answered.chunks))
        for watcher in self._watchers:
            watcher.offer(size, lambda middleware: middleware.response(cleaned.value()))

    def _made(self, one: MiddlewareSettings) -> Middleware:
        if one.type == "trace":
            return Trace(
                self._state_directory / one.directory,
                include_headers=one.include_headers,
                include_body=one.include_body,
                max_body_size=one.max_body_size,
                max_size=one.max_size,
                max_age=one.max_age,
            )
        if one.type == "printer":
            return Printer(requests=one.log_requests, responses=one.log_responses, body=one.log_body)
        make = load_plugin(MIDDLEWARE, one.type)
        try:
            made: Middleware = make(dict(one.options))
        except Exception as error:  # whatever another's code does with its options
            raise PluginError(f"the plug-in does not start with its options: {error!r}") from error
        missing = [name for name in ("request", "response", "close") if not callable(getattr(made, name, None))]
        if missing:
            raise PluginError(f"what the plug-in gives has no {', '.join(missing)}()")
        return made


class _Once(Generic[_T]):
    """A value made by whoever asks first, for all threads that ask."""

    def __init__(self, make: Callable[[], _T]) -> None:
        self._make = make
        self._made: list[_T] = []
        self._lock = threading.Lock()

    def value(self) -> _T:
        """The value; raises what making it raises."""
        with self._lock:
            if not self._made:
                self._made.append(self._make())
            return self._made[0]
