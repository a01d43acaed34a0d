"""Quantiles, lateness and the verdict over all."""

from __future__ import annotations

import pytest

from bench.queue.__main__ import conclude
from bench.queue.figures import Figures
from bench.queue.measures import Measure, milliseconds, quantile
from bench.queue.noise import listening, percentile


def test_a_quantile_is_a_value_that_was_measured() -> None:
    values = [5.0, 1.0, 3.0, 2.0, 4.0]
    assert [quantile(values, part) for part in (0.0, 0.5, 0.99, 1.0)] == [1.0, 3.0, 5.0, 5.0]
    assert milliseconds(values) == "p50 3.00, p99 5.00, max 5.00 ms"
    with pytest.raises(ValueError, match="no values"):
        quantile([], 0.5)


def test_lateness_is_counted_in_tenths_of_a_millisecond() -> None:
    counts = [90, 9, 0, 1]
    assert percentile(counts, 0.5) == 0.0
    assert percentile(counts, 0.99) == pytest.approx(0.1)
    assert percentile(counts, 1.0) == pytest.approx(0.3)


async def test_the_noise_of_the_machine_is_known_when_the_listening_ends() -> None:
    async with listening() as noise:
        assert noise.most == 0.0
    assert 0.0 <= noise.p50 <= noise.p99 <= noise.most + 0.1
    assert 0.0 <= noise.busy <= 1.0


@pytest.mark.parametrize(
    ("verdict", "met", "all_met"), [("met", True, True), ("missed", True, False), ("met", False, False)]
)
def test_one_miss_decides_over_all(verdict: str, met: bool, all_met: bool, capsys: pytest.CaptureFixture[str]) -> None:
    figures = [Figures(name="row", verdict=verdict, target="")]
    assert conclude(figures, [Measure("figure", "1", "1", met), Measure("untargeted", "1")]) is all_met
    told = capsys.readouterr().out
    assert "all 2 targets met" in told if all_met else "1 of 2 targets missed" in told


def test_nothing_played_is_no_success() -> None:
    assert not conclude([], [])
