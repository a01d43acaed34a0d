"""Connections to upstreams as aiohttp makes them, but for what it does with every chunk and need not."""

from __future__ import annotations

from functools import partial
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler


class Wire(ResponseHandler):
    """One connection to an upstream."""

    def resume_reading(self, resume_parser: bool = True) -> None:
        """aiohttp's body asks for this with every chunk that is taken out of it, paused or not; then its parser is fed
        nothing and the socket woken, which is half of what a chunk of a stream costs. Only what was paused is resumed.
        """
        if self._reading_paused:
            super().resume_reading(resume_parser)


class WireConnector(aiohttp.TCPConnector):
    """aiohttp's connector, which makes such connections."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._factory: partial[Any] = partial(Wire, loop=self._loop)
