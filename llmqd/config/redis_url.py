"""Reads the address of Redis: one server, Sentinel or Cluster, with or without TLS."""

from __future__ import annotations

import ssl
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

SCHEMES = ("redis", "rediss", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")


class RedisUrl:
    """Where Redis is. Raises ValueError, whose text never repeats the URL: it may hold a password.

    `redis://[user:password@]host[:port][/database]`, `rediss://` with TLS, `unix:///path`; with `+sentinel`
    `host:port,host:port/name[/database]`, with `+cluster` `host:port,host:port`. After `?`: `ca_file`, and `verify=no`.
    """

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            address, _, netloc = parts.netloc.rpartition("@")
        except ValueError:
            raise ValueError("is not a URL") from None
        self.scheme, _, self.kind = parts.scheme.partition("+")
        if parts.scheme not in (*SCHEMES, "unix"):
            raise ValueError(f'must begin with {", ".join(SCHEMES)} or unix, each with "://"')
        user, _, password = address.partition(":")
        query = dict(parse_qsl(parts.query))
        if unknown := set(query) - {"ca_file", "verify"}:
            raise ValueError(f"knows ca_file and verify after ?, not {', '.join(sorted(unknown))}")
        self.path = unquote(parts.path) if parts.scheme == "unix" else None
        places = [place for place in parts.path.split("/") if place] if self.path is None else []
        self.service = places.pop(0) if self.kind == "sentinel" and places else ""
        if self.kind == "sentinel" and not self.service:
            raise ValueError("must name the service after the addresses: redis+sentinel://host:26379/name")
        database = places.pop(0) if places else "0"
        if places or not database.isdecimal():
            raise ValueError("must end with the number of a database, if with anything")
        if self.kind == "cluster" and database != "0":
            raise ValueError("a Redis Cluster has only database 0")
        port = 26379 if self.kind == "sentinel" else 6379
        self.hosts = [_host(each, port) for each in netloc.split(",")] if self.path is None else []
        self.options: dict[str, Any] = {"db": int(database)} if self.kind != "cluster" else {}
        if user:
            self.options["username"] = unquote(user)
        if password:
            self.options["password"] = unquote(password)
        self.tls: dict[str, Any] = {}
        if self.scheme == "rediss":
            self.tls = {"ssl": True, "ssl_ca_certs": query.get("ca_file")}
            if query.get("verify") == "no":
                self.tls |= {"ssl_cert_reqs": ssl.CERT_NONE, "ssl_check_hostname": False}


def _host(text: str, port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        return parts.hostname or "localhost", parts.port or port
    except ValueError:
        raise ValueError("names an address that is none; write host:port") from None
