"""Masks what looks like a key in everything that is logged: the last line of defence, not the first."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

MASK = "[secret]"

_SECRET = re.compile(
    r"""
      (?P<scheme> \bbearer[ ]+ ) [A-Za-z0-9._~+/=-]{6,}
    | (?P<name> (?<![A-Za-z0-9]) (?: (?:proxy-)?authorization | (?:x-|xi-|x-goog-)?api[-_]?key | x-api-token
        | client[-_]secret | access[-_]token | (?<=[?&])key ) ["']? \s* [:=] \s* ["']? )
        (?! bearer[ ] ) (?: basic[ ]+ )? [^\s"'&,;)\]}>]+
    | \b openai-insecure-api-key\.[A-Za-z0-9._-]+
    | \b (?: sk-|sk_|gsk_|xai-|pplx-|hf_|r8_|nvapi-|csk-|fw_|tgp_v1_ ) [A-Za-z0-9_-]{12,}
    | \b AIza[A-Za-z0-9_-]{12,}
    | \b AKIA[A-Z0-9]{12,}
    | \b eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""Keys as providers make them (OpenAI, Anthropic sk-; Groq gsk_; xAI; Perplexity; Hugging Face; Replicate; NVIDIA;
Cerebras; Fireworks; Together; Google AIza; AWS AKIA), JSON web tokens, and the values of headers and query fields that
carry keys."""

_TRACES = (
    *("bearer ", "authorization", "key", "api-token", "secret", "access"),
    *("sk-", "sk_", "xai-", "pplx-", "hf_", "r8_", "nvapi-", "fw_", "tgp_v1_", "aiza", "akia", "eyj"),
)
"""What a text with a secret has one of, in small letters. Looking for these takes a hundredth of looking for it."""

_NAMES = re.compile(r"(?:^|_)(?:authorization|api_key|apikey|password|secret|token)$", re.IGNORECASE)


def redact(text: str) -> str:
    """The text with each secret replaced by `[secret]`; what introduces it stays, so that one sees what was there."""
    if _trace_in(text):
        return _SECRET.sub(lambda match: (match["scheme"] or match["name"] or "") + MASK, text)
    return text


def _trace_in(text: str) -> str | None:
    folded = text.casefold()
    for trace in _TRACES:
        if trace in folded:
            return trace
    return None


@lru_cache(maxsize=256)
def _names_a_secret(field: str) -> bool:
    return _NAMES.search(field) is not None


@lru_cache(maxsize=256)
def _name_a_secret(fields: tuple[str, ...]) -> bool:
    return any(map(_names_a_secret, fields))


class RedactSecrets(logging.Filter):
    """Rewrites a record before it is formatted: message, fields and traceback. Lets every record pass.

    `also` takes out what only the configuration knows: keys of no known shape, the operator's patterns. `anywhere` says
    that it leaves a text alone only where it leaves each part of it alone, which a pattern with an anchor does not.
    """

    def __init__(self) -> None:
        super().__init__()
        self.also: Callable[[str], str] = str
        self.anywhere = True

    def filter(self, record: logging.LogRecord) -> bool:
        """Changes `record` in place, as a record may be handled by several handlers."""
        message, fields = _message(record), _texts(getattr(record, "fields", None) or {})
        # One look at all of it: there is nothing in nearly every line, and a line for each call is written.
        whole = "\0".join((message, *fields.values()))
        if self.passes(whole, whole) and not _name_a_secret(tuple(fields)):
            record.msg = message
        else:
            clean = self.also if _trace_in(whole) is None else self._redact
            record.msg = clean(message)
            fields = {name: MASK if _names_a_secret(name) else clean(text) for name, text in fields.items()}
        record.args = None
        if fields:
            record.__dict__["fields"] = record.__dict__["fields"] | fields
        redact = self._redact
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = redact(record.exc_text)
        if record.stack_info:
            record.stack_info = redact(record.stack_info)
        return True

    def passes(self, lines: str, texts: str) -> bool:
        """Whether nothing is to be masked in `lines`, of which nothing but `texts` comes from outside."""
        return self.anywhere and _trace_in(texts) is None and self.also(lines) == lines

    def _redact(self, text: str) -> str:
        return self.also(redact(text))


def _texts(fields: Mapping[str, Any]) -> dict[str, str]:
    """Those of the fields that are no numbers."""
    return {
        name: value if value.__class__ is str else str(value)
        for name, value in fields.items()
        if value.__class__ is str or not (value is None or isinstance(value, (int, float)))
    }


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):
        return f"{record.msg} {record.args}"
