"""Writes debian/copyright: a given head, and after it what each bundled library states about itself.

    copyright.py HEAD SITE-PACKAGES

A directory of llmqd's own that has a file LICENSE in it holds the work of others and is stated too.
The form is Debian's machine-readable copyright file 1.0. Exits with 1 where a library states no licence.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

COMMON = (
    (
        "Apache-2.0",
        # Some leave out the line that ends it.
        re.compile(r"\s*Apache License\s+Version 2\.0, January 2004.*?(?:END OF TERMS AND CONDITIONS|\Z)", re.DOTALL),
    ),
    ("MPL-2.0", re.compile(r"Mozilla Public License Version 2\.0\s.*", re.DOTALL)),
)
"""Licences whose text Debian has in /usr/share/common-licenses, and how to find it."""

INSTALLED = "usr/lib/llmqd/lib/python3*/site-packages"

TEXT_NAMES = re.compile(r"licen[cs]e|copying|notice", re.IGNORECASE)


def main(head: Path, site: Path) -> int:
    """Print the whole file."""
    bundled = sorted(distributions(path=[str(site)]), key=lambda one: one.name.lower())
    nameless = [one.name for one in bundled if one.name != "llmqd" and not licence_name(one)]
    if nameless:
        sys.stderr.write(f"no licence stated by: {', '.join(nameless)}\n")
        return 1
    stanzas = [stanza(one) for one in bundled if one.name != "llmqd"]
    stanzas += [vendored(text.parent, site) for text in sorted((site / "llmqd").rglob("LICENSE"))]
    sys.stdout.write("\n\n".join([head.read_text().rstrip(), *stanzas]) + "\n")
    return 0


def stanza(bundled: Distribution) -> str:
    """The paragraph of one library."""
    texts = list(licence_texts(bundled))
    holders = list(dict.fromkeys(line for text in texts for line in copyright_lines(text)))
    body = "\n\n".join(common(text) for text in texts) or "As stated in its metadata; it brings no text along."
    return "\n".join(
        (
            f"Files: {' '.join(places(bundled))}",
            f"Copyright: {folded(holders or [author(bundled)])}",
            f"License: {bundled.name}-{licence_name(bundled).replace(' ', '-')}",
            folded_text(body),
        )
    )


def vendored(directory: Path, site: Path) -> str:
    """The paragraph of what llmqd has taken in as files, with their LICENSE and NOTICE beside them."""
    texts = [
        file.read_text(encoding="utf-8").strip() for name in ("NOTICE", "LICENSE") for file in directory.glob(name)
    ]
    holders = list(dict.fromkeys(line for text in texts for line in copyright_lines(text)))
    return "\n".join(
        (
            f"Files: {INSTALLED}/{directory.relative_to(site)}/*",
            f"Copyright: {folded(holders or ['as stated in its licence'])}",
            f"License: {directory.name}",
            folded_text("\n\n".join(common(text) for text in texts)),
        )
    )


def places(bundled: Distribution) -> list[str]:
    """Its files and directories as installed."""
    tops = {file.parts[0] + ("/*" if len(file.parts) > 1 else "") for file in bundled.files or ()}
    return sorted(f"{INSTALLED}/{top}" for top in tops if not top.startswith(("..", "__pycache__")))


def licence_name(bundled: Distribution) -> str:
    """As the library states it: an expression, a short name, or its classifiers. Empty where it states none."""
    meta = bundled.metadata
    for field in ("License-Expression", "License"):
        if field in meta and "\n" not in (text := meta[field].strip()):
            return text
    classifiers = [
        text.rpartition(" :: ")[2] for text in meta.get_all("Classifier") or () if text.startswith("License")
    ]
    return " or ".join(classifiers)


def licence_texts(bundled: Distribution) -> Iterator[str]:
    """The texts that came with it."""
    for file in bundled.files or ():
        if ".dist-info" in file.parts[0] and TEXT_NAMES.search(file.name):
            yield file.read_text(encoding="utf-8").strip()


def copyright_lines(text: str) -> Iterator[str]:
    """Who holds the rights; the placeholders of a licence's own instructions are nobody."""
    for line in text.splitlines():
        found = re.match(r"\W*Copyright\s+(?:\(c\)|©)?\s*(.*\d{4}.*)", line, re.IGNORECASE)
        if found and not re.search(r"\[yyyy\]|yyyy", found[1]):
            yield found[1].strip()


def author(bundled: Distribution) -> str:
    """Where no text names a holder."""
    meta = bundled.metadata
    named = (meta[field] for field in ("Author", "Author-Email") if field in meta)
    return next(named, f"the authors of {bundled.name}")


def common(text: str) -> str:
    """A reference in place of a text that every Debian system has."""
    for name, whole in COMMON:
        reference = f"\nOn Debian systems the full text of {name} is in /usr/share/common-licenses/{name}.\n"
        text = whole.sub(lambda _: reference, text)  # noqa: B023 - called at once
    return text.strip()


def folded(lines: list[str]) -> str:
    """Several values of one field."""
    return "\n ".join(lines)


def folded_text(text: str) -> str:
    """A text as the continuation of a field: indented by one, an empty line as a dot."""
    return "\n".join(f" {line.rstrip()}" if line.strip() else " ." for line in text.splitlines())


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
