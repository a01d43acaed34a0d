import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.config.quantities import (
    LARGEST,
    LONGEST,
    format_duration,
    format_size,
    parse_duration,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("10s", 10.0),
        ("5m", 300.0),
        ("1h", 3600.0),
        ("90d", 7776000.0),
        ("1.5h", 5400.0),
        ("1h30m", 5400.0),
        ("2s81ms", 2.081),
        ("0s", 0.0),
        ("0.1s", 0.1),
    ],
)
def test_durations_are_read_in_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "10", "s", "10 s", "-5s", "5 parsecs", "1e3s", "10S", "٣s", "10s ", ".5s", "5.s", "36501d", "9" * 400 + "d"],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a duration|longer than"):
        parse_duration(text)


@given(st.integers(min_value=0, max_value=int(LONGEST * 1000)))
def test_every_duration_in_milliseconds_survives_being_written_and_read(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.text(max_size=20))
def test_any_text_is_a_duration_within_bounds_or_a_value_error(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except ValueError:
        return
    assert 0 <= seconds <= LONGEST


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(600.0, "10m"), (90.0, "90s"), (0.2, "200ms"), (86400.0, "1d"), (0.0, "0s"), (0.0005, "0.0005s")],
)
def test_durations_are_written_with_the_largest_unit_that_is_exact(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("64MiB", 64 * 1024**2),
        ("1GiB", 1024**3),
        ("64KiB", 65536),
        ("1.5KiB", 1536),
        ("1KB", 1000),
        ("1kB", 1000),
        ("5MB", 5_000_000),
        ("2GB", 2 * 10**9),
        ("12B", 12),
        ("16 MiB", 16 * 1024**2),
    ],
)
def test_sizes_are_read_in_bytes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "64", "MiB", "-1MiB", "64 megabytes", "1.5B", "64mib", "9999999999999GiB", "1TiB"]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a|larger than"):
        parse_size(text)


@given(st.integers(min_value=0, max_value=LARGEST))
def test_every_size_survives_being_written_and_read(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(st.text(max_size=20))
def test_any_text_is_a_size_within_bounds_or_a_value_error(text: str) -> None:
    try:
        size = parse_size(text)
    except ValueError:
        return
    assert 0 <= size <= LARGEST
