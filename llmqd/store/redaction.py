"""Takes secrets out of what was said before any of it is written: by the shapes of keys, and by own patterns."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import msgspec
import orjson

from llmqd.messages.message import Media, Message, Part, Reasoning, Text, ToolCall, ToolResult

if TYPE_CHECKING:
    from llmqd.config.model import Config

_SLICE = 1 << 20
"""Characters that a pattern of the operator's sees at once: what it costs grows with the text and not faster."""
_OVERLAP = 1 << 10
_SHORTEST_OWN = 6
"""A configured key of fewer characters is a placeholder, which would turn up in any text."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind of secret: its pattern, and what `re.sub` writes in its place. A group of the pattern stays, as it only
    introduces the secret. A text without any of the `hints` has none of its kind."""

    pattern: re.Pattern[str]
    instead: str
    hints: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Family:
    """Shapes with something in common: a text in which `gate` finds nothing has none of them, and `gate` finds nothing
    without one of the `signs`.

    That is told in a few microseconds for a kilobyte, the shapes one after the other take much longer.
    """

    shapes: tuple[Shape, ...]
    gate: re.Pattern[str] | None = None
    signs: tuple[str, ...] = ()

    def redacted(self, text: str) -> str:
        """The text without secrets of these kinds."""
        if self.gate is not None:
            for sign in self.signs:
                if sign in text:
                    break
            else:
                return text
            if self.gate.search(text) is None:
                return text
        for shape in self.shapes:
            for hint in shape.hints:
                if hint in text:
                    text = shape.pattern.sub(shape.instead, text)
                    break
        return text


def _shape(name: str, hints: tuple[str, ...], text: str) -> Shape:
    pattern = re.compile(text)
    return Shape(pattern, rf"\g<1>[redacted:{name}]" if pattern.groups else f"[redacted:{name}]", hints)


_START = r"(?:(?<![A-Za-z0-9])|(?<=\\[bfnrt])|(?<=\\u[0-9A-Fa-f]{4})|(?<=\\x[0-9A-Fa-f]{2})|(?<=%[0-9A-Fa-f]{2}))"
"""Where a word begins: after a letter that ends an escape, too, as in the arguments of tools (JSON) and in URLs."""
_TOKEN = "[A-Za-z0-9_-]"
_SLASH = r"\\?/"
"""Some write it with a backslash in JSON (PHP)."""
_PEM = r"[A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"

FAMILIES: tuple[Family, ...] = (
    Family(
        (
            _shape(
                "provider-key",
                ("sk-", "sk_", "gsk_", "xai-", "pplx-", "hf_", "r8_", "nvapi-", "fw_", "tgp_v1_", "rk_live_"),
                rf"{_START}(?:sk-|sk_live_|sk_test_|rk_live_|gsk_|xai-|pplx-|hf_|r8_|nvapi-|csk-|fw_|tgp_v1_)"
                rf"(?=[A-Za-z_-]*[0-9]){_TOKEN}{{16,}}",
            ),
            _shape(
                "github-token",
                ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
                rf"{_START}(?:gh[pousr]_[A-Za-z0-9]{{30,}}|github_pat_\w{{30,}})",
            ),
            _shape("gitlab-token", ("glpat-",), rf"{_START}glpat-{_TOKEN}{{16,}}"),
            _shape("slack-token", ("xox", "xapp-"), rf"{_START}(?:xox[a-z]|xapp)-[A-Za-z0-9-]{{12,}}"),
            _shape("google-key", ("GOCSPX-",), rf"{_START}GOCSPX-{_TOKEN}{{20,}}"),
            _shape("npm-token", ("npm_",), rf"{_START}npm_[A-Za-z0-9]{{36}}"),
            _shape("pypi-token", ("pypi-AgE",), rf"{_START}pypi-AgE{_TOKEN}{{40,}}"),
        ),
        re.compile(rf"[-_](?<=[A-Za-z0-9].)(?=[A-Za-z_-]{{0,60}}[0-9]){_TOKEN}{{12}}"),
        ("-", "_"),
    ),
    Family(
        (
            _shape("google-key", ("AIza",), rf"{_START}AIza{_TOKEN}{{35}}(?!{_TOKEN})"),
            _shape(
                "aws-key",
                ("AKIA", "ASIA", "ABIA", "ACCA"),
                rf"{_START}(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{{16}}(?![A-Za-z0-9])",
            ),
        ),
        re.compile("A(?:Iza|KIA|SIA|BIA|CCA)"),
        ("A",),
    ),
    Family(
        (
            _shape("private-key", ("PRIVATE KEY",), rf"-----BEGIN {_PEM}[\s\S]*?(?:-----END {_PEM}|\Z)"),
            _shape("jwt", ("eyJ",), rf"{_START}eyJ{_TOKEN}{{8,}}\.{_TOKEN}{{8,}}\.{_TOKEN}*"),
            _shape("google-token", ("ya29.",), rf"{_START}ya29\.{_TOKEN}{{20,}}"),
            _shape(
                "aws-secret",
                ("aws_secret", "AWS_SECRET", "SecretAccessKey"),
                rf"(?<=[\"' =:])(?<![A-Za-z0-9/+])(?:[A-Za-z0-9+]|{_SLASH}){{40}}(?![A-Za-z0-9/+=])",
            ),
            _shape(
                "slack-token",
                ("hooks.slack.com",),
                rf"(hooks\.slack\.com{_SLASH}services{_SLASH})(?:[A-Za-z0-9]|{_SLASH}){{20,}}",
            ),
            _shape(
                "bearer",
                ("earer ", "EARER "),
                rf"([Bb](?:earer|EARER) )(?=[^\s]{{0,200}}[0-9])(?:[A-Za-z0-9._~+-]|{_SLASH}){{16,}}=*",
            ),
            _shape(
                "url-password",
                ("://", ":\\/\\/"),
                r"(:(?:\\?/){2})[^\s:/?#@\"'<>\[\]]{0,128}:[^\s/?#@\"'<>\[\]]{3,256}(?=@[A-Za-z0-9\[])",
            ),
        ),
    ),
)
"""Shapes of secrets as their makers describe them: OpenAI and Anthropic (sk-), Groq, xAI, Perplexity, Hugging Face,
Replicate, NVIDIA, Cerebras, Fireworks, Together, Stripe, Google, GitHub (gh?_, github_pat_), GitLab, Slack (xox?-), AWS
(access key ids of RFC-like form, secret keys beside their name), npm, PyPI, JSON web tokens (RFC 7519), bearer tokens
(RFC 6750), private keys in PEM (RFC 7468), passwords in URLs (RFC 3986 section 3.2.1)."""


class Redaction:
    """What must never be written. Immutable; a changed configuration makes a new one.

    `patterns` are the operator's, in Python's syntax; `shapes` says whether known kinds of secrets count too; `own` are
    the daemon's keys, which are redacted wherever they turn up.
    """

    def __init__(self, patterns: Sequence[str] = (), *, shapes: bool = True, own: Iterable[str] = ()) -> None:
        self._patterns = tuple(_named(re.compile(text), number) for number, text in enumerate(patterns, 1))
        self._families = FAMILIES if shapes else ()
        self._own = tuple(sorted({key for key in own if len(key) >= _SHORTEST_OWN}, key=len, reverse=True))
        self._own_written = tuple((key.encode(), _written(key)) for key in self._own)

    @classmethod
    def of(cls, config: Config) -> Self:
        """Known kinds of secrets, the operator's patterns, and every key of the configuration."""
        return cls(config.store.redact, shapes=config.store.redact_secrets, own=_own(config))

    @classmethod
    def for_log(cls, config: Config) -> Self:
        """The same without known kinds of secrets, which the log knows by itself."""
        return cls(config.store.redact, shapes=False, own=_own(config))

    @property
    def finds_anywhere(self) -> bool:
        """Whether what it takes out of a text it takes out of any longer text as well: patterns may have anchors."""
        return not self._patterns and not self._families

    def __repr__(self) -> str:
        return f"<Redaction of {len(self._own)} keys, {len(self._families)} families, {len(self._patterns)} patterns>"

    def text(self, text: str) -> str:
        """The text with `[redacted:NAME]` in place of each secret."""
        for key in self._own:
            if key in text:
                text = text.replace(key, "[redacted:own-key]")
        for family in self._families:
            text = family.redacted(text)
        for name, pattern in self._patterns:
            text = _substituted(pattern, name, text)
        return text

    def message(self, message: Message) -> Message:
        """The message with every text of it redacted; the same object where there was nothing to redact.

        The bytes of media are left alone: a picture of a key is not recognised.
        """
        parts = tuple([_redacted(part, self.text) for part in message.parts])
        name = message.name and self.text(message.name)
        if name == message.name and all(new is old for new, old in zip(parts, message.parts, strict=True)):
            return message
        return Message(message.role, parts, name)

    def entry(self, entry: bytes) -> bytes:
        """A journal entry (JSON) without the daemon's own keys, wherever they stand: in a path, a name, an error."""
        for plain, written in self._own_written:
            if written in entry:
                entry = entry.replace(written, b"[redacted:own-key]")
            elif plain in entry:
                entry = entry.replace(plain, b"[redacted:own-key]")
        return entry


def _own(config: Config) -> list[str]:
    upstreams, alerts, auth = config.upstreams, config.alerts, config.auth
    found = [key.api_key for upstream in upstreams for key in upstream.keys]
    found += [value for upstream in upstreams for _, value in upstream.headers]
    found += [value for _, value in config.telemetry.headers]
    found += [config.store.dsn, config.cluster.redis, config.litellm.dsn]
    found += [alerts.webhook, alerts.webhook_secret, auth.admin_token]
    return [secret.reveal() for secret in found if secret is not None]


def _redacted(part: Part, clean: Callable[[str], str]) -> Part:
    match part:
        case Text(text=text) | Reasoning(text=text):
            cleaned = clean(text)
            return part if cleaned == text else type(part)(cleaned)
        case ToolCall():
            cleaned, called = clean(part.arguments), clean(part.name)
            if (cleaned, called) == (part.arguments, part.name):
                return part
            return msgspec.structs.replace(part, name=called, arguments=cleaned)
        case ToolResult():
            cleaned, media = clean(part.text), tuple([_redacted(one, clean) for one in part.media])
            tool = part.name and clean(part.name)
            if (cleaned, tool) == (part.text, part.name) and all(map(operator.is_, media, part.media)):
                return part
            return msgspec.structs.replace(part, text=cleaned, name=tool, media=media)
        case Media():
            url, name = part.url and clean(part.url), part.name and clean(part.name)
            return part if (url, name) == (part.url, part.name) else msgspec.structs.replace(part, url=url, name=name)


def _substituted(pattern: re.Pattern[str], name: str, text: str) -> str:
    if len(text) <= _SLICE:
        return pattern.sub(name, text)
    pieces: list[str] = []
    at = 0
    while at < len(text):
        # What a match may reach over is looked at once more with the next slice, from the last match on.
        end = min(at + _SLICE, len(text))
        keep = end if end == len(text) else end - _OVERLAP
        copied = at
        for match in pattern.finditer(text, at, end):
            if match.start() >= keep:
                break
            pieces += (text[copied : match.start()], name)
            copied = match.end()
        keep = max(keep, copied)
        pieces.append(text[copied:keep])
        at = keep
    return "".join(pieces)


def _named(pattern: re.Pattern[str], number: int) -> tuple[str, re.Pattern[str]]:
    """What stands in place of a match, written for `re.sub`: the pattern's first named group, or its number."""
    return f"[redacted:{next(iter(pattern.groupindex), number)}]", pattern


def _written(key: str) -> bytes:
    return orjson.dumps(key)[1:-1]
