"""What full-text search knows of a message and of a query: the same words of both. No I/O."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from llmqd.messages.message import Message, Text, ToolCall, ToolResult

_LONGEST = 64
"""Characters of a word of a query that count."""

_WITHOUT_SPACES = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
"""Scripts that put no spaces between words: Thai, Lao, Burmese, Khmer, Japanese, Chinese."""
_SINGLE = re.compile(f"[{_WITHOUT_SPACES}]")
_WORDLY = re.compile(r"\w")
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]+")
_MOST_KNOWN = 20_000
"""Characters whose part in words is remembered: those of all scripts in use."""
_WORD = re.compile(r"[0-9A-Za-z\x80-\U0010ffff]+")
"""As SQLite's tokenizer `ascii` takes them."""
_STRAIGHT = (("\u2018", "'"), ("\u2019", "'"), ("\u201c", '"'), ("\u201d", '"'))

_decode = msgspec.json.Decoder(Message).decode


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for: `match` for the index, None where the index has nothing of it.

    Where `exact`, a message of the index that matches has all that is wanted; else it has to be read (`said_in`).
    `wanted` are the words, casefolded and with their letters composed.
    """

    match: str | None
    exact: bool
    wanted: tuple[str, ...]

    def said_in(self, message: bytes) -> bool:
        """Whether a message, as JSON, says all of it."""
        said = spoken_words(message)
        if said is None:
            return False
        said = _folded(said)
        return all(word in said for word in self.wanted)

    @property
    def beginnings(self) -> list[str]:
        """The beginnings of words that the index is asked for."""
        return [piece[1:-2] for piece in (self.match or "").split() if piece.endswith("*")]

    def spelled_out(self, words: Mapping[str, Sequence[str]]) -> Query:
        """The same, with these beginnings as the words that begin so."""
        spelled = {f'"{begun}"*': " OR ".join(f'"{word}"' for word in those) for begun, those in words.items()}
        pieces = (self.match or "").split()
        return replace(self, match=" AND ".join(f"({spelled[one]})" if one in spelled else one for one in pieces))


def query(text: str) -> Query:
    """What a person looks for: words in any case and order, all in one message. One that ends in `*` is the beginning
    of a word."""
    wanted = tuple(_folded(text).split())
    matches: list[str] = []
    exact = True
    for word in wanted:
        bare = word.rstrip("*")
        pieces = [piece[:_LONGEST] for piece in _WORD.findall(indexed(bare))]
        exact = exact and pieces == [bare]
        matches += [f'"{piece}"' for piece in pieces]
        if bare != word and pieces:
            matches[-1] += "*"
    return Query(" ".join(matches) or None, exact, tuple(word.rstrip("*") or word for word in wanted))


def _folded(text: str) -> str:
    """Letters that come apart (NFD, as on macOS) are the composed ones, and quotation marks those of a keyboard."""
    folded = text.casefold()
    if folded.isascii():
        return folded
    for curly, straight in _STRAIGHT:
        folded = folded.replace(curly, straight)
    return unicodedata.normalize("NFC", folded)


def document(message: bytes) -> str | None:
    """What the index is to hold of a message, as JSON; None where it says nothing that is looked for.

    Entries are taken out of the index by giving it the same text again: a change of this needs a new index.
    """
    said = spoken_words(message)
    return indexed(said) if said else None


def spoken_words(message: bytes) -> str | None:
    """All that a message says in words, its tools included; None for a system text and for what is no message.

    Not what a model thought.
    """
    try:
        whole = _decode(message)
    except msgspec.MsgspecError:
        return None
    return None if whole.role == "system" else "\n".join(_said(whole))


def _said(message: Message) -> Iterable[str]:
    for part in message.parts:
        match part:
            case Text() | ToolResult():
                yield part.text
            case ToolCall():
                yield part.name
                yield part.arguments


def indexed(text: str) -> str:
    """The text with its words as the index has them: case and marks on letters make no difference."""
    if text.isascii():
        return text.lower()
    return _BEYOND_ASCII.sub(_run, text.casefold())


class _Parts(dict[int, str]):
    """What characters beyond ASCII are to the index, by their codes: looked up once each, as most texts use few."""

    def __missing__(self, code: int) -> str:
        part = "".join(_part(one) for one in unicodedata.normalize("NFKD", chr(code)))
        if len(self) < _MOST_KNOWN:
            self[code] = part
        return part


def _part(one: str) -> str:
    """Nothing for a mark on a letter, a space for a sign, a word of its own where there are no spaces between words."""
    if one.isascii():
        return one
    if unicodedata.combining(one):
        return ""
    if not _WORDLY.match(one):
        return " "
    return f" {one} " if _SINGLE.match(one) else one


_PARTS = _Parts()


def _run(found: re.Match[str]) -> str:
    return found[0].translate(_PARTS)
