"""Every fault once, for a short time, under a load that any machine carries; `make test-faults` has the rest."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOAD = "30"


@pytest.mark.timeout(600)
def test_every_fault_heals_and_nothing_is_lost() -> None:
    command = [sys.executable, "-m", "tests.faults", "--load", LOAD]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kill -9" in done.stdout
