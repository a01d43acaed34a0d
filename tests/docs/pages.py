"""The pages of the documentation, taken apart: their links, headings, blocks and commands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGES = (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md")))

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?:^|\n\n)((?: {4}[^\n]*\n(?:\n(?= {4}))?)+)")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code: `language` is what its fence says, "" for an indented one."""

    page: Path
    number: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}-{self.number}"


def blocks() -> list[Block]:
    """Every block of every page."""
    found = []
    for page in PAGES:
        text = page.read_text()
        parts = [(match.start(), match[1], match[2]) for match in _FENCE.finditer(text)]
        bare = _FENCE.sub(lambda match: "\n" * match[0].count("\n"), text)
        parts += [(match.start(), "", re.sub(r"^ {4}", "", match[1], flags=re.M)) for match in _INDENTED.finditer(bare)]
        found += [Block(page, at, language, inner) for at, (_, language, inner) in enumerate(sorted(parts), 1)]
    return found


def commands(block: Block, name: str) -> Iterator[list[str]]:
    """The words of each command of this name in a block; sudo, environment and what a pipe adds are left out."""
    for line in block.text.replace("\\\n", " ").splitlines():
        for part in re.split(r"\||&&|;(?=\s)", line.strip().removeprefix("$ ")):
            if not re.match(rf"(\w+=\S* |sudo )*(\.venv/bin/)?{name}( |$)", part.strip()):
                continue
            words = shlex.split(part, comments=True)
            while words[0] == "sudo" or "=" in words[0]:
                words = words[1:]
            yield [word for word in words if not re.match(r"\d?[<>]", word)]


def links(page: Path) -> list[str]:
    """What a page links to."""
    return _LINK.findall(_FENCE.sub("", page.read_text()))


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings make, as Git forges make them."""
    slugs = set()
    for heading in _HEADING.findall(_FENCE.sub("", page.read_text())):
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        slugs.add(re.sub(r"[^\w\- ]", "", text).replace(" ", "-"))
    return slugs
