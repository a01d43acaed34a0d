"""Long and slow streams come through whole, in real time."""

from __future__ import annotations

import subprocess

import pytest


@pytest.mark.background
@pytest.mark.timeout(1000)
def test_a_ten_minute_stream_with_minutes_of_silence_and_a_byte_a_second(
    long_stream: subprocess.Popen[str] | None,
) -> None:
    assert long_stream is not None
    output, _ = long_stream.communicate(timeout=15 * 60)
    assert long_stream.returncode == 0, output
    assert "came through whole" in output
