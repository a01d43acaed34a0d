from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from llmqd.store import packing
from llmqd.store.packing import Packing, Unpacking, dictionaries_of, dictionary_of


def sentences(count: int, seed: int = 1) -> list[bytes]:
    noise = random.Random(seed)
    words = [f"word{noise.randrange(10**6)}" for _ in range(300)]
    return [" ".join(noise.choices(words, k=40)).encode() for _ in range(count)]


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_whatever_is_packed_comes_back(contents: list[bytes]) -> None:
    pack, unpack = Packing({}).pack, Unpacking({}).unpack
    assert [unpack(pack(content)) for content in contents] == contents


def test_what_does_not_get_smaller_takes_one_byte_more() -> None:
    content = random.Random(1).randbytes(5000)
    assert len(Packing({}).pack(content)) == 5001
    assert len(Packing({}).pack(b"")) == 1


def test_a_dictionary_is_made_of_the_first_texts_and_makes_the_others_smaller() -> None:
    texts = sentences(2000)
    pack = Packing({})
    assert pack.fresh() is None
    for text in texts[:600]:
        pack.pack(text)
    before = sum(len(pack.pack(text)) for text in texts[1000:])
    made = pack.fresh()
    assert made is not None
    assert pack.fresh() is None
    packed = [pack.pack(text) for text in texts[1000:]]
    assert sum(map(len, packed)) < before * 0.9
    assert {dictionary_of(one) for one in packed} == {made[0]}
    assert [Unpacking(dict([made])).unpack(one) for one in packed] == texts[1000:]
    again = Packing(dict([made])).pack(texts[0])
    assert Unpacking(dict([made])).unpack(again) == texts[0]


def test_a_dictionary_is_renewed_and_old_texts_stay_readable() -> None:
    made: dict[int, bytes] = {}
    pack = Packing({})
    packed: list[bytes] = []
    for seed in (1, 2):
        texts = sentences(600, seed)
        pack._packed = packing.RENEWED_AFTER
        for text in texts:
            packed.append(pack.pack(text))
        new = pack.fresh()
        assert new is not None
        made |= [new]
        packed += [pack.pack(text) for text in texts]
    assert list(made) == [1, 2]
    assert dictionaries_of(packed) == [1, 2]
    assert None not in [Unpacking(made).unpack(one) for one in packed]


def test_samples_that_teach_nothing_make_no_dictionary() -> None:
    pack = Packing({})
    for _ in range(600):
        pack.pack(b"")
    assert pack.fresh() is None
    assert pack.fresh() is None


def test_what_is_damaged_or_lacks_its_dictionary_is_none() -> None:
    unpack = Unpacking({}).unpack
    assert [unpack(packed) for packed in (b"", b"\1junk", b"\2\0\0\0\5junk", b"\7x")] == [None] * 4
