"""Takes calls that have ended to be traced, without ever holding one up, and has a thread send them in batches."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from llmqd.errors import TelemetryError
from llmqd.telemetry.context import TRACEPARENT, TRACESTATE, TraceContext, trace_of

if TYPE_CHECKING:
    from multidict import CIMultiDict, CIMultiDictProxy

    from llmqd.call import Call, Outcome, Record
    from llmqd.config.telemetry import Telemetry as TelemetrySettings

logger = logging.getLogger(__name__)

_PATIENCE = 3.0
"""Seconds that what waits gets when the daemon stops."""

Ended = tuple["Call", "Outcome"]


class Sends(Protocol):
    """What sends the spans of calls: `llmqd.telemetry.export.Exporter`."""

    def send(self, calls: list[Ended]) -> None: ...
    def close(self) -> None: ...


Make = Callable[["TelemetrySettings"], Sends]


class Telemetry:
    """Traces of calls. An async context manager: leaving it sends what waits. Without an endpoint it does nothing.

    `make` gives what sends; it runs in the thread, and raises TelemetryError or ImportError where it cannot.
    """

    def __init__(self, settings: TelemetrySettings, make: Make) -> None:
        self._settings = settings
        self._make = make
        self._batches: _Batches | None = None
        self._past: list[_Batches] = []
        self._begin()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._batches is not None:
            self._batches.end()
            await asyncio.to_thread(self._batches.join, _PATIENCE)

    def replace(self, settings: TelemetrySettings) -> None:
        """Other settings are in force; what waits is still sent as before."""
        if settings == self._settings:
            return
        if self._batches is not None:
            self._batches.end()
            self._past.append(self._batches)
        self._settings = settings
        self._begin()

    def trace(self, headers: CIMultiDict[str] | CIMultiDictProxy[str]) -> TraceContext | None:
        """The place in a trace of a call with these headers; None where it is not to be traced."""
        if self._batches is None:
            return None
        parent = headers.get(TRACEPARENT)
        state = "" if parent is None else ",".join(headers.getall(TRACESTATE, ()))
        return trace_of(parent, state, self._settings.sample, random.getrandbits)

    @property
    def propagates(self) -> bool:
        """Whether requests to upstreams say something else of the trace than their clients did."""
        return self._batches is not None and self._settings.propagate != "pass"

    def propagate(self, headers: CIMultiDict[str], context: TraceContext | None) -> None:
        """Puts into the headers of a request to an upstream what that is to know of the trace."""
        if not self.propagates:
            return
        if self._settings.propagate == "none":
            headers.popall(TRACEPARENT, None)
            headers.popall(TRACESTATE, None)
        elif context is not None:
            headers[TRACEPARENT] = context.parent

    def ended(self, record: Record) -> None:
        """A call has ended. Never waits."""
        if self._batches is not None and record.call.trace is not None:
            self._batches.offer((record.call, record.outcome))

    def faults(self) -> list[str]:
        """What is wrong with sending, as sentences."""
        fault = None if self._batches is None else self._batches.fault
        return [] if fault is None else [f"telemetry: {self._settings.endpoint} does not take traces: {fault}"]

    def figures(self) -> dict[str, int]:
        """What became of the calls that were to be traced: `sent`, `failed` (not taken) and `dropped` (no room)."""
        batches = self._past if self._batches is None else [*self._past, self._batches]
        return {
            "sent": sum(one.sent for one in batches),
            "failed": sum(one.failed for one in batches),
            "dropped": sum(one.dropped for one in batches),
        }

    def _begin(self) -> None:
        settings = self._settings
        self._batches = None if settings.endpoint is None else _Batches(settings, lambda: self._make(settings))


class _Batches:
    """Calls that wait to be sent, and the thread that sends them."""

    def __init__(self, settings: TelemetrySettings, make: Callable[[], Sends]) -> None:
        self._settings = settings
        self._make = make
        self._waiting: deque[Ended] = deque()
        self._changed = threading.Condition()
        self._ending = False
        self._sender: Sends | None = None
        self.sent = self.failed = self.dropped = 0
        self.fault: str | None = None
        """Why the receiver did not take the last batch; None when it did."""
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
        self._thread.start()

    def offer(self, ended: Ended) -> None:
        """Takes one call; what does not fit is dropped and counted."""
        waiting = self._waiting
        if len(waiting) >= self._settings.max_pending:
            self.dropped += 1
            if self.dropped & (self.dropped - 1) == 0:
                logger.warning("telemetry: %d calls dropped, as too many wait to be sent", self.dropped)
            return
        waiting.append(ended)
        if len(waiting) in (1, self._settings.max_batch):
            with self._changed:
                self._changed.notify()

    def end(self) -> None:
        """Nothing comes any more; what waits is sent."""
        with self._changed:
            self._ending = True
            self._changed.notify()

    def join(self, patience: float) -> None:
        """Waits until all is sent, for `patience` seconds at most."""
        self._thread.join(patience)
        if self._thread.is_alive():
            if self._sender is not None:
                self._sender.close()
            logger.warning("telemetry: %d calls or more were not sent", len(self._waiting))

    def _run(self) -> None:
        try:
            self._sender = self._make()
        except (ImportError, TelemetryError) as error:
            self.fault = str(error)
            logger.error("telemetry: no traces are sent: %s", error)
        while self._next():
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._settings.max_batch))]
            self._send(batch)
        if self._sender is not None:
            self._sender.close()

    def _next(self) -> bool:
        """Waits for a batch that is full or old enough; False when nothing is to come any more."""
        with self._changed:
            while not self._waiting and not self._ending:
                self._changed.wait()
            if self._waiting and not self._ending and len(self._waiting) < self._settings.max_batch:
                self._changed.wait(self._settings.export_every)
            return bool(self._waiting)

    def _send(self, batch: list[Ended]) -> None:
        if self._sender is None:
            self.failed += len(batch)
            return
        try:
            self._sender.send(batch)
        except Exception as error:  # whatever libraries do with what clients have named: the next batch may go
            fault = str(error) if isinstance(error, TelemetryError) else repr(error)
            before, self.fault = self.fault, fault
            self.failed += len(batch)  # last: whoever sees the figure sees the reason as well
            if fault != before:
                where = self._settings.endpoint
                logger.warning("telemetry: %s does not take traces: %s; told again when that changes", where, fault)
        else:
            before, self.fault = self.fault, None
            self.sent += len(batch)
            if before is not None:
                logger.info("telemetry: %s takes traces again", self._settings.endpoint)
