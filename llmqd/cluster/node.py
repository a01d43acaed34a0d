"""The name under which the ledger of a daemon is known to others: the same after a restart."""

from __future__ import annotations

import secrets
from pathlib import Path

from llmqd.private import write_private


def node_of(directory: Path) -> str:
    """The name that lies in the state directory, made at the first call; where that cannot be, one for this time."""
    path = directory / "node"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            write_private(path, secrets.token_hex(8).encode())
        return path.read_text().strip() or secrets.token_hex(8)
    except (OSError, ValueError):
        return secrets.token_hex(8)
