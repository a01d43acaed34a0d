"""Keys pressed at the terminal, one by one, without waiting for Enter."""

from __future__ import annotations

import asyncio
import os
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager

_NAMES = {
    b"\x1b[A": "up", b"\x1b[B": "down", b"\x1b[C": "right", b"\x1b[D": "left", b"\x1bOA": "up", b"\x1bOB": "down",
    b"\x1bOC": "right", b"\x1bOD": "left", b"\x1b[Z": "backtab", b"\x1b[5~": "pageup", b"\x1b[6~": "pagedown",
    b"\x1b[H": "home", b"\x1b[F": "end", b"\t": "tab", b"\r": "enter", b"\n": "enter", b"\x1b": "escape",
}  # fmt: skip


def split_keys(data: bytes) -> list[str]:
    """The keys in what a terminal sent at once: names for special ones, else the character itself."""
    keys: list[str] = []
    while data:
        sequence = max((code for code in _NAMES if data.startswith(code)), key=len, default=b"")
        if sequence == b"\x1b" and len(data) > 1:  # a sequence without a name: passed over as a whole
            end = next((at for at in range(2, len(data)) if 0x40 <= data[at] <= 0x7E), len(data) - 1)
            data = data[end + 1 :]
            continue
        if sequence:
            keys.append(_NAMES[sequence])
            data = data[len(sequence) :]
        else:
            keys.append(chr(data[0]))
            data = data[1:]
    return keys


@contextmanager
def keys(descriptor: int) -> Iterator[asyncio.Queue[str]]:
    """Lends the keys of a terminal; its settings are put back on any way out. Ctrl-C still interrupts."""
    before = termios.tcgetattr(descriptor)
    pressed: asyncio.Queue[str] = asyncio.Queue(maxsize=256)
    loop = asyncio.get_running_loop()

    def read() -> None:
        data = os.read(descriptor, 1024)
        if not data:  # the terminal is gone
            loop.remove_reader(descriptor)
            data = b"q"
        for key in split_keys(data):
            if not pressed.full():
                pressed.put_nowait(key)

    tty.setcbreak(descriptor)
    loop.add_reader(descriptor, read)
    try:
        yield pressed
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
