"""The kind of setting that is a regular expression, checked when it is read: a bad one is a fault of its line."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from importlib import import_module
from typing import Any

# The one place that knows how Python itself reads patterns.
_constants, _parser = import_module("re._constants"), import_module("re._parser")
_REPEATS = (_constants.MAX_REPEAT, _constants.MIN_REPEAT)
_MANY = 16
"""A repetition of up to so many times is bounded enough to stand inside of another."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A regular expression in Python's syntax, kept as text. It may take no exponential time and must match something.

    Refused is what can match nothing at all, and an unbounded repetition inside of an unbounded repetition, such as
    `(a+)+`: on some texts that never ends. `(?>...)` and `a++`, which never go back, are fine.
    """

    noun: str = "regular expression"

    def read(self, value: object) -> str:
        if not isinstance(value, str) or not value:
            raise ValueError("must be a regular expression in quotes")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                compiled = re.compile(value)
        except (re.error, RecursionError, OverflowError, Warning) as error:
            raise ValueError(f"no regular expression: {error}") from None
        if compiled.match("") is not None:
            raise ValueError("matches even where there is nothing; let it match at least one character")
        if _nested(_parser.parse(value)):
            raise ValueError("repeats without a bound what is itself repeated without one, which may never end")
        return value

    def show(self, value: str) -> object:
        return value


def _nested(parsed: Any, inside: bool = False) -> bool:
    """Whether one unbounded repetition stands directly within another. `parsed` is what Python's parser gives."""
    for operation, argument in parsed:
        if operation in _REPEATS:
            least, most, body = argument
            unbounded = most > _MANY and most != least
            if unbounded and inside:
                return True
            if _nested(body, inside or unbounded):
                return True
        elif any(_nested(body, inside) for body in _bodies(argument)):
            return True
    return False


def _bodies(argument: Any) -> list[Any]:
    """The patterns inside of a group, an alternation, a condition or an assertion."""
    if isinstance(argument, _parser.SubPattern):
        return [argument]
    if isinstance(argument, tuple | list):
        return [body for item in argument for body in _bodies(item)]
    return []
