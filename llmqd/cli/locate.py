"""Finds the running daemon: where commands ask when nobody tells them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from llmqd.config.address import Address, parse_address
from llmqd.config.load import SYSTEM_FILE, load
from llmqd.errors import ConfigError, DaemonUnreachable

VARIABLE = "LLMQD_URL"
_DEFAULT = Address("127.0.0.1", 8080)
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True, slots=True)
class Located:
    """Where a daemon is thought to be. `why` says, for people, how that was found."""

    address: Address
    why: str
    tls: bool = False

    def __str__(self) -> str:
        if self.address.path:
            return str(self.address)
        return f"{'https' if self.tls else 'http'}://{self.address}"


def locate(url: str | None, file: Path | None, environ: Mapping[str, str]) -> Located:
    """The daemon at `url`, else at $LLMQD_URL, else where the configuration lets it listen.

    `file` is the configuration as `serve` would take it, None for none. It must be usable (ConfigError), except for the
    system's own: that may be unreadable for whoever asks, and then the default address counts. Raises DaemonUnreachable
    for a URL or listener that leads nowhere.
    """
    if url:
        return _parse(url, "--url")
    if environ.get(VARIABLE) and file in (None, SYSTEM_FILE):  # a file that was named goes before the environment
        return _parse(environ[VARIABLE], VARIABLE)
    try:
        config = load(file, environ)
    except ConfigError as error:
        if file != SYSTEM_FILE:
            raise
        return Located(_DEFAULT, f"the default; {error.faults[0]}")
    return _listener(config.server.addresses, str(file) if file else "there is no configuration file")


def _listener(addresses: Iterable[Address], why: str) -> Located:
    """The unix socket if it may be used, else the first TCP address, a wildcard seen from this machine."""
    sockets = [address for address in addresses if address.path]
    for address in sockets:
        if os.access(address.path, os.W_OK):
            return Located(address, why)
    for address in addresses:
        if address.port:
            host = _WILDCARDS.get(address.host, address.host)
            return Located(replace(address, host=host, tls=False), why, tls=address.tls)
    if sockets:
        return Located(sockets[0], why)
    raise DaemonUnreachable(f"the daemon listens on a port that it chose itself ({why}); give its address with --url")


def _parse(given: str, why: str) -> Located:
    scheme = given.partition("://")[0]
    try:
        if scheme == given:
            return Located(parse_address(given), why)
        parts = urlsplit(given)
        if scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
            raise ValueError(
                'not an address; write for example "http://127.0.0.1:8080" or "unix:/run/llmqd/llmqd.sock"'
            )
        port = parts.port or (443 if scheme == "https" else 80)
        return Located(Address(parts.hostname, port), why, tls=scheme == "https")
    except ValueError as error:
        raise DaemonUnreachable(f"{why} {given!r}: {error}") from None
