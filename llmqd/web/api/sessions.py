"""`/api/v1/sessions…`: which conversations there are, what they came to, and what was said in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, urlencode

from msgspec import UNSET

from llmqd.errors import NotAllowed, NotFound, bad
from llmqd.store import cursor as cursors
from llmqd.store.request_questions import CallFilters
from llmqd.web.api import inputs
from llmqd.web.api.endpoint import Linked
from llmqd.web.api.filters import session_filters
from llmqd.web.api.session_answers import Divided, Merged, Message, SessionPage, SessionSummary

if TYPE_CHECKING:
    from llmqd.store.cursor import Place
    from llmqd.store.ledger import Ledger
    from llmqd.store.session_questions import Session
    from llmqd.web.api.endpoint import Asked

SETTLE = 2.0
"""Seconds that a question waits at most for the database to have what the journal has, before it says that there is no
such session or call."""


class Correcting(Protocol):
    """Corrects which calls belong together, where they were taken wrongly."""

    async def merge(self, session_id: str, others: Sequence[str]) -> None:
        """The calls of `others`, those that are yet to come too, belong to `session_id` from now on."""

    async def split(self, session_id: str, request_id: str, since: float) -> str:
        """That call of the session, received at `since` (Unix seconds), and those that came after it become a session
        of their own; its id."""


_SHARED = (
    "another client key has called in this session, so that only the admin token may read all of it;"
    " /api/v1/requests/{request_id}/messages has what was said in your calls"
)


class Sessions:
    """The handlers."""

    def __init__(self, ledger: Ledger, correcting: Correcting) -> None:
        self._ledger = ledger
        self._correcting = correcting

    async def list_sessions(self, asked: Asked[inputs.SessionList, Any]) -> SessionPage:
        """Sessions that fit some filters, the one that began last first."""
        return await self._page(asked.query, asked.query, asked.key)

    async def search_sessions(self, asked: Asked[inputs.Paging, inputs.SessionFilter]) -> SessionPage:
        """The same with the filters in the body."""
        return await self._page(asked.body, asked.query, asked.key)

    async def session_summary(self, asked: Asked[Any, Any]) -> SessionSummary:
        """One session with its totals."""
        return SessionSummary.of(await self._session(asked.path["session_id"], asked.key))

    async def session_messages(self, asked: Asked[inputs.MessageList, Any]) -> Linked:
        """What was said in a session, in its order, each message once; header `Link` leads to what follows."""
        session_id, query = asked.path["session_id"], asked.query
        if asked.key is not None:
            await self._session(session_id, asked.key)
            if await self._ledger.sessions.shared(session_id, asked.key):
                raise NotAllowed(_SHARED)
        given = query.cursor if query.cursor is not UNSET else ""
        after, _, seen = given.rpartition("-")
        if given and not (after and seen.isascii() and seen.isdigit() and len(seen) < 16):
            raise bad("cursor", "not one that the Link of an earlier page gave")
        try:
            page = await self._ledger.messages_of_session(session_id, query.limit, after or None)
        except ValueError:
            raise bad("cursor", "not one that the Link of an earlier page gave") from None
        if page is None:
            await self._session(session_id)
            return Linked([], None, 0)
        first = int(seen or 0) + 1
        messages = [Message.at(line, number) for number, line in enumerate(page.lines, first)]
        following = None
        if page.next is not None:
            parameters = {"limit": query.limit, "cursor": f"{page.next}-{first - 1 + len(messages)}"}
            following = f"/api/v1/sessions/{quote(session_id, safe='')}/messages?{urlencode(parameters)}"
        return Linked(messages, following, page.total)

    async def merge_sessions(self, asked: Asked[Any, inputs.Merge]) -> Merged:
        """Other sessions become part of this one, with the calls that are yet to come."""
        session_id = asked.path["session_id"]
        others = [each for each in dict.fromkeys(asked.body.sessions) if each != session_id]
        if not others:
            raise bad("sessions", "names no other session")
        await self._ledger.settled(SETTLE)
        kept = await self._session(session_id)
        for each in others:
            try:
                gone = await self._session(each)
            except NotFound as error:
                raise bad("sessions", str(error)) from None
            if gone.client_key != kept.client_key:
                raise bad("sessions", f"{each!r} belongs to another client key, which must not see this one")
        await self._correcting.merge(session_id, others)
        return Merged(session_id=session_id, merged=others)

    async def split_session(self, asked: Asked[Any, inputs.Split]) -> Divided:
        """A call of this session and those that came after it become a session of their own."""
        session_id, request_id = asked.path["session_id"], asked.body.request_id
        await self._ledger.settled(SETTLE)
        await self._session(session_id)
        record = await self._ledger.call(request_id)
        if record is None or record.call.session.id != session_id:
            raise bad("request_id", "names no call of this session")
        earlier = await self._ledger.requests.search(CallFilters(session=session_id), 1, after=request_id)
        if not earlier.records:
            raise bad("request_id", "is the first call of this session: nothing would be left of it")
        new_id = await self._correcting.split(session_id, request_id, record.call.received_at)
        return Divided(session_id=session_id, new_session_id=new_id)

    async def _session(self, session_id: str, key: str | None = None) -> Session:
        found = await self._ledger.sessions.session(session_id)
        if found is None and await self._ledger.settled(SETTLE):
            found = await self._ledger.sessions.session(session_id)
        if found is None or (key is not None and found.client_key != key):
            raise NotFound(f"no session is named {session_id!r}")
        return found

    async def _page(
        self, wanted: inputs.SessionFilter, paging: inputs.Paging | inputs.SessionList, key: str | None
    ) -> SessionPage:
        after: Place | None = None
        if paging.cursor is not UNSET:
            if paging.offset:
                raise bad("offset", "give either offset or cursor")
            try:
                after = cursors.read(paging.cursor)
            except cursors.BadCursor as error:
                raise bad("cursor", str(error)) from None
        questions, filters = self._ledger.sessions, replace(session_filters(wanted), key=key)
        if wanted.text is None:
            page = await questions.search(filters, paging.limit, offset=paging.offset, after=after)
        elif paging.offset:
            raise bad("offset", "does not go with text: follow next instead")
        elif not wanted.text.split():
            raise bad("text", "has no words")
        else:
            filters = replace(filters, unshared=key is not None)
            page = await questions.search_text(filters, wanted.text, paging.limit, after=after)
        return SessionPage(
            sessions=[SessionSummary.of(session) for session in page.sessions],
            total=page.total,
            limit=paging.limit,
            offset=paging.offset,
            next=cursors.written(page.next) if page.next else None,
        )
