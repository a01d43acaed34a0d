"""The kinds of value a setting can have: how each is read from TOML, checked and shown again.

`read` takes what the TOML parser gives (floats as Decimal) and raises ValueError whose text says what would be right;
`show` gives back the written form, fit for TOML and JSON alike.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from llmqd.config.quantities import format_duration, format_size, parse_duration, parse_size


class ItemError(ValueError):
    """What is wrong with one item of a list; `index` counts from 0."""

    def __init__(self, index: int, text: str) -> None:
        super().__init__(text)
        self.index = index


class Kind(Protocol):
    """What every kind answers."""

    @property
    def noun(self) -> str: ...

    def read(self, value: object) -> Any: ...

    def show(self, value: Any) -> object: ...


@dataclass(frozen=True, slots=True)
class Text:
    """Any text that is not empty."""

    noun: str = "text"

    def read(self, value: object) -> str:
        if not isinstance(value, str):
            raise ValueError("must be text in quotes")
        if not value.strip() or not value.isprintable():
            raise ValueError("must not be empty or hold control characters")
        return value

    def show(self, value: str) -> object:
        return value


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words."""

    words: tuple[str, ...]
    digits: bool = False
    """Also the numbers 0 to 9, kept as text."""

    @property
    def noun(self) -> str:
        return f"one of {', '.join(self.words)}" + (" or 0 to 9" if self.digits else "")

    def read(self, value: object) -> str:
        if self.digits and isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if isinstance(value, str) and (value in self.words or (self.digits and re.fullmatch("[0-9]", value))):
            return value
        raise ValueError(f"must be {self.noun}")

    def show(self, value: str) -> object:
        return value


@dataclass(frozen=True, slots=True)
class Flag:
    """true or false."""

    noun: str = "true or false"

    def read(self, value: object) -> bool:
        if not isinstance(value, bool):
            raise ValueError("must be true or false (without quotes)")
        return value

    def show(self, value: bool) -> object:
        return value


@dataclass(frozen=True, slots=True)
class Integer:
    """A whole number."""

    least: int = 0
    most: int = 10**12
    noun: str = "whole number"

    def read(self, value: object) -> int:
        if isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value():
            _within(value, self.least, self.most)
            return int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError("must be a whole number (without quotes)")
        _within(value, self.least, self.most)
        return value

    def show(self, value: int) -> object:
        return value


@dataclass(frozen=True, slots=True)
class Number:
    """A number, fractions allowed."""

    least: float = 0
    most: float = 10**12
    noun: str = "number"

    def read(self, value: object) -> float:
        number = _decimal(value)
        _within(number, self.least, self.most)
        return float(number)

    def show(self, value: float) -> object:
        return int(value) if value == int(value) else value


@dataclass(frozen=True, slots=True)
class Money:
    """An exact decimal amount, never negative."""

    noun: str = "USD per million tokens"

    def read(self, value: object) -> Decimal:
        amount = _decimal(value)
        _within(amount, 0, 10**9)
        return amount

    def show(self, value: Decimal) -> object:
        return str(value)


@dataclass(frozen=True, slots=True)
class Duration:
    """A length of time, in seconds once read."""

    least: float = 0
    noun: str = "duration"

    def read(self, value: object) -> float:
        if value == 0 and isinstance(value, int) and not isinstance(value, bool):
            value = "0s"
        if not isinstance(value, str):
            raise ValueError('not a duration; write it with a unit, for example "10s" or "5m"')
        try:
            seconds = parse_duration(value)
        except ValueError as error:
            raise ValueError(f'{error}; write for example "10s" or "5m"') from None
        if seconds < self.least:
            raise ValueError(f'must be at least "{format_duration(self.least)}"')
        return seconds

    def show(self, value: float) -> object:
        return format_duration(value)


@dataclass(frozen=True, slots=True)
class Size:
    """An amount of bytes; a bare whole number counts bytes."""

    least: int = 0
    noun: str = "size"

    def read(self, value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool):
            value = f"{value}B"
        if not isinstance(value, str):
            raise ValueError('not a size; write for example "64KiB" or "16MiB"')
        try:
            size = parse_size(value)
        except ValueError as error:
            raise ValueError(f'{error}; write for example "64KiB" or "16MiB"') from None
        if size < self.least:
            raise ValueError(f'must be at least "{format_size(self.least)}"')
        return size

    def show(self, value: int) -> object:
        return format_size(value)


@dataclass(frozen=True, slots=True)
class Zone:
    """A time zone of the IANA database, kept by its name. UTC is known without a database."""

    noun: str = "time zone"

    def read(self, value: object) -> str:
        if not isinstance(value, str):
            raise ValueError('must be a time zone in quotes, for example "America/Los_Angeles"')
        if value != "UTC":
            try:
                ZoneInfo(value)
            except (ValueError, KeyError, OSError):  # malformed; not in the database; a directory of it
                raise ValueError(
                    'no time zone that this machine knows; write for example "UTC" or "America/Los_Angeles"'
                    " (the names come with the package tzdata)"
                ) from None
        return value

    def show(self, value: str) -> object:
        return value


@dataclass(frozen=True, slots=True)
class FilePath:
    """A path; a relative one counts from the working directory unless the setting says otherwise."""

    noun: str = "path"

    def read(self, value: object) -> Path:
        if not isinstance(value, str) or not value or "\0" in value:
            raise ValueError("must be a path in quotes")
        return Path(value)

    def show(self, value: Path) -> object:
        return str(value)


@dataclass(frozen=True, slots=True)
class Listing:
    """Several values of one kind, without repetition."""

    of: Kind
    least: int = 0

    @property
    def noun(self) -> str:
        return f"list of {self.of.noun}s"

    def read(self, value: object) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise ValueError('must be a list in brackets, for example ["..."]')
        items = tuple(self._item(index, item) for index, item in enumerate(value))
        if len(items) < self.least:
            raise ValueError("must not be empty")
        lowered = [str(item).lower() for item in items]
        for index, (item, low) in enumerate(zip(items, lowered, strict=True)):
            if lowered.index(low) < index:
                raise ItemError(index, f'"{item}" stands in it twice')
        return items

    def _item(self, index: int, value: object) -> Any:
        try:
            return self.of.read(value)
        except ValueError as error:
            raise ItemError(index, str(error)) from None

    def show(self, value: tuple[Any, ...]) -> object:
        return [self.of.show(item) for item in value]


def _decimal(value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError("must be a number (without quotes)")
    number = Decimal(value)
    if not number.is_finite():
        raise ValueError("must be a finite number")
    return number


def _within(value: Decimal | int, least: float, most: float) -> None:
    if value < least:
        raise ValueError(f"must be at least {least:g}")
    if value > most:
        raise ValueError(f"must be at most {most:g}")
