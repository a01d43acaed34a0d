"""Puts together what of a call's words goes into the ledger: what is allowed, not there yet, and redacted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from llmqd.detection.chain import step
from llmqd.messages.digest import NOTHING, Digests
from llmqd.messages.message import Media, Message, Part, Reasoning, Text, ToolCall, ToolResult
from llmqd.messages.transcript import Place, Transcript
from llmqd.store.capture import captured
from llmqd.store.known import LIFETIME, Known

if TYPE_CHECKING:
    from llmqd.call import Call
    from llmqd.config.store import Store
    from llmqd.detection.assignment import Assignment, Learned
    from llmqd.messages.request import Said
    from llmqd.store.redaction import Redaction

_PLACES_KNOWN = 32_768
_TEXTS_KNOWN = 16_384
LONGEST_TEXT = 1 << 20
"""Characters of one text that are kept; what follows is only counted."""
DAY = 86_400

_encode = msgspec.json.Encoder().encode


class Transcripts:
    """Makes the transcript of each call. Owned by the event loop; nothing here waits.

    `asked` when a call has its session, `answered` when its answer is complete, `kept` once its record is in the
    journal. Texts that the ledger has are left out; those that it had to give up since (`forgotten`), or has not been
    shown for a day, are written again as soon as they are said again.
    """

    def __init__(self, settings: Store, redaction: Redaction, digests: Digests) -> None:
        self._settings = settings
        self._redaction = redaction
        self._digests = digests
        self._places = Known(_PLACES_KNOWN)
        self._texts = Known(_TEXTS_KNOWN)
        self._horizon = 0.0

    def __repr__(self) -> str:
        return f"<Transcripts {len(self._places)} places and {len(self._texts)} texts known>"

    def replace(self, settings: Store, redaction: Redaction) -> None:
        """From now on so much is kept, and this is taken out."""
        self._settings = settings
        self._redaction = redaction

    def entry(self, entry: bytes) -> bytes:
        """A journal entry without the daemon's own keys, should one of them stand in it."""
        return self._redaction.entry(entry)

    def forgotten(self, before: float) -> None:
        """The ledger does not have what was last written before that time (Unix seconds) any more."""
        self._horizon = max(self._horizon, before)

    def lost(self) -> None:
        """What was written may not have reached the ledger."""
        self._places.clear()
        self._texts.clear()

    def regrouped(self) -> None:
        """Calls belong to other sessions than before, and so does what is known to be there."""
        self._places.clear()

    def asked(self, call: Call, said: Said, assignment: Assignment, now: float) -> Transcript | None:
        """What a request says, whose `assignment` was made of `said`; None where it says nothing that may be kept.

        `now` is the time in Unix seconds.
        """
        level = captured(call, self._settings)
        trail = assignment.trail
        if level == "none" or not (trail.keys or trail.system or said.previous_response):
            return None
        count = len(trail.keys) - trail.keys.count(NOTHING)
        transcript = Transcript(at=now, session=assignment.session, messages=count, oldest=now)
        if level == "full":
            transcript.tip = trail.end
            transcript.system = trail.system
            for index, key in enumerate(trail.system):
                if self._is_new(key, now):
                    transcript.texts[key] = self._written(said.system_message(index))
            self._add_path(transcript, said, assignment, now)
        return transcript

    def answered(
        self,
        transcript: Transcript,
        assignment: Assignment,
        learned: Learned,
        now: float,
        *,
        others: Sequence[Message] = (),
        provider_id: str | None = None,
    ) -> None:
        """Adds what was answered, as far as something is `learned` of it, and by what the session is known since.

        `others` are the further choices of the model, `provider_id` the provider's id of its answer, by which a later
        request may carry on from it.
        """
        transcript.at, transcript.marks = now, learned.evidence
        if transcript.tip is None or learned.node is None:
            return
        trail = assignment.trail
        transcript.answer = learned.node.key
        said = (learned.message, *others)
        for (node, parent, key, place), message in zip((learned.node, *learned.others), said, strict=False):
            transcript.nodes.append((node, parent, key, place))
            if message is not None and self._is_new(key, now):
                transcript.texts[key] = self._written(message)
        if provider_id and trail.by_response:
            alias = step(trail.seed, self._digests.name_key(provider_id))
            transcript.nodes.append((alias, transcript.answer, None, len(trail.keys)))

    def kept(self, transcript: Transcript) -> None:
        """It is in the journal."""
        for key in transcript.texts:
            self._texts.put(key, transcript.at)
        owner = _owner(transcript)
        for node in (transcript.tip, transcript.answer):
            if node is not None:
                self._places.put(hash((owner, node)), transcript.oldest)

    def _add_path(self, transcript: Transcript, said: Said, assignment: Assignment, now: float) -> None:
        """The messages from the last one back to one that the ledger has with all that came before it."""
        trail = assignment.trail
        owner, floor = _owner(transcript), max(now - LIFETIME, self._horizon)
        path: list[Place] = []
        for index in range(len(trail.keys) - 1, -1, -1):
            key = trail.keys[index]
            if key == NOTHING:
                continue
            since = self._places.since(hash((owner, trail.nodes[index])))
            if since is not None and since > floor:
                transcript.oldest = since
                break
            path.append((trail.nodes[index], trail.before(index), key, index))
            if self._is_new(key, now) and key not in transcript.texts:
                transcript.texts[key] = self._written(said.message(index))
        transcript.nodes = path[::-1]

    def _is_new(self, key: int, now: float) -> bool:
        since = self._texts.since(key)
        return since is None or since <= max(now - LIFETIME, self._horizon)

    def _written(self, message: Message) -> bytes:
        parts = message.parts
        if len(parts) == 1 and parts[0].__class__ is Text and len(parts[0].text) <= LONGEST_TEXT:
            text = self._redaction.text(parts[0].text)
            message = message if text is parts[0].text else Message(message.role, (Text(text),), message.name)
        else:
            message = self._redaction.message(_bounded(message, self._settings.media_max))
        try:
            return _encode(message)
        except UnicodeEncodeError:  # half of a surrogate pair
            return _encode(msgspec.convert(_plain(msgspec.to_builtins(message)), Message))


def _owner(transcript: Transcript) -> str | int:
    """Whose tree its nodes stand in: that of its session, or that of the day."""
    return int(transcript.at // DAY) if transcript.session is None else transcript.session


def _bounded(message: Message, media_max: int) -> Message:
    """The message without what is too large to be kept; the same object where nothing is."""
    parts = tuple([_small(part, media_max) for part in message.parts])
    if all(new is old for new, old in zip(parts, message.parts, strict=True)):
        return message
    return Message(message.role, parts, message.name)


def _small(part: Part, media_max: int) -> Part:
    match part:
        case Text(text=text) | Reasoning(text=text):
            return part if len(text) <= LONGEST_TEXT else type(part)(_cut(text))
        case ToolCall():
            if len(part.arguments) <= LONGEST_TEXT:
                return part
            return msgspec.structs.replace(part, arguments=_cut(part.arguments))
        case ToolResult():
            media = tuple([_small_media(one, media_max) for one in part.media])
            if len(part.text) <= LONGEST_TEXT and all(new is old for new, old in zip(media, part.media, strict=True)):
                return part
            return msgspec.structs.replace(part, text=_cut(part.text), media=media)
        case Media():
            return _small_media(part, media_max)


def _small_media(media: Media, media_max: int) -> Media:
    if media.data is None or media.size <= media_max:
        return media
    return msgspec.structs.replace(media, data=None)


def _cut(text: str) -> str:
    if len(text) <= LONGEST_TEXT:
        return text
    return f"{text[:LONGEST_TEXT]}\n[{len(text) - LONGEST_TEXT} more characters were not kept]"


def _plain(value: object) -> object:
    """The same data in text that UTF-8 can hold."""
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case dict():
            return {name: _plain(item) for name, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case _:
            return value
