"""Other programs see neither the memory of the daemon nor a key on its command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from llmqd.private import write_private
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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_writes_belongs_to_the_owner_of_the_directory(tmp_path: Path) -> None:
    os.chown(tmp_path, 1234, 1235)
    (tmp_path / ".name.new").write_bytes(b"left by a crash, open to all")
    (tmp_path / ".name.new").chmod(0o666)
    write_private(tmp_path / "name", b"llmqd")
    found = (tmp_path / "name").stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (1234, 1235, 0o600)
    assert [each.name for each in tmp_path.iterdir()] == ["name"]
    assert (tmp_path / "name").read_bytes() == b"llmqd"
