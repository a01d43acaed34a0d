"""The book: what may go, what is set aside, what the ledger tells of the past."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from llmqd.budgets.book import Book, Need, Refused, Values
from llmqd.budgets.charge import NOTHING, Amount
from llmqd.budgets.meter import Meter
from llmqd.budgets.periods import window
from llmqd.config.budgets import Budget, parse_allowance
from llmqd.store.position import BEGINNING, Position

NOW = 1_790_000_000.0
DAY = 86_400.0


def budget(limit: str, **more: object) -> Budget:
    return Budget(limit=parse_allowance(limit), **more)  # type: ignore[arg-type]


def values(key: str | None = None, user: str | None = None, session: str | None = None) -> Values:
    return "", key, user, None, session


ANY = values()


def tokens(likely: int, most: int | None = None, *, of: Values = ANY, at: float = NOW) -> Need:
    return Need(of, at, Amount(1, likely, 0), Amount(1, likely if most is None else most, 0))


def spend(book: Book, amount: int, *, of: Values = ANY, at: float = NOW, position: int = 1) -> None:
    book.settle(of, at, Amount(1, amount, 0), Position(1, position))


def gone(book: Book, need: Need, call_id: str = "a") -> bool:
    """Whether the call may go; then it runs."""
    decision = book.decide(need)
    if isinstance(decision, list):
        book.hold(call_id, need, decision)
        return True
    return False


def test_a_call_is_refused_once_its_likely_need_is_not_left() -> None:
    book = Book([budget("100 tokens/day")])
    spend(book, 80)
    refused = book.decide(tokens(21))
    assert isinstance(refused, Refused)
    assert (refused.meter.spent, refused.needs, refused.meter.state) == (80, 21, "low")
    assert gone(book, tokens(20))


def test_a_used_up_budget_lets_nobody_through_even_who_needs_nothing() -> None:
    book = Book([budget("100 tokens/day")])
    spend(book, 100)
    assert isinstance(book.decide(tokens(0)), Refused)


def test_a_call_waits_while_those_that_run_could_take_the_rest() -> None:
    book = Book([budget("100 tokens/day")])
    assert gone(book, tokens(10, 90), "a")
    assert isinstance(book.decide(tokens(11)), Meter)
    assert gone(book, tokens(10), "b")
    book.release("a")
    assert gone(book, tokens(11), "c")


def test_every_budget_must_have_enough_left() -> None:
    book = Book([budget("100 tokens/day"), budget("30 tokens/day", by="user", names=("a*",))])
    spend(book, 30, of=values(user="ann"))
    assert isinstance(book.decide(tokens(1, of=values(user="ann"))), Refused)
    assert gone(book, tokens(1, of=values(user="abe")), "x")
    assert gone(book, tokens(40, of=values(user="bob")), "y")
    assert gone(book, tokens(20), "z")


def test_a_call_without_the_name_is_not_counted() -> None:
    book = Book([budget("1 calls/day", by="session")])
    for _ in range(3):
        assert gone(book, tokens(5))
        spend(book, 5)
    assert book.present(NOW) == []


def test_a_new_period_begins_anew_and_calls_of_the_old_one_do_not_count_in_it() -> None:
    book = Book([budget("100 tokens/day")])
    end = window("day", "UTC", NOW).end
    assert gone(book, tokens(100), "old")
    late = tokens(100, at=end)
    assert gone(book, late, "new")
    spend(book, 100, at=NOW)
    book.release("old")
    [meter] = book.present(end)
    assert (meter.spent, meter.likely, meter.most) == (0, 100, 100)
    spend(book, 60, at=end + 1)
    book.release("new")
    assert (meter.spent, meter.likely) == (60, 0)


def test_a_clock_that_was_set_back_makes_the_past_unknown() -> None:
    book = Book([budget("100 tokens/day")])
    book.unknown.clear()
    spend(book, 100)
    assert gone(book, tokens(1, at=NOW - 3 * DAY))
    assert book.unknown


def test_calls_that_seem_a_little_early_count_where_the_others_do() -> None:
    book = Book([budget("100 tokens/day")])
    start = window("day", "UTC", NOW).start
    spend(book, 100, at=start + 1)
    assert isinstance(book.decide(tokens(1, at=start - 1)), Refused)


def test_prices_that_nobody_knows() -> None:
    need = tokens(5)._replace(priced=False)
    strict, lenient = Book([budget("1/day")]), Book([budget("1/day", unpriced="allow")])
    refused = strict.decide(need)
    assert isinstance(refused, Refused)
    assert refused.unpriced
    assert gone(lenient, need)
    lenient.settle(values(), NOW, Amount(1, 5, 10**12), BEGINNING)
    assert not gone(lenient, need)
    assert gone(Book([budget("10 tokens/day")]), need)


def test_other_terms_take_over_what_was_spent_and_what_is_set_aside() -> None:
    old = budget("100 tokens/day", by="user")
    book = Book([old])
    book.unknown.clear()
    ann = values(user="ann")
    spend(book, 90, of=ann)
    assert gone(book, tokens(10, of=ann), "a")
    book.replace([replace(old, limit=parse_allowance("150 tokens/day"), demote_to="low")])
    assert not book.unknown
    [meter] = book.present(NOW)
    assert (meter.spent, meter.likely, meter.limit) == (90, 10, 150)
    book.release("a")
    assert meter.likely == 0
    book.replace([replace(old, zone="Europe/Berlin")])
    assert book.unknown == {replace(old, zone="Europe/Berlin")}


def test_budgets_of_keys_are_for_these_keys_alone() -> None:
    book = Book([])
    app = budget("1 calls/day", by="key", names=("app",))
    assert book.set_key("app", (app,))
    assert not book.set_key("app", (app,))
    spend(book, 1, of=values(key="app"))
    assert isinstance(book.decide(tokens(1, of=values(key="app"))), Refused)
    assert gone(book, tokens(1, of=values(key="other")))
    book.set_keys({})
    assert gone(book, tokens(1, of=values(key="app")))


def test_no_more_are_kept_in_mind_than_the_setting_says_but_for_those_who_run() -> None:
    book = Book([budget("100 tokens/day", by="session", max_tracked=3)])
    assert gone(book, tokens(5, of=values(session="runs")), "r")
    for number in range(10):
        spend(book, 7, of=values(session=f"s{number}"))
    assert {meter.value for meter in book.present(NOW)} == {"runs", "s8", "s9"}


calls = st.lists(
    st.tuples(
        st.integers(0, 30),  # likely
        st.integers(0, 60),  # how much more it takes at most
        st.floats(0, 1),  # where between nothing and that it ends
        st.integers(0, 5),  # how many others begin before it ends
    ),
    max_size=60,
)


@given(calls, st.integers(1, 300))
def test_calls_at_once_overshoot_by_no_more_than_the_error_of_one(
    planned: list[tuple[int, int, float, int]], limit: int
) -> None:
    book = Book([budget(f"{limit} tokens/day")])
    waiting = [(str(number), *one) for number, one in enumerate(planned)]
    running: list[tuple[int, str, int]] = []
    spent = error = 0
    while waiting or running:
        decision: object = None
        if waiting:
            call_id, likely, more, share, others = waiting[0]
            need = tokens(likely, likely + more)
            decision = book.decide(need)
            if isinstance(decision, list):
                book.hold(call_id, need, decision)
                real = round((likely + more) * share)
                running.append((others, call_id, real))
                error = max(error, real - likely)
            if not isinstance(decision, Meter):
                waiting.pop(0)
        running = [(others - 1, call_id, real) for others, call_id, real in running]
        assert running or not isinstance(decision, Meter), "nobody runs, and yet one waits"
        for ended in [one for one in running if one[0] < 0 or isinstance(decision, Meter) or not waiting][:1]:
            running.remove(ended)
            spent += ended[2]
            spend(book, ended[2])
            book.release(ended[1])
    assert spent <= limit + error
    assert all((meter.likely, meter.most, meter.spent) == (0, 0, spent) for meter in book.present(NOW))


@given(st.lists(st.tuples(st.sampled_from(["ann", "bob", None]), st.integers(0, 50)), max_size=40), st.data())
def test_nothing_counts_twice_and_nothing_is_left_out_whenever_the_ledger_answers(
    ended: list[tuple[str | None, int]], data: st.DataObject
) -> None:
    """The journal is one list; the ledger answers with all before some place in it, at some later moment."""
    before = data.draw(st.integers(0, len(ended)), label="of an earlier run")
    seen = data.draw(st.integers(before, len(ended)), label="in the ledger")
    answered = data.draw(st.integers(seen, len(ended)), label="when it answers")
    rule = budget("1000000 tokens/day", by="user")
    book = Book([rule])
    book.listen()
    for number, (user, amount) in enumerate(ended[before:answered], before + 1):
        spend(book, amount, of=values(user=user), position=number)
    sums: dict[str, Amount] = {}
    for user, amount in ended[:seen]:
        if user is not None:
            sums[user] = sums.get(user, NOTHING).plus(Amount(1, amount, 0))
    book.recalled(rule, window("day", "UTC", NOW), sums.items(), Position(1, seen))
    book.listened()
    for number, (user, amount) in enumerate(ended[answered:], answered + 1):
        spend(book, amount, of=values(user=user), position=number)
    for meter in book.present(NOW):
        assert meter.spent == sum(amount for user, amount in ended if user == meter.value)
    assert {meter.value for meter in book.present(NOW)} == {user for user, _ in ended if user is not None}


def test_what_was_recalled_is_of_its_own_period_alone() -> None:
    rule = budget("100 tokens/day")
    book = Book([rule])
    today, tomorrow = window("day", "UTC", NOW), window("day", "UTC", NOW + DAY)
    assert gone(book, tokens(1, at=tomorrow.start))
    book.recalled(rule, today, [("", Amount(9, 99, 0))], Position(1, 1))
    [meter] = book.present(tomorrow.start)
    assert meter.spent == 0
