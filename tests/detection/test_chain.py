"""Nodes and marks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmqd.detection.chain import Kind, kind_of, mark, node_of, nodes_of, root, step
from llmqd.messages.digest import NOTHING

KEYS = st.lists(st.integers(0, 2**63 - 1) | st.just(NOTHING), max_size=8)


@given(st.integers(0, 2**63 - 1), KEYS)
def test_a_node_is_a_step_from_the_one_before(scope: int, keys: list[int]) -> None:
    node = root(scope)
    for expected, key in zip(nodes_of(node, keys), keys, strict=True):
        node = step(node, key)
        assert node == expected


@given(KEYS, st.sampled_from(list(Kind)))
def test_a_mark_fits_every_database_and_can_be_read_again(keys: list[int], kind: Kind) -> None:
    for node in nodes_of(root(7), keys):
        assert 0 <= mark(kind, node) < 2**63
        assert (kind_of(mark(kind, node)), node_of(mark(kind, node))) == (kind, node)


def test_what_says_nothing_is_no_step() -> None:
    assert nodes_of(5, [NOTHING, 7, NOTHING]) == [5, step(5, 7), step(5, 7)]


def test_the_order_counts() -> None:
    assert nodes_of(1, [2, 3])[-1] != nodes_of(1, [3, 2])[-1]


def test_a_kind_of_a_newer_version_is_none() -> None:
    assert kind_of(1 << 4 | 15) is None
