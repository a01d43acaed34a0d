"""Every fault once, for a short time, under the whole load: nothing fails but what the fault makes impossible."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.timeout(280)
def test_every_fault_heals_and_nothing_is_lost() -> None:
    done = subprocess.run([sys.executable, "-m", "tests.faults"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kill -9" in done.stdout
