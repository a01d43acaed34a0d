"""Keys of messages: 64 bits that tell what was said apart, however it was written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any
from unicodedata import normalize

import orjson

from llmqd.messages.message import Media, Message, Part, Text, ToolCall, ToolResult
from llmqd.messages.request import Said
from llmqd.messages.turns import Raw, Turn

NOTHING = -1
"""The key of a message that says nothing of its own: a client wrote it around the conversation."""

_SIZE = 15
"""The low bits of a key: how many bits it takes to count the bytes of what was said."""

_BARE = frozenset({"role", "content", "parts", "type", "id", "status", "phase"})
_TEXT_TYPES = frozenset({"text", "input_text", "output_text"})

_AROUND = (("<system-reminder>", "</system-reminder>"), ("<environment_context>", "</environment_context>"))
"""What coding agents (Claude Code, Codex) put into a user's message on their own account, and change as they like."""

_THOUGHT = (b"<think>", b"</think>")
"""Some models think aloud in their text, and most clients take that out before they send the text back."""


def size_of(key: int) -> int:
    """How much was said, from a message's key: n for less than 2 ** n bytes, white space not counted."""
    return key & _SIZE if key != NOTHING else 0


_FLOAT = re.compile(r"[0-9](?:\.0|[eE])")
_WHITE = bytes(code for code in range(128) if chr(code).isspace())


class Digests:
    """Makes keys. `secret` (16 to 64 bytes) is the installation's own, so that nobody can look for two texts of one
    key; keys that are kept are worth as much as it is.

    What counts is who speaks (user, assistant, tool), the words without their white space and with their letters
    composed (NFC), the names and arguments of tool calls, the results of tools, and the media that a user or a tool
    shows. What does not count is how the content is cut into parts, ids, names, reasoning, signatures, cache marks, and
    what clients put around the words.

    `memo` bounds how many messages are remembered by the form they came in, so that a history that is sent again and
    again is not worked through again. That form is told by Python's own hash, which is keyed and new in each process:
    two forms of one hash can neither be looked for nor last.
    """

    def __init__(self, secret: bytes, memo: int) -> None:
        self._secret = secret
        self._generation = max(memo // 2, 1)
        self._begun: dict[str, blake2b] = {}
        self._young: dict[int, int] = {}
        self._old: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def keys(self, said: Said) -> list[int]:
        """The keys of a request's messages, in their order."""
        known = self._young.get
        keys: list[int] = []
        for role, turn in zip(said.roles, said.turns, strict=True):
            text: Any = None
            if turn.__class__ is dict and len(turn) == 2 and "role" in turn:
                text = turn.get("content")
                if text.__class__ is list and len(text) == 1:
                    text = _only_text(text[0])
            form = hash((role, text)) if text.__class__ is str else _form(role, turn)
            keys.append(known(form) or self._recalled(form, said, len(keys), text))
        return keys

    def system_keys(self, said: Said) -> tuple[int, ...]:
        """The keys of its system texts."""
        return tuple([self._system_key(content, said, index) for index, content in enumerate(said.system)])

    def key(self, message: Message) -> int:
        """The key of a message, whether it was read from a request or from an answer."""
        pieces = [_words(message)]
        for part in message.parts:
            if isinstance(part, ToolCall):
                pieces += (b"\1", _encoded(part.name), b"\2", _canonical(part.arguments))
            elif message.role != "assistant":
                pieces += _shown(part)
        if not any(pieces) and message.role != "assistant":
            return NOTHING
        return self._key(message.role, b"".join(pieces))

    def expect(self, message: Message, key: int) -> None:
        """An answer will come back with the next request, most likely as nothing but a text."""
        if len(message.parts) == 1 and isinstance(message.parts[0], Text):
            self._remember(hash((message.role, message.parts[0].text)), key)

    def text_key(self, role: str, text: str) -> int:
        """The key of a message of this role that has nothing but this text."""
        return self._key(role, _bare(text))

    def name_key(self, name: str) -> int:
        """The key of a name: a scope, an id."""
        return self._key("name", _encoded(name))

    def _key(self, role: str, said: bytes) -> int:
        begun = self._begun.get(role)
        if begun is None:
            begun = self._begun[role] = blake2b(digest_size=8, key=self._secret, person=role.encode())
        digest = begun.copy()
        digest.update(said)
        return (int.from_bytes(digest.digest(), "big") >> 1) & ~_SIZE | min(len(said).bit_length(), _SIZE)

    def _recalled(self, form: int, said: Said, index: int, text: object) -> int:
        """The key of a message that is not among those seen of late."""
        key = self._old.get(form)
        if key is None:
            role = said.roles[index]
            if isinstance(text, str) and role != "tool":
                key = self._plain_key(role, text)
            else:
                key = self.key(said.message(index))
        self._remember(form, key)
        return key

    def _plain_key(self, role: str, text: str) -> int:
        """What `key` says of a message that has nothing but this text."""
        if role == "assistant":
            return self._key(role, _unthought(_bare(text)))
        words = b"" if _is_around(text) else _bare(text)
        return self._key(role, words) if words else NOTHING

    def _system_key(self, content: Any, said: Said, index: int) -> int:
        form = hash(("system", content)) if isinstance(content, str) else hash(("system", _json(content)))
        key = self._young.get(form) or self._old.get(form)
        if key is None:
            key = self.text_key("system", said.system_message(index).text)
            self._remember(form, key)
        return key

    def _remember(self, form: int, key: int) -> None:
        if len(self._young) >= self._generation:
            self._old, self._young = self._young, {}
        self._young[form] = key


def bare(text: str) -> str:
    """A text without its white space: what stays the same when it is wrapped, indented or cut into parts anew."""
    return "".join(text.split())


def _bare(text: str) -> bytes:
    """The same in UTF-8, however its letters are put together (an accent may stand by itself)."""
    return text.encode().translate(None, _WHITE) if text.isascii() else _encoded(normalize("NFC", bare(text)))


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _form(role: str, turn: Turn) -> int:
    """A number for the form in which a message came in; a single text has the same as a plain string."""
    if isinstance(turn, list):
        return hash((role, *(_form(role, raw) for raw in turn)))
    content = turn.get("content", turn.get("parts"))
    if content.__class__ is list and len(content) == 1 and _BARE.issuperset(turn):
        content = _only_text(content[0])
        if content is not None:
            return hash((role, content))
    return hash((role, _json(turn)))


def _only_text(block: Any) -> str | None:
    """The text of a block that is nothing else."""
    if block.__class__ is not dict or "thought" in block:
        return None
    kind, text = block.get("type", "text"), block.get("text")
    return text if text.__class__ is str and kind.__class__ is str and kind in _TEXT_TYPES else None


def _json(value: Raw | Sequence[Any]) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:  # nested deeper than can be written
        return repr(value).encode("utf-8", "surrogatepass")


def _words(message: Message) -> bytes:
    """Everything that is said in words, without white space and without what was put around it."""
    texts = [part.text for part in message.parts if isinstance(part, Text)]
    if message.role != "assistant":
        return b"".join([_bare(text) for text in texts if not _is_around(text)])
    return _unthought(b"".join([_bare(text) for text in texts]))


def _unthought(words: bytes) -> bytes:
    return words.partition(_THOUGHT[1])[2] if words.startswith(_THOUGHT[0]) else words


def _is_around(text: str) -> bool:
    """Whether a text is nothing but a client's own remark."""
    if "<" not in text[:64]:
        return False
    stripped = text.strip()
    return any(stripped.startswith(head) and stripped.endswith(tail) for head, tail in _AROUND)


def _shown(part: Part) -> list[bytes]:
    if isinstance(part, ToolResult):
        return [b"\3", _bare(part.text), *(piece for medium in part.media for piece in _shown(medium))]
    if isinstance(part, Media):
        return [b"\4", _encoded(part.url or part.data or part.name or "")]
    return []


def _canonical(arguments: str) -> bytes:
    """Arguments as JSON with sorted keys and whole numbers without a point, as another language would write them again;
    what is no JSON stays as it is, without white space."""
    if not arguments:
        return b"{}"
    try:
        value = orjson.loads(arguments)
        return orjson.dumps(_whole(value) if _FLOAT.search(arguments) else value, option=orjson.OPT_SORT_KEYS)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError, RecursionError):
        return _bare(arguments)


def _whole(value: Any) -> Any:
    """The value with each number that is whole, and that 64 bits hold, as an integer."""
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 2**63 else value
    if isinstance(value, dict):
        return {name: _whole(inner) for name, inner in value.items()}
    return [_whole(inner) for inner in value] if isinstance(value, list) else value
