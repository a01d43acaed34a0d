"""The faults of a cluster for a few seconds each; `make test-cluster-faults` has them in full, by a strict clock."""

from __future__ import annotations

import subprocess
import sys

import pytest

ONLY = ("kill -9 of the lane's owner", "SIGSTOP of the lane's owner", "network*", "PostgreSQL*")
"""Without Redis, and cut off from it without a network of its own: `tests/cluster/test_faults.py`."""


@pytest.mark.usefixtures("redis", "postgres")
@pytest.mark.timeout(300)
def test_no_call_fails_or_is_lost_whatever_part_of_a_cluster_does() -> None:
    command = [sys.executable, "-m", "bench.cluster_faults", "--part", "0", "--least", "4", "--load", "10"]
    command += ["--patient", "--kind", "sliding", "--only", *ONLY]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 were sent twice" in done.stdout
