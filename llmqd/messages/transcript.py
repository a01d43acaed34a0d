"""What one call said, on its way into the ledger: keys of everything, and the text of what is not kept there yet."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import orjson

Place = tuple[int, int, int | None, int]
"""A node of the tree of what was said: (its key, its parent's, the key of its text, which message of the call it is).
Without a text it is another name of its parent."""

Mark = tuple[int, str, float]
"""Evidence by which a session is known again: (mark, session, since when in Unix seconds)."""


class Transcript(msgspec.Struct):
    """What is to be kept of what one call said.

    `session` is whose tree its nodes stand in, None for a call without one. `messages` counts those of the request;
    `tip` is the node of the last of them and `answer` that of the answer, None where nothing is kept or nothing came.
    `system` holds the keys of the system texts. `nodes` and `texts` (a Message as JSON, by its key) are only what may
    not be in the ledger yet. `oldest` is when the part of the path that is there already was last written.
    """

    at: float
    session: str | None = None
    messages: int = 0
    tip: int | None = None
    answer: int | None = None
    system: tuple[int, ...] = ()
    nodes: list[Place] = []
    texts: dict[int, bytes] = {}
    marks: Sequence[Mark] = ()
    oldest: float = 0.0


def encode_transcript(said: Transcript) -> bytes:
    """One JSON object without line breaks."""
    entry = {
        "at": said.at,
        "session": said.session,
        "messages": said.messages,
        "tip": said.tip,
        "answer": said.answer,
        "system": said.system,
        "nodes": said.nodes,
        "texts": [(key, orjson.Fragment(text)) for key, text in said.texts.items()],
        "marks": said.marks,
    }
    try:
        return orjson.dumps(entry)
    except TypeError:  # the id of a session that UTF-8 cannot hold
        entry["session"] = said.session and _plain(said.session)
        entry["marks"] = [(mark, _plain(session), at) for mark, session, at in said.marks]
        return orjson.dumps(entry)


def _plain(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
