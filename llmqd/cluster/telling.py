"""What daemons tell each other of their own accord: it goes with what else is to be said, to those who are there."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import orjson

_MOST = 4096
"""Things that wait to be told to one member; where there are more, the oldest are not told."""

Hear = Callable[[str, Any], None]


class Telling:
    """`me` is this member, `channel` gives where one is spoken to, `waiting` is set while there is something to say.

    Nothing is told twice, and what cannot be told now is not told later.
    """

    def __init__(self, me: str, channel: Callable[[str], str], waiting: asyncio.Event) -> None:
        self.me = me
        self.others: tuple[str, ...] = ()
        """Who else is there, as far as is known; nobody where Redis is away."""
        self._channel = channel
        self._waiting = waiting
        self._hear: dict[str, Hear] = {}
        self._beats: list[Callable[[frozenset[str]], None]] = []
        self._told: dict[str, deque[list[Any]]] = {}

    def hears(self, what: str, hear: Hear) -> None:
        """Who is given what is told under this name, with the member that tells it."""
        self._hear[what] = hear

    def every_beat(self, beat: Callable[[frozenset[str]], None]) -> None:
        """Calls this several times a second while Redis is there, with the members that were not there before."""
        self._beats.append(beat)

    def tell(self, what: str, body: Any, to: Iterable[str] | None = None) -> None:
        """Tells it to some members, or to all others. `body` is plain data."""
        for member in self.others if to is None else to:
            self._told.setdefault(member, deque(maxlen=_MOST)).append([what, body])
            self._waiting.set()

    def present(self, members: Iterable[str]) -> None:
        """These are there."""
        before, self.others = self.others, tuple(member for member in members if member != self.me)
        for beat in self._beats if self.others else ():
            beat(frozenset(self.others).difference(before))

    def said(self) -> list[tuple[str, bytes]]:
        """All that is to be said, by channel; it is taken to be said then."""
        told, self._told = self._told, {}
        return [
            (self._channel(member), orjson.dumps([self.me, "t", [*each]]))
            for member, each in told.items()
            if member in self.others
        ]

    def clear(self) -> None:
        """Nothing of what was to be said."""
        self._told.clear()

    def hear(self, sender: str, told: list[list[Any]]) -> None:
        """What another member tells."""
        for what, body in told:
            if (hear := self._hear.get(what)) is not None:
                hear(sender, body)
