"""Addresses to listen on: `host:port`, `[ipv6]:port`, `unix:/path`, and `tls:` before a port for HTTPS."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace

_HOST = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})*\.?", re.ASCII)
_UNIX_PATH_MAX = 107
"""sun_path of unix(7) holds 108 bytes, the last of them NUL."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a listener stands: TCP `host` and `port` (0: any free one), or the `path` of a unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""
    tls: bool = False

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        place = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        return f"tls:{place}" if self.tls else place

    @property
    def loopback(self) -> bool:
        """Whether only programs of this machine can reach it."""
        return bool(self.path) or is_loopback(self.host)


def parse_address(text: str) -> Address:
    """Raises ValueError saying what is wrong."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path.startswith("/") or "\0" in path:
            raise ValueError('a unix socket needs the whole path, for example "unix:/run/llmqd/llmqd.sock"')
        if len(path.encode()) > _UNIX_PATH_MAX:
            raise ValueError(f"the path of a unix socket has at most {_UNIX_PATH_MAX} bytes")
        return Address(path=path)
    if text.startswith("tls:"):
        return replace(parse_address(text.removeprefix("tls:")), tls=True)
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise ValueError('not an address; write for example "127.0.0.1:8080", "[::1]:8080" or "unix:/path"')
    if not re.fullmatch(r"[0-9]{1,9}", port) or int(port) > 65535:
        raise ValueError(f'"{port}" is no port; a port is a number from 0 (any free one) to 65535')
    return Address(host=_checked_host(host), port=int(port))


def is_loopback(host: str) -> bool:
    """Whether `host` (a name or a literal address) means this machine itself."""
    if host.rstrip(".").lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _checked_host(host: str) -> str:
    if host.startswith("[") and host.endswith("]"):
        try:
            return str(ipaddress.IPv6Address(host[1:-1]))
        except ValueError:
            raise ValueError(f'"{host}" is no IPv6 address') from None
    if ":" in host:
        raise ValueError(f'an IPv6 address stands in brackets: "[{host}]:8080"')
    if re.fullmatch(r"[0-9.]+", host):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise ValueError(f'"{host}" is no IPv4 address') from None
    if not _HOST.fullmatch(host):
        raise ValueError(f'"{host}" is no host name')
    return host
