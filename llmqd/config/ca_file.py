"""Whether certificates to trust, which a setting names, can be used."""

from __future__ import annotations

import os
import ssl
import stat
from pathlib import Path


def fault_of(path: Path) -> str | None:
    """What is wrong with a file of certificates (PEM); None where they can be used. Reads it."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return f"{path} is no file"
        ssl.create_default_context(cafile=path)
    except FileNotFoundError:
        return f"there is no file {path}"
    except ssl.SSLError:
        return f"{path} holds no certificates that can be read (PEM)"
    except OSError as error:
        return f"{path} cannot be read: {os.strerror(error.errno or 0)}"
    return None
