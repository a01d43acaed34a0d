"""Whether the clock of this machine can be right: windows, expiry of keys and certificates depend on it."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

from llmqd.doctor.finding import Finding, fault, ok, warning

_UNSYNCHRONISED = 5
"""What adjtimex(2) answers when nothing keeps the clock right (TIME_ERROR)."""
_SIZE_OF_TIMEX = 256
"""More than `struct timex` has on any system."""
_SLIGHTLY, _BADLY = 10.0, 120.0
"""Seconds of difference to others' clocks from which there is a warning, and a fault."""


def synchronised() -> bool | None:
    """Whether the kernel's clock is kept right by something; None where it cannot be asked."""
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_SIZE_OF_TIMEX))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else bool(state != _UNSYNCHRONISED)


def look_at_clock(
    now: float, *, kept: bool | None, newest: float | None, others: dict[str, float]
) -> Iterator[Finding]:
    """`now` in Unix seconds; `newest` is when the ledger's last call came, `others` by how many seconds the clocks of
    the upstreams (by name) are ahead.
    """
    found = []
    if newest is not None and newest - now > _SLIGHTLY:
        found.append(
            fault(
                "clock",
                f"the ledger holds a call from {newest - now:.0f} s in the future: the clock was ahead then, or is"
                " behind now",
                "set the clock right (timedatectl set-ntp true)",
            )
        )
    for name, ahead in others.items():
        if abs(ahead) <= _SLIGHTLY:
            continue
        text = f"the clock of upstream {name} is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this one"
        advice = "if others say the same, set this clock right (timedatectl set-ntp true)"
        found.append((fault if abs(ahead) > _BADLY else warning)("clock", text, advice))
    if kept is False:
        found.append(
            warning(
                "clock",
                "nothing keeps the clock of this machine right",
                "turn on a time service (timedatectl set-ntp true); in a container, on its host",
            )
        )
    yield from found or [ok("clock", f"it is right within {_SLIGHTLY:g} s as far as can be seen")]
