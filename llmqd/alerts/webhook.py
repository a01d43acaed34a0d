"""Posts alerts to a webhook: signed, one after the other, retried, from a bounded queue.

Signature and headers are those of Standard Webhooks (standardwebhooks.com): `webhook-id`, `webhook-timestamp`, and
`webhook-signature: v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hashlib
import hmac
import logging
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

import aiohttp

from llmqd import __version__
from llmqd.background import end

if TYPE_CHECKING:
    from llmqd.config.alerts import Alerts as AlertSettings

logger = logging.getLogger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_LAST_CHANCE = 2.0
"""Seconds that what waits gets when the daemon stops."""


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`. Behind `whsec_` a secret is base64, as the standard says."""
    key = secret.encode()
    if secret.startswith("whsec_"):
        with contextlib.suppress(binascii.Error):
            key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    digest = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


class Webhook:
    """Delivers what it is given. An async context manager: leaving it gives what waits a last chance.

    `wall` is Unix time in seconds, `pause` waits for so many seconds.
    """

    def __init__(
        self,
        settings: AlertSettings,
        *,
        wall: Callable[[], float],
        pause: Callable[[float], object] | None = None,
    ) -> None:
        self._settings = settings
        self._wall = wall
        self._pause = pause or asyncio.sleep
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._bytes = 0
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._task: asyncio.Task[None] | None = None
        self.delivered = 0
        self.dropped = 0
        self.fault: str | None = None
        """Why the webhook did not take the last one; None when it did."""

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._deliver_all(), name="webhook")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        try:
            async with asyncio.timeout(_LAST_CHANCE):
                await self._idle.wait()
        except TimeoutError:
            logger.warning("%d alerts did not reach the webhook", len(self._waiting))
        await end(self._task)

    def replace(self, settings: AlertSettings) -> None:
        """Other settings are in force."""
        self._settings = settings

    def send(self, message_id: str, body: bytes) -> None:
        """Takes one alert; never waits. The oldest that wait give way where there is no room."""
        if self._settings.webhook is None:
            return
        self._waiting.append((message_id, body))
        self._bytes += len(body)
        while self._bytes > self._settings.max_pending and self._waiting:
            self._bytes -= len(self._waiting.popleft()[1])
            self.dropped += 1
        self._idle.clear()
        self._wake.set()

    async def _deliver_all(self) -> None:
        async with aiohttp.ClientSession(headers={"User-Agent": f"llmqd/{__version__}"}) as session:
            while True:
                if not self._waiting:
                    self._idle.set()
                    self._wake.clear()
                    await self._wake.wait()
                if not self._waiting:
                    continue
                message_id, body = self._waiting.popleft()
                self._bytes -= len(body)
                if await self._deliver(session, message_id, body):
                    self.delivered += 1
                else:
                    self.dropped += 1

    async def _deliver(self, session: aiohttp.ClientSession, message_id: str, body: bytes) -> bool:
        """Sends one, again and again; False when it is given up."""
        pause = _FIRST_PAUSE
        for attempt in range(self._settings.retries + 1):
            if attempt:
                waited = self._pause(pause)
                if asyncio.iscoroutine(waited):
                    await waited
                pause = min(2 * pause, _LONGEST_PAUSE)
            fault, again = await self._post(session, message_id, body)
            self.fault = fault
            if fault is None:
                return True
            if not again:
                break
        logger.error("alert %s did not reach the webhook: %s", message_id, self.fault)
        return False

    async def _post(self, session: aiohttp.ClientSession, message_id: str, body: bytes) -> tuple[str | None, bool]:
        """What went wrong, and whether another try may help. The URL is never told, as it may hold a secret."""
        settings, at = self._settings, int(self._wall())
        if settings.webhook is None:
            return "no webhook is set any more", False
        headers = {"Content-Type": "application/json", "webhook-id": message_id, "webhook-timestamp": str(at)}
        if settings.webhook_secret is not None:
            headers["webhook-signature"] = signature(settings.webhook_secret.reveal(), message_id, at, body)
        try:
            async with session.post(
                settings.webhook.reveal(),
                data=body,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=settings.timeout),
            ) as answer:
                if answer.status < 300:
                    return None, False
                return f"it answered {answer.status}", answer.status in (408, 425, 429) or answer.status >= 500
        except TimeoutError:
            return f"it did not answer within {settings.timeout:g} s", True
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return type(error).__name__, not isinstance(error, ValueError)
