"""`/api/v1/requests…`: single calls, how they went, and what was said in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from llmqd.errors import NotFound, bad
from llmqd.web.api import inputs
from llmqd.web.api.filters import call_filters
from llmqd.web.api.request_answers import Request, RequestMessages, RequestPage
from llmqd.web.api.sessions import SETTLE

if TYPE_CHECKING:
    from llmqd.store.ledger import Ledger
    from llmqd.web.api.endpoint import Asked

_CROCKFORD = frozenset("0123456789abcdefghjkmnpqrstvwxyz")


class Requests:
    """The handlers."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def list_requests(self, asked: Asked[inputs.RequestList, Any]) -> RequestPage:
        """Calls that fit some filters, the latest first."""
        query = asked.query
        after = None if query.cursor is UNSET else query.cursor
        if after is not None and not (0 < len(after) <= 64 and _CROCKFORD.issuperset(after)):
            raise bad("cursor", "not one that an earlier page gave as next")
        page = await self._ledger.requests.search(call_filters(query, asked.key), query.limit, after=after)
        return RequestPage(requests=[Request.of(record) for record in page.records], limit=query.limit, next=page.next)

    async def show_request(self, asked: Asked[Any, Any]) -> Request:
        """One call with everything that is known of it."""
        request_id = asked.path["request_id"]
        record = await self._ledger.call(request_id)
        if (record is None or record.outcome.status == "running") and await self._ledger.settled(SETTLE):
            record = await self._ledger.call(request_id)
        if record is None and (imported := await self._ledger.requests.imported_as(request_id)):
            record = await self._ledger.call(imported)
        if record is None or (asked.key is not None and record.call.key != asked.key):
            raise _no_call(request_id)
        return Request.of(record)

    async def request_messages(self, asked: Asked[Any, Any]) -> RequestMessages:
        """What was said in one call."""
        request_id = asked.path["request_id"]
        if asked.key is not None:
            await self.show_request(asked)  # raises where it is not theirs
        said = await self._ledger.messages_of_call(request_id)
        # Of a call whose end the database does not have yet, nothing is told that was said.
        if (said is None or not said.captured) and await self._ledger.settled(SETTLE):
            said = await self._ledger.messages_of_call(request_id)
        if said is None and (imported := await self._ledger.requests.imported_as(request_id)):
            said = await self._ledger.messages_of_call(imported)
        if said is None:
            raise _no_call(request_id)
        return RequestMessages.of(request_id, said)


def _no_call(request_id: str) -> NotFound:
    return NotFound(f"the ledger has no call {request_id!r}; one that waits is shown by /queue/{{request_id}}")
