"""Which web pages reach a daemon that asks nobody for a key: none, unless the configuration names them."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from llmqd.config.address import is_loopback
from llmqd.errors import NotAllowed

if TYPE_CHECKING:
    from llmqd.config.model import Config, Server

_NEVER_PUBLIC = frozenset({"example", "home", "internal", "invalid", "lan", "local", "localhost", "test"})
"""Last labels that nobody can buy a name under (RFC 6761, RFC 6762, RFC 8375 and ICANN's reservations)."""
_OF_THE_WEB = ("http", "https", "")
"""Schemes of origins that anybody's page can have; `null` has none. Others belong to programs that somebody installed,
such as `vscode-webview`."""


def page_fault(headers: Mapping[str, str], config: Config) -> NotAllowed | None:
    """Why a request with these headers may be the doing of a web page that has no business here; None where it is not,
    or where a key has to be shown, which no such page has.

    `Host` names the daemon as the browser knows it: a page whose name is made to lead to this machine (DNS rebinding)
    has its own there. `Origin` names the page (Fetch standard, "Origin header"). What reaches llmqd through a unix
    socket comes from no browser.
    """
    if config.auth.mode != "open":
        return None
    host = headers.get("Host", "")
    if not _may_be_called(_name_of(host), config.server):
        return NotAllowed(
            f"the Host of this request, {host[:100]!r}, is no name of this machine: a web page could have led it here. "
            "If it is right, name it in [server] allowed_hosts",
            retry=False,
        )
    origin = headers.get("Origin")
    if origin is None or not is_foreign(origin, host, config.server) or _is_local(origin):
        return None
    return NotAllowed(
        f"pages of {origin[:100]!r} may not call here: name it in [server] allowed_origins if they may", retry=False
    )


def is_foreign(origin: str, host: str, server: Server) -> bool:
    """Whether a page of this origin is neither one of the daemon's own, called `host`, nor one that is allowed."""
    if origin in server.allowed_origins or "*" in server.allowed_origins:
        return False
    parts = _parts(origin)
    return parts is None or parts.netloc.lower() != host.lower()


def _may_be_called(name: str, server: Server) -> bool:
    """Whether the daemon can have this name without that somebody has pointed it here from outside."""
    if not name or "*" in server.allowed_hosts or name in server.allowed_hosts:
        return True
    if "." not in name or name.rpartition(".")[2] in _NEVER_PUBLIC or name.endswith(".home.arpa"):
        return True
    return _is_address(name)


def _name_of(host: str) -> str:
    """The name in a `Host` header, without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower().rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_local(origin: str) -> bool:
    """Whether only a program of this machine can have this origin."""
    parts = _parts(origin)
    if parts is None:
        return False
    name = parts.hostname or ""
    return parts.scheme not in _OF_THE_WEB or is_loopback(name) or name.endswith(".localhost")


def _parts(origin: str) -> SplitResult | None:
    try:
        return urlsplit(origin)
    except ValueError:  # such as http://[
        return None
