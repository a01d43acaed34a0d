"""Tells the calls of one caller apart, and a call's repetition as the same call."""

from __future__ import annotations

from hashlib import blake2b

from llmqd.web.body import Body
from llmqd.web.form import boundary_of

_EDGE = 64 * 1024
"""Bytes that are looked at of each end of a body: to read hundreds of megabytes would hold everybody up, and all that a
mistake costs is that two calls of one caller change places."""


def fingerprint(method: str, path: str, body: Body, content_type: str = "") -> str:
    """The same text for the same request line and body, which must not have been let go: 32 hexadecimal digits.

    The boundary of a form does not count: clients make up a new one each time that they send it.
    """
    boundary = boundary_of(content_type) if content_type.lstrip().lower().startswith("multipart/") else b""
    digest = blake2b(f"{method} {path} {body.size}\n".encode("utf-8", "surrogateescape"), digest_size=16)
    with body.view() as data:
        for edge in (data[:_EDGE], data[max(len(data) - _EDGE, _EDGE) :]):
            digest.update(edge.replace(boundary, b"") if boundary else edge)
    return digest.hexdigest()
