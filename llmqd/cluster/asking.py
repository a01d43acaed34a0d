"""Questions to all other daemons, each answered by what it has: who waits there, and what is to become of a call."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import Callable, Coroutine, Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from llmqd.background import obituary

if TYPE_CHECKING:
    from llmqd.cluster.arbiter import Arbiter

logger = logging.getLogger(__name__)

_PATIENCE = 1.0
"""Seconds after which an answer is given without those who have said nothing."""

Answer = Callable[[list[Any]], Any]
Faults = tuple[type[Exception], ...]


class Sends(Protocol):
    """Sends messages to channels. What goes wrong raises one of `faults`."""

    async def say(self, grants: Any, messages: Any) -> Any: ...


class Asking:
    """Asks, and answers what others ask. `me` is this member, `channel` gives where one is spoken to."""

    def __init__(self, me: str, channel: Callable[[str], str], arbiters: Mapping[str, Arbiter], faults: Faults) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}:{me[:6]}"
        """What people call this member; containers may have the rest of it in common."""
        self._me = me
        self._channel = channel
        self._arbiters = arbiters
        self._faults: Faults = (TimeoutError, *faults)
        self._link: Sends | None = None
        self._members: list[str] = []
        self._answers: dict[str, Answer] = {}
        self._open: dict[str, tuple[set[str], dict[str, Any], asyncio.Event]] = {}
        self._sending: set[asyncio.Task[None]] = set()

    def connected(self, link: Sends | None, members: Iterable[str]) -> None:
        """These can be asked by this link; None: nobody can."""
        self._link = link
        self._members = [member for member in members if member != self._me]

    def answer(self, what: str, answer: Answer) -> None:
        """What is said to whoever asks for this; it must be plain data."""
        self._answers[what] = answer

    def order(self, lane: str, most: int) -> list[str] | None:
        """The calls that wait in a lane, wherever, in their order; None where another daemon decides that."""
        arbiter = self._arbiters.get(lane)
        if arbiter is None or not arbiter.open:
            return None
        return [ticket.call.id for ticket in islice(arbiter.lane.tickets(), most)]

    async def ask(self, what: str, arguments: list[Any]) -> dict[str, Any]:
        """What all others say, by their names; only of those that say something in time."""
        if self._link is None or not self._members:
            return {}
        number = secrets.token_hex(8)
        body = orjson.dumps([self._me, "q", [number, what, arguments]])
        missing, done = set(self._members), asyncio.Event()
        found: dict[str, Any] = {}
        self._open[number] = missing, found, done
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._link.say([], [(self._channel(member), body) for member in missing])
                await done.wait()
        except self._faults as error:
            logger.debug("cluster: %s", error)
        finally:
            del self._open[number]
        return found

    def hear(self, sender: str, way: str, body: list[Any]) -> None:
        """A question (`q`) or an answer (`a`) of another daemon."""
        if way == "q":
            number, what, arguments = body
            if (answer := self._answers.get(what)) is not None:
                self._begin(self._reply(sender, number, answer, arguments))
            return
        number, name, said = body
        if (question := self._open.get(number)) is not None:
            missing, found, done = question
            missing.discard(sender)
            found[name] = said
            if not missing:
                done.set()

    async def _reply(self, member: str, number: str, answer: Answer, arguments: list[Any]) -> None:
        body = orjson.dumps([self._me, "a", [number, self.name, answer(arguments)]])
        link = self._link
        if link is not None:
            try:
                await link.say([], [(self._channel(member), body)])
            except self._faults as error:
                logger.debug("cluster: %s", error)

    def _begin(self, run: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(run, name="cluster answer")
        task.add_done_callback(obituary(logger, "an answer to another daemon has failed"))
        task.add_done_callback(self._sending.discard)
        self._sending.add(task)
