"""The kinds of value that say what a browser may bring: origins of pages, names under which they call."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from llmqd.config.address import parse_address
from llmqd.config.net_kinds import read_url


@dataclass(frozen=True, slots=True)
class Origin:
    """A web origin (RFC 6454): scheme, host and port only; `*` means any."""

    noun: str = "origin"

    def read(self, value: object) -> str:
        if value == "*":
            return "*"
        text = read_url(value)
        if urlsplit(text).path:
            raise ValueError('an origin has no path; write for example "https://example.org"')
        return text.lower()

    def show(self, value: str) -> object:
        return value


@dataclass(frozen=True, slots=True)
class HostName:
    """The name of a machine, without a port; `*` means any."""

    noun: str = "host name"

    def read(self, value: object) -> str:
        if value == "*":
            return "*"
        if not isinstance(value, str) or ":" in value:
            raise ValueError('must be a host name in quotes, without a port: "llm.example.org"')
        return parse_address(f"{value}:0").host.lower().rstrip(".")

    def show(self, value: str) -> object:
        return value
