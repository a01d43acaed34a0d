from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmqd.store.lines import line, parse

payloads = st.lists(st.binary(max_size=40).map(lambda data: data.replace(b"\n", b" ")), min_size=1, max_size=8)


def read(data: bytes, *, final: bool = True) -> list[bytes]:
    return [payload for payload, _ in parse(data, 0, final=final, max_entries=100).entries]


@given(payloads)
def test_what_was_written_is_read_with_the_offsets_behind_each_line(entries: list[bytes]) -> None:
    parsed = parse(b"".join(map(line, entries)), 1000, final=True, max_entries=100)
    assert [payload for payload, _ in parsed.entries] == entries
    assert [at for _, at in parsed.entries] == [
        1000 + sum(len(p) + 10 for p in entries[: n + 1]) for n in range(len(entries))
    ]
    assert parsed.end == parsed.entries[-1][1]
    assert parsed.bad == []


@given(payloads, st.data())
def test_a_damaged_byte_costs_its_own_line_or_the_two_it_joins(entries: list[bytes], data: st.DataObject) -> None:
    lines = [line(entry) for entry in entries]
    raw = bytearray(b"".join(lines))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    hit, start = 0, 0
    while at >= start + len(lines[hit]):
        start += len(lines[hit])
        hit += 1
    joined = at == start + len(lines[hit]) - 1
    parsed = parse(bytes(raw), 0, final=True, max_entries=100)
    assert [payload for payload, _ in parsed.entries] == entries[:hit] + entries[hit + 1 + joined :]
    assert b"".join(parsed.bad) == bytes(raw)[start : start + sum(map(len, lines[hit : hit + 1 + joined]))]
    assert parsed.end == len(raw)


def test_a_piece_of_a_line_waits_for_its_rest() -> None:
    whole = line(b"one") + line(b"two")
    for cut in range(len(line(b"one")), len(whole)):
        parsed = parse(whole[:cut], 0, final=False, max_entries=100)
        assert parsed.end == len(line(b"one"))
        assert parsed.bad == []


def test_a_cut_line_at_the_very_end_is_bad() -> None:
    whole = line(b"one") + line(b"two")
    parsed = parse(whole[:-1], 0, final=True, max_entries=100)
    assert parsed.bad == [line(b"two")[:-1]]
    assert parsed.end == len(whole) - 1


def test_reading_stops_after_max_entries() -> None:
    parsed = parse(line(b"one") + line(b"two"), 0, final=True, max_entries=1)
    assert [payload for payload, _ in parsed.entries] == [b"one"]
    assert parsed.end == len(line(b"one"))


def test_zeros_left_by_a_power_cut_are_one_bad_line() -> None:
    assert read(line(b"one") + bytes(4096)) == [b"one"]
