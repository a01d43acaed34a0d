"""Listens to what happens, publishes the alerts that follow from it, and tells every alert: log and webhook."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Self

import orjson

from llmqd.alerts.trouble import Troubles
from llmqd.alerts.webhook import Webhook
from llmqd.background import end
from llmqd.events import Alert, EventBus, Gap, Published, Wanted

if TYPE_CHECKING:
    from llmqd.config.alerts import Alerts as AlertSettings

logger = logging.getLogger("llmqd.alerts")

_STORE_EVERY = 1.0
_REMEMBERED = 4096
"""Alerts of which is remembered when they were told last."""
_GOOD = frozenset({"upstream_up", "store_recovered", "limit_learned"})
"""Alerts of which nobody has to do anything: logged as information."""


class Alerts:
    """One listener on the bus. An async context manager: leaving it ends its tasks.

    `store` gives what is wrong with the store, None where nothing is; `wall` is Unix time in seconds.
    """

    def __init__(
        self,
        settings: AlertSettings,
        bus: EventBus,
        store: Callable[[], str | None],
        *,
        wall: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._bus = bus
        self._store = store
        self._wall = wall
        self.troubles = Troubles(upstream_down_after=settings.upstream_down_after)
        self.webhook = Webhook(settings, wall=wall)
        self._told: dict[tuple[object, ...], float] = {}
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        await self.webhook.__aenter__()
        own = Wanted(types=frozenset({"finished", "limit_learned", "alert"}), own=True)
        self._listening = self._bus.subscribe(self._wake.set, own)
        self._tasks = [
            asyncio.create_task(self._listen(), name="alerts"),
            asyncio.create_task(self._look_at_store(), name="alerts: store"),
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await end(*self._tasks)
        self._take()
        self._bus.unsubscribe(self._listening)
        await self.webhook.__aexit__(kind, error, trace)

    def replace(self, settings: AlertSettings) -> None:
        """Other settings are in force."""
        self._settings = settings
        self.troubles.upstream_down_after = settings.upstream_down_after
        self.webhook.replace(settings)

    def faults(self) -> list[str]:
        """What is wrong with telling, as sentences."""
        return [f"alerts: the webhook does not take them: {self.webhook.fault}"] if self.webhook.fault else []

    async def _listen(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._take():
                self._wake.set()  # there may be more; others go first
                await asyncio.sleep(0)

    def _take(self) -> bool:
        """Goes through some of what has happened; False when there is nothing more."""
        taken = self._listening.take()
        for published in taken:
            if isinstance(published, Gap):
                continue
            if isinstance(published.event, Alert):
                self._tell(published, published.event)
            elif (alert := self.troubles.seen(published.event)) is not None:
                self._bus.publish(alert)
        return bool(taken)

    async def _look_at_store(self) -> None:
        while True:
            if (alert := self.troubles.store(self._store())) is not None:
                self._bus.publish(alert)
            await asyncio.sleep(_STORE_EVERY)

    def _tell(self, published: Published, alert: Alert) -> None:
        same = (alert.name, alert.lane, alert.upstream, alert.session, alert.message)
        before = self._told.pop(same, None)
        self._told[same] = published.at if before is None else before
        if before is not None and 0 <= published.at - before < self._settings.repeat_after:
            return
        self._told[same] = published.at
        while len(self._told) > _REMEMBERED:
            del self._told[next(iter(self._told))]
        about = {"lane": alert.lane, "upstream": alert.upstream, "session": alert.session}
        level = logging.INFO if alert.name in _GOOD else logging.WARNING
        fields = {"alert": alert.name, **{name: value for name, value in about.items() if value is not None}}
        logger.log(level, "alert %s: %s", alert.name, alert.message, extra={"fields": fields})
        if self._settings.names and alert.name not in self._settings.names:
            return
        at = datetime.fromtimestamp(published.at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        data = {"name": alert.name, "message": alert.message, **about}
        self.webhook.send(f"evt_{published.id}", orjson.dumps({"type": "alert", "timestamp": at, "data": data}))
