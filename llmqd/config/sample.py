"""Writes the sample configuration: every setting with its meaning, commented out, at its default."""

from __future__ import annotations

from llmqd.config.model import SECTIONS, Section
from llmqd.config.reading import written
from llmqd.config.setting import Setting

_HEAD = """\
# Configuration of llmqd.
#
# Every setting stands here, commented out, at its default: remove the # in front of one to change it.
# Settings marked "unset" are off or worked out until they are written; what stands behind them is an example.
# Durations: "250ms" "10s" "5m" "1h" "90d". Sizes: "64KiB" "16MiB" "1GiB". A limit of 0 means none.
# Secrets: "env:NAME" (environment), "file:/path", "credential:NAME" (systemd LoadCredential=), or the text itself.
# After a change: `llmqd check`, then `systemctl reload llmqd`.
"""


def sample() -> str:
    """The text of the sample file. It loads as it stands and changes nothing."""
    return _HEAD + "".join(f"\n{part}" for section in SECTIONS for part in _section(section, ""))


def _section(section: Section, prefix: str) -> list[str]:
    mark = "#" if section.repeated else ""
    intro = (section.model.__doc__ or "").strip()
    repeat = " Repeat for each." if section.repeated else ""
    head = f"# {intro}{repeat}\n{mark}{section.title(prefix)}\n"
    body = "".join(_setting(one) for one in section.settings.values())
    return [head + body, *(part for one in section.inside for part in _section(one, f"{section.name}."))]


def _setting(setting: Setting) -> str:
    value = setting.written if setting.example is None else setting.example
    comment = "".join(f"# {line}\n" for line in setting.help.splitlines())
    return f"{comment}#{setting.name} = {written(value)}\n"
