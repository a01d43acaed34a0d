"""A real terminal for a command: a pty with a screen behind it, whose text and colours tests can read."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import signal
import struct
import sys
import termios
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pyte


def _own_terminal() -> None:
    """Lets Ctrl-C at the terminal reach the command."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Terminal:
    """A command of llmqd that runs at a terminal of this size."""

    def __init__(self, columns: int, lines: int) -> None:
        self.screen = pyte.Screen(columns, lines)
        self.raw = bytearray()
        """Everything that the command has written."""
        self._stream = pyte.ByteStream(self.screen)
        self._master, self._slave = pty.openpty()
        self._size(columns, lines)
        self.process: asyncio.subprocess.Process | None = None

    async def start(self, *words: str) -> None:
        """Runs `llmqd` with these arguments."""
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "llmqd",
            *words,
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            start_new_session=True,
            preexec_fn=_own_terminal,
            env={"PATH": os.environ["PATH"], "TERM": "xterm-256color", "LANG": "C.UTF-8"},
        )
        os.close(self._slave)
        asyncio.get_running_loop().add_reader(self._master, self._read)

    def _size(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def resize(self, columns: int, lines: int) -> None:
        """As when somebody pulls at the window."""
        self._size(columns, lines)
        self.screen.resize(lines, columns)
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGWINCH)

    def _read(self) -> None:
        try:
            data = os.read(self._master, 65536)
        except OSError:  # the command has ended
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._master)
        self.raw += data
        self._stream.feed(data)

    @property
    def text(self) -> str:
        """What stands on the screen."""
        return "\n".join(line.rstrip() for line in self.screen.display)

    def press(self, keys: str) -> None:
        """Keys, as the terminal sends them."""
        os.write(self._master, keys.encode())

    async def shows(self, wanted: str | Callable[[str], bool], within: float = 30.0) -> str:
        """Waits until the screen has this text, or fits."""
        try:
            async with asyncio.timeout(within):
                while not (wanted in self.text if isinstance(wanted, str) else wanted(self.text)):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{wanted!r} did not come; the screen has:\n{self.text}") from None
        return self.text

    async def end(self, within: float = 15.0) -> int:
        """The exit code, once the command has ended."""
        assert self.process is not None
        return await asyncio.wait_for(self.process.wait(), within)

    async def close(self) -> None:
        """Ends the command if it still runs."""
        assert self.process is not None
        asyncio.get_running_loop().remove_reader(self._master)
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        os.close(self._master)


@asynccontextmanager
async def terminal(*words: str, columns: int = 120, lines: int = 30) -> AsyncIterator[Terminal]:
    """`llmqd` with these arguments at a terminal."""
    at = Terminal(columns, lines)
    await at.start(*words)
    try:
        yield at
    finally:
        await at.close()
