"""Other programs see neither the memory of the daemon nor a key on its command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.process import LlmqdProcess

KEY = "sk-a-key-on-the-command-line"


def test_memory_is_closed_to_core_dumps_and_debuggers() -> None:
    code = (
        "import ctypes, resource; from llmqd.private import close_memory; close_memory();"
        "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0 (0, 0)"


class Keyed(LlmqdProcess):
    """Started with a key among its arguments."""

    def arguments(self) -> list[str]:
        return [*super().arguments(), "--type", "openai", "--api-key", KEY]


async def test_a_key_is_wiped_from_the_command_line(tmp_path: Path) -> None:
    process = Keyed(tmp_path, "")
    await process.start()
    try:
        shown = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        assert b"--api-key\0" + b"x" * len(KEY) in shown
        assert KEY.encode() not in shown
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        assert "Max core file size        0                    0" in limits
    finally:
        await process.stop()
