"""The daemon and its process, as the doctor sees them."""

from __future__ import annotations

from pathlib import Path

from aiohttp.test_utils import unused_port

from llmqd.cli.locate import Located
from llmqd.config.address import Address
from llmqd.doctor.running import look_at_daemon, look_at_process


def test_no_daemon() -> None:
    [found] = look_at_daemon(Located(Address("127.0.0.1", unused_port()), "a test"))
    assert (found.level, "no llmqd daemon answers at" in found.text) == ("fault", True)
    assert "systemctl status" in found.advice


def test_limits_of_the_process(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "limits").write_text(
        "Limit                     Soft Limit           Hard Limit           Units     \n"
        "Max core file size        unlimited            unlimited            bytes     \n"
        "Max open files            1024                 524288               files     \n"
    )
    files, core = look_at_process(7, tmp_path)
    assert "may open 1024 files" in files.text
    assert "keys included" in core.text
    (tmp_path / "7" / "limits").write_text("Max core file size  0  0  bytes\nMax open files  524288  524288  files\n")
    assert not list(look_at_process(7, tmp_path))
    assert not list(look_at_process(8, tmp_path))
