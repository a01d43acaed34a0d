"""llmqd export, asked of a real daemon."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from llmqd.cli import export, main
from llmqd.cli.codes import DONE, FAILED, USED_WRONGLY
from tests.web.api.asking import Asked, asking
from tests.web.api.test_analytics import two_agents_and_a_failure


async def llmqd(asked: Asked, *words: str) -> int:
    url = f"http://127.0.0.1:{asked.daemon.port}"
    return await asyncio.to_thread(main, ["export", *words, "--url", url])


async def test_to_stdout_and_into_a_file(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    async with asking(tmp_path, *two_agents_and_a_failure()) as asked:
        assert await llmqd(asked, "requests", "--agent", "a") == DONE
        [line] = capfdbinary.readouterr().out.splitlines()
        assert orjson.loads(line)["agent_name"] == "a"
        target = tmp_path / "sessions.csv"
        assert await llmqd(asked, "sessions", "--format", "csv", "-o", str(target)) == DONE
        assert {row["session_id"] for row in csv.DictReader(io.StringIO(target.read_text()))} == {"s1", "s2"}
        assert [path.name for path in tmp_path.glob("*.part")] == []


async def test_what_goes_wrong_leaves_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with asking(tmp_path, *two_agents_and_a_failure()) as asked:
        target = tmp_path / "out"
        assert await llmqd(asked, "sessions", "--session", "x", "-o", str(target)) == FAILED
        assert capsys.readouterr().err == "llmqd: session_id: does not go with what=sessions\n"
        assert await llmqd(asked, "usage", "-o", str(tmp_path / "none" / "out")) == FAILED
        assert "No such file" in capsys.readouterr().err
        assert await llmqd(asked, "everything") == USED_WRONGLY
        assert not target.exists()


async def test_a_device_or_pipe_is_written_to_and_a_link_stays_one(tmp_path: Path) -> None:
    async with asking(tmp_path, *two_agents_and_a_failure()) as asked:
        pipe, file, link = tmp_path / "pipe", tmp_path / "file", tmp_path / "link"
        os.mkfifo(pipe)
        reading = asyncio.create_task(asyncio.to_thread(pipe.read_bytes))
        assert await llmqd(asked, "requests", "-o", str(pipe)) == DONE
        assert pipe.is_fifo()
        assert len((await reading).splitlines()) == 3
        file.write_text("old")
        link.symlink_to(file)
        assert await llmqd(asked, "requests", "-o", str(link)) == DONE
        assert (link.is_symlink(), len(file.read_text().splitlines())) == (True, 3)


async def test_an_answer_that_breaks_off_is_a_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], unused_tcp_port: int
) -> None:
    async def broken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nServer: llmqd\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(broken, "127.0.0.1", unused_tcp_port):
        target = tmp_path / "out"
        words = ["export", "usage", "-q", "-o", str(target), "--url", f"http://127.0.0.1:{unused_tcp_port}"]
        assert await asyncio.to_thread(main, words) == FAILED
    assert "is not whole: it broke off" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_progress_follows_the_lines_and_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"a\nb\n"
        yield b"c\n"

    assert b"".join(export._with_progress(pieces(), 3)) == b"a\nb\nc\n"
    assert sys.stdout is not None
    assert capsys.readouterr().out == ""
