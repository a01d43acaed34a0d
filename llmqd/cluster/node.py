"""The name under which the ledger of a daemon is known to others: the same after a restart."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def node_of(directory: Path) -> str:
    """The name that lies in the state directory, made at the first call; where that cannot be, one for this time."""
    path = directory / "node"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            new = path.with_name(f"{path.name}.new")
            new.write_text(secrets.token_hex(8))
            os.replace(new, path)
        return path.read_text().strip() or secrets.token_hex(8)
    except (OSError, ValueError):
        return secrets.token_hex(8)
