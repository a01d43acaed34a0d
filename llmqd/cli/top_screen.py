"""Draws what `llmqd top` knows, as wide and as high as the terminal is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import ConsoleDimensions, Group, RenderableType
from rich.table import Table
from rich.text import Text

from llmqd.cli.queue import pause_text
from llmqd.cli.table import cell, per_minute, span
from llmqd.cli.tail import line

if TYPE_CHECKING:
    from llmqd.cli.top_picture import Picture

_HELP = "↑↓ call  +/- or 0-9 priority  c cancel  Tab lane  p pause/resume  q quit"
_BAR = 12


def screen(picture: Picture, size: ConsoleDimensions) -> RenderableType:
    """One screen: head, lanes, waiting calls, and, where there is room, what has just happened."""
    lanes = _lanes(picture)
    rows = max(size.height - len(picture.lanes) - 8, 3)
    waiting = min(max(len(picture.waiting), 1), max(rows - 4, 3))
    recent = [_one_line(line(event), size.width) for event in list(picture.recent)[: max(rows - waiting - 1, 0)]]
    foot = Text(picture.message, "bold yellow") if picture.message else Text(_HELP, "dim")
    foot.truncate(size.width, overflow="ellipsis")
    parts = [_head(picture, size.width), Text(), lanes, Text(), _waiting(picture, waiting), Text(), *recent]
    return Group(*parts, foot)


def _one_line(text: Text, width: int) -> Text:
    text.truncate(width, overflow="ellipsis")
    text.no_wrap = True
    return text


def _head(picture: Picture, width: int) -> Text:
    spent = "-" if picture.cost is None else f"${picture.cost:.4f}"
    text = Text("llmqd ", "bold")
    text.append(picture.place)
    if not picture.connected:
        text.append("  AWAY, waiting for it", "bold red")
    text.append(f"  {picture.total} waiting  {picture.running_total} running", "cyan")
    text.append(f"  last day: {picture.calls} calls, {picture.errors} errors, {picture.tokens} tokens, {spent}")
    return _one_line(text, width)


def _table(*heads: str, right: tuple[str, ...] = ()) -> Table:
    table = Table(box=None, expand=True, pad_edge=False, header_style="bold")
    for head in heads:
        table.add_column(head, justify="right" if head in right else "left", no_wrap=True, overflow="ellipsis")
    return table


def _lanes(picture: Picture) -> RenderableType:
    if not picture.lanes:
        return Text("no lanes: no upstream is configured", "yellow")
    table = _table("LANE", "WAITING", "RUNNING", "RATE", "LIMIT USED", "STATE", right=("WAITING", "RUNNING", "RATE"))
    chosen = picture.lane
    for lane in picture.lanes:
        table.add_row(
            cell(lane["lane"]),
            str(lane["waiting"]),
            str(lane["running"]),
            per_minute(lane["requests_per_minute"]),
            _used(lane),
            Text(pause_text(lane["paused"]), "yellow" if lane["paused"] else "green"),
            style="reverse" if lane is chosen else "",
        )
    return table


def _used(lane: Mapping[str, Any]) -> Text:
    """The fullest of its limits as a bar."""
    limit = max(lane["limits"], key=lambda one: one["used"], default=None)
    if limit is None:
        return Text("-")
    used = min(limit["used"], 1.0)
    text = Text("█" * round(used * _BAR) + "░" * (_BAR - round(used * _BAR)), "red" if used >= 0.95 else "green")
    return text.append(f" {used:4.0%} {limit['dimension']}", "")


def _waiting(picture: Picture, rows: int) -> RenderableType:
    if not picture.waiting:
        return Text("nobody waits", "dim")
    table = _table(
        "PLACE",
        "REQUEST",
        "PRIO",
        "WAITED",
        "ETA",
        "LANE",
        "MODEL",
        "SESSION",
        right=("PLACE", "PRIO", "WAITED", "ETA"),
    )
    chosen = picture.call
    at = next((number for number, call in enumerate(picture.waiting) if call is chosen), 0)
    first = max(0, min(at - rows // 2, len(picture.waiting) - rows))
    for call in picture.waiting[first : first + rows]:
        table.add_row(
            str(call["position"]),
            cell(call["request_id"]),
            str(call["priority"]),
            span(call["waited_ms"] / 1000),
            span(None if call["eta_ms"] is None else call["eta_ms"] / 1000),
            cell(call["lane"]),
            cell(call["model"]),
            cell(call["session"]),
            style="reverse" if call is chosen else "",
        )
    return table
