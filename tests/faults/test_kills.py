"""kill -9 a few times under the load of the fault suite; `make test-kills` does it 200 times."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.kills import kill_again_and_again


@pytest.mark.timeout(120)
async def test_no_kill_loses_doubles_or_overspends(tmp_path: Path) -> None:
    killed = await kill_again_and_again(tmp_path, kills=4, rate=100, seed=3)
    assert not killed.wrong, f"{killed}\n" + "\n".join(killed.wrong)
    assert killed.delivered > 50
    assert killed.spent > 50
