"""A daemon that is by itself, and what it costs it that it could be one of several."""

from __future__ import annotations

import subprocess
import sys


def test_a_daemon_by_itself_loads_no_client_of_redis_or_postgresql_and_nothing_that_sends_traces() -> None:
    unwanted = "{'asyncpg', 'redis', 'opentelemetry', 'requests'}"
    code = f"import sys, llmqd.daemon; print(sorted({unwanted} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert said.stdout == "[]\n"
