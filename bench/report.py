"""The table of a run: medians with their spread, ratios to the bare forwarder, bars, and the same as JSON and PNG."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

Figures = Mapping[str, Mapping[str, Sequence[float]]]

_YARDSTICK = "bare aiohttp"
_RATIOS = ("µs/call", "µs/chunk", "paced µs/chunk")
_BARS = ("µs/call", "µs/chunk")
_WIDTH = 50


def spread(values: Sequence[float]) -> str:
    """Median, and behind it how far half of the values lie from each other."""
    middle = f"{statistics.median(values):,.4g}" if abs(statistics.median(values)) < 1000 else ""
    middle = middle or f"{statistics.median(values):,.0f}"
    if len(values) < 4:
        return middle
    low, _, high = statistics.quantiles(values, n=4)
    return f"{middle} ±{(high - low) / 2:.2g}" if high - low < 2000 else f"{middle} ±{(high - low) / 2:,.0f}"


def ratio(figures: Figures, side: str, name: str) -> str:
    """The median of what a side took in each round by what the yardstick took in the same round."""
    own, other = figures[side].get(name), figures.get(_YARDSTICK, {}).get(name)
    if not own or not other:
        return ""
    return f" ({statistics.median(a / b for a, b in zip(own, other, strict=False)):.2f} ×)"


def table(figures: Figures) -> str:
    """One line a side, one column a figure, in Markdown."""
    names = list(dict.fromkeys(name for each in figures.values() for name in each))
    rows = [["", *names], ["---", *("---:" for _ in names)]]
    for side, taken in figures.items():
        cells = [
            spread(taken[name]) + (ratio(figures, side, name) if name in _RATIOS else "") if name in taken else "–"
            for name in names
        ]
        rows.append([side, *cells])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def bars(figures: Figures) -> str:
    """CPU time as bars of text, on a logarithmic scale: the sides lie far apart."""
    lines: list[str] = []
    for name in _BARS:
        medians = {side: statistics.median(taken[name]) for side, taken in figures.items() if taken.get(name)}
        least, most = min(medians.values()), max(medians.values())
        lines.append(f"{name} (each # is the same factor)")
        for side, value in sorted(medians.items(), key=lambda pair: pair[1]):
            share = 1.0 if most <= least else math.log(value / least) / math.log(most / least)
            lines.append(f"  {side:<18} {'#' * (1 + round(share * (_WIDTH - 1))):<{_WIDTH}} {value:,.1f}")
    return "\n".join(lines) + "\n"


def write(directory: Path, figures: Figures) -> None:
    """Prints the table and the bars, and leaves `bench.md`, `bench.json` and `bench.png`."""
    text = f"{table(figures)}\n```\n{bars(figures)}```\n"
    print("\n" + text)
    (directory / "bench.md").write_text(text)
    (directory / "bench.json").write_text(json.dumps(figures, indent=1, ensure_ascii=False))
    _plot(directory / "bench.png", figures)


def _plot(path: Path, figures: Figures) -> None:
    from matplotlib import pyplot  # type: ignore[import-not-found,unused-ignore]  # slow, and of no use while measuring

    figure, axes = pyplot.subplots(1, len(_BARS), figsize=(12, 4))
    for axis, name in zip(axes, _BARS, strict=True):
        medians = {side: statistics.median(taken[name]) for side, taken in figures.items() if taken.get(name)}
        axis.barh(list(medians), list(medians.values()))
        axis.set_xscale("log")
        axis.set_xlabel(name)
    figure.tight_layout()
    figure.savefig(path, dpi=100)
