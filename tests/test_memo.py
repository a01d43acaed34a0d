from __future__ import annotations

from llmqd.memo import Memo


def test_what_is_kept_is_known_until_it_is_full_and_then_begins_anew() -> None:
    memo: Memo[str, int] = Memo(2)
    assert (memo.keep("a", 1), memo.keep("b", 2)) == (1, 2)
    assert memo == {"a": 1, "b": 2}
    assert memo.keep("c", 3) == 3
    assert memo == {"c": 3}
