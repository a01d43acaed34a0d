"""Reads the address of a database as LiteLLM is given it: with what Prisma understands and PostgreSQL does not."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode, urlsplit

_PRISMA = frozenset(
    {"connection_limit", "pool_timeout", "connect_timeout", "socket_timeout", "pgbouncer", "statement_cache_size"}
    | {"sslaccept", "sslidentity", "sslpassword", "schema", "options"}
)
"""Parameters of Prisma's connector for PostgreSQL; others go to the server."""


def place_of(dsn: str) -> str:
    """Which database an address names, and on which machine, without user and password."""
    parts = urlsplit(dsn)
    query = dict(parse_qsl(parts.query))
    host = parts.netloc.rpartition("@")[2] or query.get("host", "")
    return f"{parts.path.lstrip('/') or 'postgres'}{f' at {host}' if host else ''}"


def parse(dsn: str) -> tuple[str, str]:
    """The address without Prisma's own parameters, and the schema that it names.

    Raises ValueError, whose text never repeats the address: it may hold a password.
    """
    try:
        parts = urlsplit(dsn)
        _ = parts.port
    except ValueError:
        raise ValueError("not an address of a database") from None
    if parts.scheme not in ("postgres", "postgresql"):
        raise ValueError('must begin with "postgresql://"; write for example "postgresql://user@host/litellm"')
    query = parse_qsl(parts.query, keep_blank_values=True)
    schema = next((value for name, value in query if name == "schema" and value), "public")
    kept = [(name, value) for name, value in query if name not in _PRISMA]
    return dsn.partition("?")[0] + (f"?{urlencode(kept)}" if kept else ""), schema
