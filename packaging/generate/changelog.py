"""Prints CHANGELOG.md as a Debian changelog (Debian policy 4.4).

    changelog.py CHANGELOG.md VERSION SUITE SECONDS

SECONDS since 1970 date the version that is built and any other that the file gives no date. Exits with 1 where VERSION
is not the newest one in the file.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

MAINTAINER = "the llmqd authors <llmqd@localhost>"
WIDTH = 78


@dataclass(frozen=True, slots=True)
class Release:
    """One version of the changelog: its date (None: not released) and its points."""

    version: str
    date: datetime | None
    points: tuple[str, ...]


def main(file: Path, version: str, suite: str, seconds: int) -> int:
    """Print every version, the newest first."""
    releases = list(read(file.read_text()))
    if not releases or releases[0].version != version:
        newest = releases[0].version if releases else "none"
        sys.stderr.write(f"{file}: the newest version is {newest}, but {version} is built\n")
        return 1
    built = datetime.fromtimestamp(seconds, UTC)
    sys.stdout.write("\n\n".join(entry(one, suite, built) for one in releases) + "\n")
    return 0


def read(text: str) -> Iterator[Release]:
    """The versions: a heading is `## VERSION (YYYY-MM-DD)` or `(unreleased)`, a point begins with `-`."""
    for part in re.split(r"(?m)^## ", text)[1:]:
        heading, _, body = part.partition("\n")
        found = re.fullmatch(r"(\d\S*) \((unreleased|\d{4}-\d\d-\d\d)\)", heading.strip())
        if found is None:
            raise SystemExit(f'changelog: "{heading}" is no heading of the form "0.1.0 (2026-01-31)"')
        date = None if found[2] == "unreleased" else datetime.fromisoformat(found[2]).replace(tzinfo=UTC)
        points = tuple(" ".join(point.split()) for point in re.split(r"(?m)^- ", body)[1:])
        yield Release(found[1], date, points)


def entry(release: Release, suite: str, built: datetime) -> str:
    """One version as Debian writes it."""
    points = [
        textwrap.fill(point, WIDTH, initial_indent="  * ", subsequent_indent="    ")
        for point in release.points or ("See the commits.",)
    ]
    when = format_datetime(release.date or built)
    head = f"llmqd ({release.version}) {suite}; urgency=medium"
    return "\n".join((head, "", *points, "", f" -- {MAINTAINER}  {when}"))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])))
