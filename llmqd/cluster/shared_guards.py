"""Guards of all daemons: one of them counts for each session, and all know who is held back."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from llmqd.guards.doing import Doing

if TYPE_CHECKING:
    from llmqd.cluster.telling import Telling
    from llmqd.guards.guards import Guards


class SharedGuards:
    """Tells the member that counts for a session what its calls do, and all what came of it.

    Where that member changes, counting begins anew; who is held back stays so. While Redis is away each counts its own.
    """

    def __init__(self, guards: Guards, telling: Telling) -> None:
        self._guards = guards
        self._telling = telling
        guards.share(self)
        telling.hears("answered", self._answered)
        telling.hears("held", lambda _, plain: guards.hold(*plain))
        telling.every_beat(self._welcome)

    def counts(self, session: str, upstream: str, doing: Doing | None, pico: int) -> bool:
        """See guards.Others."""
        counting = self._counting(session)
        if counting == self._telling.me:
            return False
        plain = None if doing is None else [doing.digest, doing.tools]
        self._telling.tell("answered", [session, upstream, plain, pico], [counting])
        return True

    def held(self, session: str, seconds: float, reason: str, to: Iterable[str] | None = None) -> None:
        """See guards.Others. `to` are the members that have to know, None: all."""
        self._telling.tell("held", [session, seconds, reason], to)

    def _answered(self, _: str, plain: list[Any]) -> None:
        session, upstream, did, pico = plain
        doing = None if did is None else Doing(did[0], tuple(did[1]))
        self._guards.count(session, upstream, doing, pico)

    def _welcome(self, new: frozenset[str]) -> None:
        for one in self._guards.held() if new else ():
            self.held(*one, to=new)

    def _counting(self, session: str) -> str:
        """The same in every member that sees the same members; few sessions move where one comes or goes."""
        members = (self._telling.me, *self._telling.others)
        return max(members, key=lambda member: blake2b(f"{member} {session}".encode(), digest_size=8).digest())
