"""Follows what happens at the running daemon: its event stream, taken up again after every break."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
from aiohttp_sse_client.client import EventSource
from yarl import URL

from llmqd.cli.client import credentials, locked_out
from llmqd.errors import DaemonUnreachable

if TYPE_CHECKING:
    from llmqd.cli.locate import Located

_SILENCE = 45.0
"""Seconds of silence after which a connection counts as dead; the daemon says something every 15 s."""
_AGAIN = 1.0
"""Seconds between attempts to reach a daemon that is away."""

Event = Mapping[str, Any]

logging.getLogger("aiohttp_sse_client").addHandler(logging.NullHandler())  # what it has to say is said here


async def follow(
    located: Located,
    filters: list[tuple[str, str]],
    *,
    after: int | None = None,
    connected: Callable[[bool], None] = lambda _: None,
) -> AsyncGenerator[Event, None]:
    """The events that fit `filters` (as in the query of `GET /events`), from behind the id `after`, without an end.

    Raises DaemonUnreachable when nothing answers at first, DaemonRefused when the daemon does not want to tell. Once
    there was a stream, a daemon that goes away is waited for, and the events it still holds are caught up with; what is
    lost shows as an event of type `gap`. `connected` is told of every loss and return.
    """
    address = located.address
    connector = aiohttp.UnixConnector(address.path) if address.path else aiohttp.TCPConnector()
    base = "http://llmqd" if address.path else str(located)
    if after is not None:
        filters = [*filters, ("last_event_id", str(after))]
    url = str(URL(f"{base}/events").with_query(filters))
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=_SILENCE)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        began = False

        def tell(up: bool) -> None:
            if began:
                connected(up)

        source = EventSource(
            url,
            session=session,
            headers=credentials(),
            on_open=partial(tell, True),
            on_error=partial(tell, False),
        )
        await _first(source, located)
        began = True
        connected(True)
        try:
            while True:
                try:
                    async for message in source:
                        # A stream that was cut within an event leaves the piece in front of the next one.
                        yield orjson.loads(message.data.rpartition("\n")[2])
                except (aiohttp.ClientError, ConnectionError, TimeoutError):
                    pass
                connected(False)
                await _again(source)
                connected(True)
        finally:
            await source.close()


async def _first(source: EventSource, located: Located) -> None:
    try:
        await source.connect()
    except ConnectionRefusedError:
        raise locked_out() from None
    except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
        raise DaemonUnreachable(
            f"no llmqd daemon tells events at {located} ({located.why}): {error}\n"
            "Is it running (systemctl status llmqd)? Another address is given with --url."
        ) from None


async def _again(source: EventSource) -> None:
    """Until there is a stream again."""
    while True:
        await asyncio.sleep(_AGAIN)
        try:
            await source.connect()
        except (aiohttp.ClientError, ConnectionError, TimeoutError):
            continue
        return
