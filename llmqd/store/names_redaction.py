"""Takes secrets out of what clients and upstreams have named in a record: users, sessions, tags, models, errors."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

from msgspec.structs import replace

from llmqd.call import SessionRef
from llmqd.memo import Memo

if TYPE_CHECKING:
    from llmqd.call import Call, Outcome
    from llmqd.messages.digest import Digests
    from llmqd.store.redaction import Redaction

_REMEMBERED = 4096
"""Names whose clean form is known: most calls come with those of the calls before."""
_LONGEST_REMEMBERED = 256


class NamesRedaction:
    """Makes records that can be kept. Owned by the event loop.

    A name that held a secret becomes `[redacted:KIND]-DIGEST`. The digest is made with the installation's secret, so
    that two users or two sessions stay two, and nobody can look for what they were called.
    """

    def __init__(self, redaction: Redaction, digests: Digests) -> None:
        self._redaction = redaction
        self._digests = digests
        self._known: Memo[str, str] = Memo(_REMEMBERED)

    def __repr__(self) -> str:
        return f"<NamesRedaction, {len(self._known)} names known>"

    def replace(self, redaction: Redaction) -> None:
        """From now on this is taken out."""
        self._redaction = redaction
        self._known.clear()

    def asked(self, call: Call) -> None:
        """Cleans what a client says of its call, before anybody else has it."""
        clean = self._clean
        call.path = self._path(call.path)
        call.method = clean(call.method)
        if call.model is not None:
            call.model = clean(call.model)
        if call.session.id is not None and (id_ := clean(call.session.id)) is not call.session.id:
            call.session = SessionRef(id_, call.session.source)
        if call.agent is not None:
            call.agent = clean(call.agent)
        if call.user is not None:
            call.user = clean(call.user)
        if call.conversation is not None:
            call.conversation = clean(call.conversation)
        if call.tags:
            call.tags = tuple([clean(tag) for tag in call.tags])
        if call.client is not None:
            call.client = clean(call.client)

    def answered(self, outcome: Outcome) -> None:
        """Cleans what an upstream says of its answer."""
        clean = self._clean
        if outcome.error is not None:
            outcome.error = clean(outcome.error)
        if outcome.response_model is not None:
            outcome.response_model = clean(outcome.response_model)
        if outcome.finish_reason is not None:
            outcome.finish_reason = clean(outcome.finish_reason)
        if outcome.provider_id is not None:
            outcome.provider_id = self._found(outcome.provider_id)  # each has its own: not to be remembered
        if outcome.tried:
            text = self._redaction.text
            outcome.tried = tuple([replace(each, reason=text(each.reason)) for each in outcome.tried])

    def _clean(self, name: str) -> str:
        known = self._known.get(name)
        if known is None:
            known = self._found(name)
            if len(name) <= _LONGEST_REMEMBERED:
                self._known.keep(name, known)
        return known

    def _found(self, name: str) -> str:
        cleaned = self._redaction.text(name)
        if cleaned == name:
            return name
        return f"{cleaned}-{self._digests.name_key(name) >> 31:08x}"

    def _path(self, path: str) -> str:
        """A path stays as it came, percent-encoded, unless there is a secret in what it means."""
        cleaned = self._clean(path)
        if cleaned == path and "%" in path:
            meant = unquote(path)
            return path if self._found(meant) == meant else self._found(meant)
        return cleaned
