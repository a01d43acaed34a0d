"""Text for people at a terminal: aligned tables, times, counts; nothing in it can steer the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

UNKNOWN = "-"


def table(heads: Sequence[str], rows: Iterable[Sequence[object]], *, right: Iterable[str] = ()) -> Iterator[str]:
    """Lines of columns as wide as their longest text; those named in `right` stand at the right. None shows as `-`."""
    shown = [[cell(value) for value in row] for row in rows]
    widths = [max([len(head), *(len(row[column]) for row in shown)]) for column, head in enumerate(heads)]
    numbers = set(right)
    for row in [list(heads), *shown]:
        parts = [
            text.rjust(width) if head in numbers else text.ljust(width)
            for head, width, text in zip(heads, widths, row, strict=True)
        ]
        yield "  ".join(parts).rstrip()


def cell(value: object) -> str:
    """One line without control characters: names come from clients, and a terminal obeys what it prints."""
    if value is None or value == "":
        return UNKNOWN
    text = str(value)
    return text if text.isprintable() else "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def span(seconds: float | None) -> str:
    """A length of time with its two largest units, as far as a person cares: 0.25s, 12s, 3m05s, 2h10m, 4d06h."""
    if seconds is None:
        return UNKNOWN
    if seconds < 9.995:
        return f"{seconds:.2f}s"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}d{hour:02d}h"
    if hours:
        return f"{hours}h{minute:02d}m"
    return f"{minutes}m{second:02d}s" if minutes else f"{second}s"


def count(number: int) -> str:
    """A count with its digits in groups of three."""
    return f"{number:,}"


def money(dollars: float | None) -> str:
    """An amount in US dollars, to a hundredth of a cent; a price that is not known is none."""
    if dollars is None:
        return UNKNOWN
    return f"${dollars:,.4f}" if dollars >= 0.0001 or not dollars else "<$0.0001"


def when(time: str | None) -> str:
    """A time as the API gives it, to the second, in UTC."""
    return UNKNOWN if time is None else time[:19].replace("T", " ")


def per_minute(rate: float) -> str:
    """A rate of calls, or that there is none."""
    return f"{rate:g}/min" if rate else "any"
