"""The faults of a cluster for a few seconds each; `make test-cluster-faults` has them in full, by a strict clock."""

from __future__ import annotations

import subprocess
import sys

import pytest

FAULTS = (
    "kill -9 of the lane's owner",
    "SIGSTOP of the lane's owner",
    "Redis killed, back empty",
    "network to Redis cut for one",
    "PostgreSQL killed",
)
"""That of a network needs root; `tests/cluster/test_faults.py` cuts a daemon off without it."""


@pytest.mark.usefixtures("redis", "postgres")
@pytest.mark.timeout(400)
def test_no_call_fails_is_refused_or_lost_or_sent_twice_whatever_part_of_a_cluster_does() -> None:
    command = [sys.executable, "-m", "bench.cluster_faults", "--part", "0", "--least", "4", "--load", "10"]
    command += ["--patient", "--kind", "bucket of 10", "--only", *FAULTS]  # nobody is judged by how busy a machine is
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "were answered: 0 were sent twice" in done.stdout
