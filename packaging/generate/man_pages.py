"""Writes the man pages llmqd(1) and llmqd.toml(5), from the argument parser and the settings' own definitions.

    man_pages.py DIRECTORY

The date in them is SOURCE_DATE_EPOCH, so that the same source makes the same bytes.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from troff import bold, example, head, heading, italic, item, paragraph, subheading, text

from llmqd import __version__
from llmqd.cli import build_parser
from llmqd.config.model import SECTIONS, Section
from llmqd.config.reading import written
from llmqd.config.setting import Setting

FILES = (
    ("/etc/llmqd/llmqd.toml", "The configuration, llmqd.toml(5)."),
    ("/etc/llmqd/credentials/", "One file a secret; NAME here is credential:NAME in the configuration."),
    ("/etc/default/llmqd", "The environment of llmqd.service."),
    ("/var/lib/llmqd/", "The ledger (llmqd.db, SQLite) and its journal."),
    ("/run/llmqd/", "For a unix listener."),
)
SIGNALS = (
    ("SIGHUP", "Read the configuration again and put it in force, whole or not at all."),
    ("SIGTERM, SIGINT", "Take no more calls, let the running ones finish, write everything down, end."),
)
SERVICE = (
    "As a service, llmqd.service runs `llmqd serve`. `systemctl reload llmqd` reads the configuration again; a changed"
    " credential or a changed /etc/default/llmqd needs `systemctl restart llmqd`. `systemctl status llmqd` shows what"
    " waits and runs, `journalctl -u llmqd` has a line for every call, and `journalctl LLMQD_REQUEST_ID=ID` or"
    " `LLMQD_SESSION=ID`, `LLMQD_UPSTREAM=NAME`, `LLMQD_MODEL=NAME` finds them."
)
TOML = (
    'TOML 1.0. Unknown sections and settings are errors. Durations are written "250ms", "10s", "5m", "1h", "90d";'
    ' sizes "64KiB", "16MiB", "1GiB". A limit of 0 means none. A secret is "env:NAME", "file:/path",'
    ' "credential:NAME", or the text itself. What the file leaves open may come from the environment; the command line'
    " goes before both. After a change: `llmqd check`, then `systemctl reload llmqd`."
)
KEY_EXAMPLE = """\
[[upstream]]
name = "openai"
api_key = "credential:openai"
requests_per_minute = 500
"""


def command_page(parser: argparse.ArgumentParser, date: str) -> str:
    """llmqd(1)."""
    commands = dict(subparsers(parser))
    return "".join(
        (
            head("LLMQD", 1, date, __version__, "User Commands"),
            heading("NAME", text("llmqd - queue, proxy and ledger for LLM API calls") + "\n"),
            heading("SYNOPSIS", *(synopsis(command) for command in commands.values())),
            heading("DESCRIPTION", paragraph(text(parser.description or "")), paragraph(text(SERVICE))),
            heading("OPTIONS", *(option(one) for one in arguments(parser))),
            heading("COMMANDS", *(command_part(name, command) for name, command in commands.items())),
            heading("FILES", *(item(italic(path), text(meaning)) for path, meaning in FILES)),
            heading("SIGNALS", *(item(bold(name), text(meaning)) for name, meaning in SIGNALS)),
            heading("EXIT STATUS", paragraph(text("0 done, 1 failed, 2 used wrongly."))),
            heading("SEE ALSO", paragraph(r"\fBllmqd.toml\fR(5), \fBsystemctl\fR(1), \fBjournalctl\fR(1)")),
        )
    )


def subparsers(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """The commands by name, each followed by its own actions."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                yield name, command
                yield from ((f"{name} {inner}", each) for inner, each in subparsers(command))


def synopsis(command: argparse.ArgumentParser) -> str:
    """The usage line of a command."""
    usage = " ".join(command.format_usage().removeprefix("usage: ").split())
    return paragraph(bold(command.prog) + text(usage.removeprefix(command.prog)))


def arguments(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """What it takes, help and commands left out."""
    for action in parser._actions:
        if not isinstance(action, argparse._SubParsersAction | argparse._HelpAction):
            yield action


def option(action: argparse.Action) -> str:
    """One argument with its meaning."""
    names = ", ".join(bold(name) for name in action.option_strings)
    value = "" if action.nargs == 0 else italic(str(action.metavar or action.dest))
    return item(" ".join(part for part in (names, value) if part), text(action.help or ""))


def command_part(name: str, command: argparse.ArgumentParser) -> str:
    """One command with all it takes."""
    return subheading(name, paragraph(text(command.description or "")), *(option(one) for one in arguments(command)))


def settings_page(date: str) -> str:
    """llmqd.toml(5)."""
    return "".join(
        (
            head("LLMQD.TOML", 5, date, __version__, "File Formats"),
            heading("NAME", text("llmqd.toml - configuration of llmqd") + "\n"),
            heading("SYNOPSIS", paragraph(italic("/etc/llmqd/llmqd.toml"))),
            heading("DESCRIPTION", paragraph(text(TOML))),
            heading("SETTINGS", *(section_part(one, "") for one in SECTIONS)),
            heading(
                "EXAMPLE",
                paragraph(text("A key in /etc/llmqd/credentials/openai, a file with nothing else in it:")),
                example(KEY_EXAMPLE),
            ),
            heading("SEE ALSO", paragraph(r"\fBllmqd\fR(1), \fBsystemd.exec\fR(5)")),
        )
    )


def section_part(section: Section, prefix: str) -> str:
    """One section of the file with its settings, and the tables inside it."""
    intro = (section.model.__doc__ or "").strip() + (" Repeat for each." if section.repeated else "")
    inside = (section_part(one, f"{section.name}.") for one in section.inside)
    settings = (setting_part(one) for one in section.settings.values())
    return subheading(section.title(prefix), paragraph(text(intro)), *settings, *inside)


def setting_part(setting: Setting) -> str:
    """One setting: name, meaning, default."""
    lines = [text(" ".join(setting.help.split()))]
    if setting.required:
        lines.append("Required.")
    elif setting.written is not None and setting.example is None:
        lines.append(f"Default: {bold(written(setting.written))}")
    return item(bold(setting.name), *lines)


def main(directory: Path) -> int:
    """Write both pages."""
    os.environ["COLUMNS"] = "1000"  # argparse would break usage lines at the terminal's width
    date = time.strftime("%Y-%m-%d", time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))))
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "llmqd.1").write_text(command_page(build_parser(), date))
    (directory / "llmqd.toml.5").write_text(settings_page(date))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
