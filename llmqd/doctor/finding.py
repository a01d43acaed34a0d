"""What was looked at, how it is, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "fault"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: `about` names it, `text` says how it is, `advice` what to do; "" for nothing.

    A `fault` keeps calls or records from being served or puts a secret in danger, a `warning` will or may.
    """

    level: Level
    about: str
    text: str
    advice: str = ""


def ok(about: str, text: str) -> Finding:
    """All is well."""
    return Finding("ok", about, text)


def warning(about: str, text: str, advice: str = "") -> Finding:
    """Worth a look."""
    return Finding("warning", about, text, advice)


def fault(about: str, text: str, advice: str = "") -> Finding:
    """To be mended."""
    return Finding("fault", about, text, advice)
