"""Masks what looks like a key in everything that is logged: the last line of defence, not the first."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
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
    *("bearer ", "authorization", "api-key", "api_key", "apikey", "api-token", "client-secret", "client_secret"),
    *("access-token", "access_token", "?key", "&key"),
    *("sk-", "sk_", "xai-", "pplx-", "hf_", "r8_", "nvapi-", "fw_", "tgp_v1_", "aiza", "akia", "eyj"),
)
"""What a text with a secret has one of, in small letters. Looking for these takes a hundredth of looking for it."""

_NAMES = re.compile(r"(?:^|_)(?:authorization|api_key|apikey|password|secret|token)$", re.IGNORECASE)


def redact(text: str) -> str:
    """The text with each secret replaced by `[secret]`; what introduces it stays, so that one sees what was there."""
    folded = text.casefold()
    for trace in _TRACES:
        if trace in folded:
            return _SECRET.sub(lambda match: (match["scheme"] or match["name"] or "") + MASK, text)
    return text


@lru_cache(maxsize=256)
def _names_a_secret(field: str) -> bool:
    return _NAMES.search(field) is not None


class RedactSecrets(logging.Filter):
    """Rewrites a record before it is formatted: message, fields and traceback. Lets every record pass.

    `also` takes out what only the configuration knows: keys of no known shape, the operator's patterns.
    """

    def __init__(self) -> None:
        super().__init__()
        self.also: Callable[[str], str] | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        """Changes `record` in place, as a record may be handled by several handlers."""
        redact = self._redact
        record.msg, record.args = redact(_message(record)), None
        fields: dict[str, Any] | None = getattr(record, "fields", None)
        if fields:
            record.__dict__["fields"] = {name: self._field(name, value) for name, value in fields.items()}
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = redact(record.exc_text)
        if record.stack_info:
            record.stack_info = redact(record.stack_info)
        return True

    def _redact(self, text: str) -> str:
        return redact(text) if self.also is None else self.also(redact(text))

    def _field(self, name: str, value: Any) -> Any:
        if value is None or isinstance(value, (bool, int, float)):
            return value
        return MASK if _names_a_secret(name) else self._redact(str(value))


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):
        return f"{record.msg} {record.args}"
