"""Histograms of durations in a few bytes: they can be added up, and give percentiles within four percent."""

from __future__ import annotations

import math
import struct
from bisect import bisect_left
from collections.abc import Iterable, Mapping

_ACCURACY = 0.04
"""Largest relative error of a percentile."""
_RATIO = (1 + _ACCURACY) / (1 - _ACCURACY)
"""Between the ends of a bucket, so that its middle is within the accuracy of all of it (as in DDSketch, VLDB 2019)."""
_LOG_RATIO = math.log(_RATIO)
_LAST = 255
"""The highest bucket that one byte can name: what takes more than a week."""
_MOST = 2**32 - 1
_COUNT = struct.Struct("<I")

Histogram = dict[int, int]
"""How many durations fall into each bucket."""


def bucket(ms: float) -> int:
    """The bucket of a duration in milliseconds. Bucket 0 holds all up to one millisecond."""
    if not ms > 1.0:
        return 0
    return min(math.ceil(math.log(ms) / _LOG_RATIO), _LAST) if ms < math.inf else _LAST


def middle(index: int) -> float:
    """The duration in milliseconds that stands for all in a bucket."""
    return 2 * _RATIO**index / (_RATIO + 1)


def packed(histogram: Mapping[int, int]) -> bytes:
    """The histogram as bytes: one for each bucket in use, then four (little-endian) for each of their counts."""
    used = sorted(histogram)
    return bytes(used) + struct.pack(f"<{len(used)}I", *[min(histogram[index], _MOST) for index in used])


def unpacked(data: bytes) -> Histogram:
    """The inverse of `packed`."""
    used = len(data) // 5
    return dict(zip(data[:used], struct.unpack_from(f"<{used}I", data, used), strict=True))


def added(one: bytes, other: bytes) -> bytes:
    """The sum of two packed histograms; SQLite calls this too, a few times for each record.

    Only the buckets of the smaller one are touched: mostly that is a single call, and the other an hour of them.
    """
    if len(one) < len(other):
        one, other = other, one
    if not other:
        return one
    sums, used = bytearray(one), len(one) // 5
    for index, count in unpacked(other).items():
        place = bisect_left(sums, index, 0, used)
        if place < used and sums[place] == index:
            at = used + 4 * place
            _COUNT.pack_into(sums, at, min(_COUNT.unpack_from(sums, at)[0] + count, _MOST))
        else:
            at = used + 4 * place
            sums[at:at] = _COUNT.pack(count)
            sums.insert(place, index)
            used += 1
    return bytes(sums)


def total(histograms: Iterable[bytes]) -> Histogram:
    """The sum of packed histograms."""
    summed: Histogram = {}
    for data in histograms:
        for index, count in unpacked(data).items():
            summed[index] = summed.get(index, 0) + count
    return summed


def percentiles(histogram: Mapping[int, int], shares: Iterable[float]) -> list[float | None]:
    """For each share (0 to 1) the milliseconds that so many durations do not exceed; None where there are none."""
    count = sum(histogram.values())
    wanted = list(shares)
    if not count:
        return [None] * len(wanted)
    found: list[float | None] = []
    buckets = sorted(histogram)
    for share in wanted:
        rank, seen, at = max(math.ceil(share * count), 1), 0, buckets[-1]
        for index in buckets:
            seen += histogram[index]
            if seen >= rank:
                at = index
                break
        found.append(middle(at))
    return found
