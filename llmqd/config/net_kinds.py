"""The kinds of value that have to do with the network: addresses, URLs, header fields, names in URLs, secrets."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from llmqd.config.address import parse_address
from llmqd.config.secret import Secret, SecretSource, parse_source

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A field name by RFC 9110 section 5.1."""
_KEY_PREFIX = re.compile(r"[!-z|~]*\{[!-z|~]+\}[!-z|~]*")
_UPSTREAM_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """`host:port`, `[ipv6]:port` or `unix:/path`."""

    noun: str = "address"

    def read(self, value: object) -> str:
        if not isinstance(value, str):
            raise ValueError('must be an address in quotes, for example "127.0.0.1:8080"')
        return str(parse_address(value))

    def show(self, value: str) -> object:
        return value


@dataclass(frozen=True, slots=True)
class Url:
    """An http or https base URL without a trailing slash."""

    noun: str = "URL"

    def read(self, value: object) -> str:
        return read_url(value)

    def show(self, value: str) -> object:
        return value


@dataclass(frozen=True, slots=True)
class HeaderName:
    """The name of a header field; refused are those in `taken`."""

    noun: str = "header name"
    taken: tuple[str, ...] = ()

    def read(self, value: object) -> str:
        if not isinstance(value, str) or not _TOKEN.fullmatch(value):
            raise ValueError(f"{_quoted(value)} is no header name: letters, digits and hyphens")
        if value.lower() in self.taken:
            raise ValueError(f'"{value}" cannot be used here')
        return value

    def show(self, value: str) -> object:
        return value


@dataclass(frozen=True, slots=True)
class Name:
    """The name of an upstream or a key: it stands in URLs, logs and metrics."""

    noun: str = "name"

    def read(self, value: object) -> str:
        if not isinstance(value, str) or not _UPSTREAM_NAME.fullmatch(value):
            raise ValueError("a name has 1 to 64 of the characters a-z 0-9 . _ - and begins with a letter or digit")
        return value

    def show(self, value: str) -> object:
        return value


@dataclass(frozen=True, slots=True)
class KeyPrefix:
    """What the names of keys in Redis begin with: it holds a hash tag, so that all of them lie on one node."""

    noun: str = "prefix"

    def read(self, value: object) -> str:
        if not isinstance(value, str) or not _KEY_PREFIX.fullmatch(value):
            raise ValueError('a prefix is printable text without spaces and has one part in braces, such as "{llmqd}"')
        return value

    def show(self, value: str) -> object:
        return value


@dataclass(frozen=True, slots=True)
class SecretText:
    """A secret or the place it is read from; shown only as set or not set."""

    noun: str = "secret"

    def read(self, value: object) -> SecretSource:
        if not isinstance(value, str):
            raise ValueError('must be text in quotes, for example "env:OPENAI_API_KEY"')
        return parse_source(value)

    def show(self, value: Secret | None) -> object:
        return {"set": value is not None}


@dataclass(frozen=True, slots=True)
class SecretFile:
    """A file that holds a secret, by its path or the name of a credential; shown only as set or not set."""

    noun: str = "file"

    def read(self, value: object) -> SecretSource:
        source = SecretText().read(value)
        if source.scheme not in ("file", "credential"):
            raise ValueError('must name a file: "file:/path" or "credential:NAME"')
        return source

    def show(self, value: Path | None) -> object:
        return {"set": value is not None}


@dataclass(frozen=True, slots=True)
class Headers:
    """Header fields and their values; values may be secrets and are treated as such."""

    name: HeaderName
    noun: str = "table of headers"

    def read(self, value: object) -> tuple[tuple[str, SecretSource], ...]:
        if not isinstance(value, dict):
            raise ValueError('must be a table, for example { X-Team = "search" }')
        pairs = tuple((self.name.read(name), _header_value(name, text)) for name, text in value.items())
        lowered = [name.lower() for name, _ in pairs]
        if len(set(lowered)) != len(lowered):
            raise ValueError("names one header twice (upper and lower case are the same)")
        return pairs

    def show(self, value: tuple[tuple[str, Secret], ...]) -> object:
        return {name: {"set": True} for name, _ in value}


def read_url(value: object) -> str:
    """A base URL, its trailing slashes removed. Never repeats the value: it may hold a password."""
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError('must be a URL in quotes, for example "https://api.example.org"')
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise ValueError("is no URL: the host or port cannot be read (ports go from 1 to 65535)") from None
    if parts.scheme not in {"http", "https"}:
        raise ValueError('must begin with "https://" or "http://"')
    if not parts.hostname:
        raise ValueError("has no host")
    if port == 0:
        raise ValueError("has port 0; ports go from 1 to 65535")
    if "@" in parts.netloc:
        raise ValueError("must not hold a user or password; use api_key or headers")
    if "?" in value or "#" in value:
        raise ValueError("must not hold a query or fragment (? or #)")
    if "\\" in value:
        raise ValueError("must not hold a backslash")
    return value.rstrip("/")


def _header_value(name: str, value: object) -> SecretSource:
    try:
        return SecretText().read(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _quoted(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)
