"""llmqd sessions, asked of a real daemon."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
import pytest

from llmqd.cli import main
from llmqd.cli.codes import DONE, FAILED, USED_WRONGLY
from llmqd.cli.sessions import conversation
from tests.store.conversing import Scribe
from tests.store.usage_records import MIDNIGHT, ended_call
from tests.web.api.asking import Asked, asking
from tests.web.api.test_analytics import two_agents_and_a_failure

Capture = pytest.CaptureFixture[str]


async def llmqd(asked: Asked, *words: str) -> int:
    url = f"http://127.0.0.1:{asked.daemon.port}"
    return await asyncio.to_thread(main, ["sessions", *words, "--url", url])


async def test_list_shows_a_line_a_session_and_how_to_go_on(tmp_path: Path, capsys: Capture) -> None:
    async with asking(tmp_path, *two_agents_and_a_failure()) as asked:
        assert await llmqd(asked, "list") == DONE
        head, *rows = capsys.readouterr().out.splitlines()
        assert head.split()[:3] == ["SESSION", "BEGAN", "LASTED"]
        assert sorted(row.split()[0] for row in rows) == ["s1", "s2"]
        assert await llmqd(asked, "list", "--limit", "1") == DONE
        *_, last = capsys.readouterr().out.splitlines()
        assert last.startswith("1 of 2 shown; go on with --cursor ")
        assert await llmqd(asked, "list", "--cursor", last.split()[-1], "--json") == DONE
        assert len(orjson.loads(capsys.readouterr().out)["sessions"]) == 1
        assert await llmqd(asked, "list", "--model", "none") == DONE
        assert capsys.readouterr().out == "no session fits\n"


async def test_show_and_search_tell_what_was_said(tmp_path: Path, capsys: Capture) -> None:
    record = Scribe().record(
        {"messages": [{"role": "user", "content": "Where is \x1b[31mWally?"}]}, ["Behind the tree."], session="a/b"
    )
    async with asking(tmp_path, record) as asked:
        assert await llmqd(asked, "show", "a/b") == DONE
        out = capsys.readouterr().out
        assert "session:       a/b\n" in out
        assert "   Where is \\x1b[31mWally?\n" in out
        assert "2  assistant  " in out
        assert await llmqd(asked, "search", "TREE", "behind") == DONE
        assert "a/b" in capsys.readouterr().out
        assert await llmqd(asked, "search", "forest", "--json") == DONE
        assert orjson.loads(capsys.readouterr().out)["sessions"] == []
        assert await llmqd(asked, "show", "a/b", "--json") == DONE
        shown = orjson.loads(capsys.readouterr().out)
        assert [message["role"] for message in shown["messages"]] == ["user", "assistant"]


async def test_what_goes_wrong_is_one_line_and_its_exit_code(tmp_path: Path, capsys: Capture) -> None:
    async with asking(tmp_path, ended_call(MIDNIGHT, "s1")) as asked:
        assert await llmqd(asked, "show", "nobody") == FAILED
        assert capsys.readouterr().err == "llmqd: no session is named 'nobody'\n"
        assert await llmqd(asked, "list", "--cursor", "odd") == FAILED
        assert capsys.readouterr().err.startswith("llmqd: cursor: ")
        for words in (["list", "--since", "soon"], ["list", "--limit", "0"], ["list", "--min-cost", "x"], []):
            assert await llmqd(asked, *words) == USED_WRONGLY
        assert "neither a time (2026-12-01) nor how long ago" in capsys.readouterr().err


def test_a_branch_says_what_it_goes_on_from() -> None:
    def said(number: int, parent: int, text: str) -> dict[str, object]:
        parts = [{"kind": "text", "text": text}]
        at = {"timestamp": "2026-12-01T08:00:00.000Z", "message_sequence": number}
        return {"role": "user", "parts": parts, "id": str(number), "parent": str(parent), **at}

    lines = list(conversation([said(1, 0, "a"), said(2, 1, "b"), said(3, 1, "c"), said(4, 9, "d")]))
    heads = [line for line in lines if "2026" in line]
    assert [head.partition(":00:00")[2] for head in heads] == ["", "", "  (after 1)", "  (a branch)"]
