"""The settings of `[[middleware]]`: who looks on while calls pass."""

# ruff: noqa: RUF009 - setting() makes a dataclass field, as dataclasses.field() does

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from llmqd.config.kinds import Duration, FilePath, Flag, Size
from llmqd.config.net_kinds import Name
from llmqd.config.setting import required, setting

BUILT_IN = ("trace", "printer")
"""The types that need no plug-in."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a plug-in is called with: an inline table. Its values are never shown, as any may be a secret."""

    noun: str = "table of options"

    def read(self, value: object) -> tuple[tuple[str, object], ...]:
        if not isinstance(value, dict):
            raise ValueError("must be a table, for example { colour = true }")
        return tuple((str(name), _plain(item)) for name, item in value.items())

    def show(self, value: tuple[tuple[str, object], ...]) -> object:
        return {name: "set" for name, _ in value}


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class MiddlewareSettings:
    """Who looks on while calls pass: at a copy, without secrets, and without ever holding a call."""

    type: str = required(
        Name(), "trace (one JSON file a call), printer (lines in the log), or the name of a plug-in.", example="trace"
    )
    enabled: bool = setting(Flag(), True, "Whether it is in force.")
    max_body_size: int = setting(Size(), "1MiB", "Largest body that it gets; of larger ones none.")
    max_pending: int = setting(
        Size(), "64MiB", "Memory for copies that wait for it; what does not fit is dropped and counted."
    )
    directory: Path = setting(
        FilePath(), "traces", "trace: where its files go. A relative path counts from the state directory."
    )
    include_headers: bool = setting(Flag(), True, "trace: whether headers are written.")
    include_body: bool = setting(Flag(), True, "trace: whether bodies are written.")
    max_size: int = setting(
        Size(), "1GiB", "trace: bytes of all files together; then the oldest are deleted. 0: no limit."
    )
    max_age: float = setting(Duration(), "0s", "trace: how long a file is kept. 0: until max_size is reached.")
    log_requests: bool = setting(Flag(), True, "printer: a line for each request.")
    log_responses: bool = setting(Flag(), True, "printer: a line for each answer.")
    log_body: bool = setting(Flag(), False, "printer: bodies too, up to 4096 characters.")
    options: tuple[tuple[str, object], ...] = setting(Options(), {}, "plug-in: what it is called with.")
