"""The installation's own secret, with which keys of messages are made: without it nobody can look for their texts."""

from __future__ import annotations

import secrets
from pathlib import Path

from llmqd.errors import StoreError
from llmqd.private import write_private

_SIZE = 32


def installation_secret(directory: Path) -> bytes:
    """The secret that lies in the state directory, made at the first call. Raises StoreError where that cannot be.

    A database whose secret is lost goes on as well as before, but does not recognise what was said earlier.
    """
    path = directory / "secret"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            write_private(path, secrets.token_bytes(_SIZE))
        secret = path.read_bytes()
    except OSError as error:
        raise StoreError(f"the secret {path} cannot be read or made: {error.strerror}") from error
    if len(secret) < _SIZE:
        raise StoreError(f"the secret {path} is damaged ({len(secret)} bytes): delete it, a new one is made then")
    return secret[:_SIZE]
