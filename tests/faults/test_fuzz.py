"""Broken bytes from clients and from the upstream, for ten seconds: no crash, no hang, no fault of llmqd's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.fuzz import fuzz


@pytest.mark.timeout(120)
async def test_no_bytes_break_the_daemon(tmp_path: Path) -> None:
    done = await fuzz(tmp_path, minutes=1 / 6, seed=7)
    assert not done.wrong, "\n".join(done.wrong)
    assert done.answered > 100
