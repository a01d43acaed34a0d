"""A daemon that is by itself, and what it costs it that it could be one of several."""

from __future__ import annotations

import subprocess
import sys


def test_a_daemon_by_itself_loads_neither_the_client_of_redis_nor_what_sends_traces() -> None:
    code = "import sys, llmqd.daemon; print(sorted({'redis', 'opentelemetry', 'requests'} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert said.stdout == "[]\n"
