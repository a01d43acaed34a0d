"""Writes the reference of all settings, docs/settings.md: `python -m llmqd.config.reference >docs/settings.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from llmqd.config.model import SECTIONS, Section
from llmqd.config.reading import written
from llmqd.config.setting import Setting

_HEAD = """\
# Settings

Every setting of `llmqd.toml`, made from the definitions that check it (`python -m llmqd.config.reference`).
`llmqd init` writes the same as a file, with every setting commented at its default; `llmqd check` says every fault with
its line; `man llmqd.toml` has it on an installed machine.

Durations are written `"250ms" "10s" "5m" "1h" "90d"`, sizes `"64KiB" "16MiB" "1GiB"`. A limit of 0 means none. Secrets
are `"env:NAME"` (environment), `"file:/path"`, `"credential:NAME"` (systemd `LoadCredential=`), or the text itself.
*Unset* means off, or worked out, until it is written; what stands behind it is an example. The file goes before the
environment, the command line before both. `systemctl reload llmqd` (SIGHUP) applies a changed file whole or not at all.
"""


def reference() -> str:
    """The page. It is Markdown."""
    return _HEAD + "".join(part for section in SECTIONS for part in _section(section, ""))


def _section(section: Section, prefix: str) -> Iterator[str]:
    intro = (section.model.__doc__ or "").strip().replace("\n", " ")
    repeat = " May be repeated." if section.repeated else ""
    yield f"\n## `{section.title(prefix)}`\n\n{intro}{repeat}\n\n| setting | default | meaning |\n|---|---|---|\n"
    yield from (_row(one) for one in section.settings.values())
    for inner in section.inside:
        yield from _section(inner, f"{section.name}.")


def _row(setting: Setting) -> str:
    if setting.required:
        default = f"required, such as `{written(setting.example)}`"
    elif setting.written is None:
        default = "unset" if setting.example is None else f"unset, such as `{written(setting.example)}`"
    else:
        default = f"`{written(setting.written)}`"
    default = default.replace("|", "\\|")
    meaning = " ".join(setting.help.split()).replace("|", "\\|").replace("<", "&lt;")
    return f"| `{setting.name}` | {default} | {meaning} |\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
