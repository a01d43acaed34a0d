"""Other versions of the package, made from the one under test."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path


def newer(package: Path, directory: Path) -> Path:
    """The same package under a higher version, with another default in its configuration file."""
    tree, result = directory / "tree", directory / "newer.deb"
    subprocess.run(["dpkg-deb", "-R", package, tree], check=True)
    description = tree / "DEBIAN" / "control"
    description.write_text(re.sub(r"(?m)^Version: .*$", r"\g<0>+next", description.read_text()))
    toml = tree / "etc/llmqd/llmqd.toml"
    toml.write_text(toml.read_text() + "\n# New in the next version.\n")
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "-b", tree, result], check=True, capture_output=True)
    return result
