from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.store import histogram

durations = st.floats(min_value=1.0, max_value=6e8)
histograms = st.dictionaries(st.integers(0, 255), st.integers(1, 2**31), max_size=60)


@given(st.lists(durations, min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 0.99]))
def test_percentiles_are_within_five_percent_of_what_was_measured(measured: list[float], share: float) -> None:
    [found] = histogram.percentiles(Counter(histogram.bucket(ms) for ms in measured), [share])
    true = sorted(measured)[max(math.ceil(share * len(measured)), 1) - 1]
    assert found is not None
    assert abs(found - true) <= 0.05 * true


def test_nothing_measured_has_no_percentiles() -> None:
    assert histogram.percentiles({}, [0.5, 0.99]) == [None, None]


@given(histograms)
def test_packing_loses_nothing(counts: dict[int, int]) -> None:
    assert histogram.unpacked(histogram.packed(counts)) == counts
    assert len(histogram.packed(counts)) == 5 * len(counts)


@given(st.lists(histograms, max_size=5))
def test_adding_packed_histograms_adds_their_counts(parts: list[dict[int, int]]) -> None:
    packed = b""
    for part in parts:
        packed = histogram.added(packed, histogram.packed(part))
    expected: Counter[int] = Counter()
    for part in parts:
        expected.update(part)
    assert histogram.unpacked(packed) == {index: min(count, 2**32 - 1) for index, count in expected.items()}
    assert histogram.total(histogram.packed(part) for part in parts) == dict(expected)


@pytest.mark.parametrize("ms", [0.0, -5.0, math.nan, 1e300, math.inf])
def test_absurd_durations_have_a_bucket_too(ms: float) -> None:
    assert 0 <= histogram.bucket(ms) <= 255
