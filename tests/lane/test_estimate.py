"""Guesses of tokens: from bytes alone at first, then from what each model has used."""

from __future__ import annotations

import base64
import mmap
import random
import tempfile

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.lane.estimate import BodySize, Estimator, measure
from llmqd.usage import Sample, Usage

PICTURE = base64.b64encode(bytes(range(256)) * 40)


def used(input_tokens: int, output: int = 100, cached: int = 0) -> Usage:
    return Usage(input=input_tokens, output=output, cached=cached, source="exact")


@pytest.mark.parametrize(
    "body",
    [
        b'{"url": "data:image/png;base64,%s"}' % PICTURE,
        b'{"type":"base64","data":"%s"}' % PICTURE,
        b'{"inlineData": {"mimeType": "image/png", "data": "%s"}}' % PICTURE,
        b'{"data": "data:image/png;base64,%s"}' % PICTURE,
    ],
)
def test_a_picture_is_counted_apart_from_the_text(body: bytes) -> None:
    assert measure(body) == BodySize(len(body) - len(PICTURE), 1)


def test_several_pictures_are_counted_each() -> None:
    body = orjson.dumps({"parts": [{"data": PICTURE.decode()}, {"url": f"data:a/b;base64,{PICTURE.decode()}"}] * 3})
    assert measure(body) == BodySize(len(body) - 6 * len(PICTURE), 6)


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b'{"data":"short"}', b'{"data":"%s"}' % (b"plain words, " * 100), b'{"data":"' + b"A" * 5000],
    ids=["empty", "no fields", "short", "text", "cut"],
)
def test_what_is_no_picture_is_text(body: bytes) -> None:
    assert measure(body) == BodySize(len(body), 0)


def test_a_mapped_body_is_measured_as_well() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b'{"data":"%s"}' % PICTURE)
        file.flush()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            assert measure(mapped) == BodySize(11, 1)


@given(st.binary(max_size=3000))
def test_any_bytes_can_be_measured(body: bytes) -> None:
    size = measure(body)
    assert 0 <= size.text <= len(body)


def test_nothing_known_means_four_bytes_a_token_and_a_margin() -> None:
    ask = Estimator().ask("m", BodySize(4000))
    assert ask.expected_input == 1000
    assert 1000 < ask.input_tokens <= 1500
    assert ask.least_input == 400
    assert ask.output_tokens == 500


def test_input_is_learned_for_each_model() -> None:
    estimator = Estimator()
    for _ in range(30):
        for model, tokens in (("dense", 2000), ("light", 800)):
            ask = estimator.ask(model, BodySize(4000))
            estimator.learn(ask, BodySize(4000), used(tokens))
    assert estimator.ask("dense", BodySize(8000)).expected_input == pytest.approx(4000, rel=0.02)
    assert estimator.ask("light", BodySize(8000)).expected_input == pytest.approx(1600, rel=0.02)


def test_a_new_model_is_taken_to_be_like_the_others() -> None:
    estimator = Estimator()
    for _ in range(30):
        estimator.learn(estimator.ask("a", BodySize(4000)), BodySize(4000), used(2000, 70))
    fresh = estimator.ask("b", BodySize(4000))
    assert fresh.expected_input == pytest.approx(2000, rel=0.02)
    assert fresh.output_tokens == pytest.approx(70)


def test_pictures_have_tokens_of_their_own_and_do_not_spoil_what_text_has_taught() -> None:
    estimator = Estimator()
    assert estimator.ask("m", BodySize(4000, 2)).expected_input == 1000 + 2 * 1500
    before = estimator.ask("m", BodySize(4000)).expected_input
    for _ in range(20):
        estimator.learn(estimator.ask("m", BodySize(4000, 3)), BodySize(4000, 3), used(90_000))
    assert estimator.ask("m", BodySize(4000)).expected_input == before


def test_cached_input_is_left_out_where_it_does_not_count() -> None:
    estimator = Estimator()
    for _ in range(60):
        ask = estimator.ask("m", BodySize(40_000))
        estimator.learn(ask, BodySize(40_000), used(10_000, cached=9000), count_cached=False)
    assert estimator.ask("m", BodySize(40_000)).expected_input == pytest.approx(1000, rel=0.1)


@pytest.mark.parametrize("source", ["estimated", "unknown"])
def test_only_exact_figures_teach(source: str) -> None:
    estimator = Estimator()
    usage = used(9000)
    usage.source = source  # type: ignore[assignment]
    estimator.learn(estimator.ask("m", BodySize(4000)), BodySize(4000), usage)
    assert estimator.error().calls == 0
    assert estimator.ask("m", BodySize(4000)).expected_input == 1000


def test_typical_output_alone_is_passed_by_one_call_in_ten() -> None:
    chance, estimator, passed = random.Random(1), Estimator(), 0
    for number in range(2000):
        ask = estimator.ask("m", BodySize(4000))
        output = chance.randint(100, 2000)
        estimator.learn(ask, BodySize(4000), used(1000, output))
        passed += output > ask.output_tokens and number >= 100
    assert 0.05 < passed / 1900 < 0.17
    assert estimator.error().output_ratio > 1


def test_typical_output_of_many_calls_together_is_seldom_passed_and_near_their_sum() -> None:
    chance, estimator = random.Random(1), Estimator()
    for _ in range(200):
        estimator.learn(estimator.ask("m", BodySize(10)), BodySize(10), used(1, chance.randint(100, 2000)))
    reserved = sum(estimator.ask("m", BodySize(10), in_flight=number).output_tokens for number in range(25))
    sums = [sum(chance.randint(100, 2000) for _ in range(25)) for _ in range(500)]
    assert sum(one > reserved for one in sums) / 500 < 0.02
    assert reserved < 1.5 * sum(sums) / 500


def test_what_the_request_allows_bounds_the_output_of_all_its_answers() -> None:
    ask = Estimator().ask("m", BodySize(10), max_tokens=16, choices=3)
    assert (ask.max_tokens, ask.output_tokens) == (48, 48)
    assert Estimator().ask("m", BodySize(10), choices=3).output_tokens == 1500


def test_what_is_certain_of_the_input_stays_below_what_is_expected() -> None:
    estimator = Estimator()
    for _ in range(20):
        estimator.learn(estimator.ask("m", BodySize(4000)), BodySize(4000), used(40))
    ask = estimator.ask("m", BodySize(4000))
    assert 0 < ask.least_input <= ask.expected_input


def test_guesses_are_judged() -> None:
    estimator = Estimator()
    for _ in range(3):
        estimator.learn(estimator.ask("m", BodySize(4000)), BodySize(0), used(500, 1000))
    error = estimator.error()
    assert error.calls == 3
    assert error.input_error == error.input_bias == pytest.approx(1.0)
    assert 0 < error.output_short <= 1
    assert error.output_ratio <= 1


def test_the_guess_of_mixed_calls_is_within_five_percent_on_average() -> None:
    chance, estimator = random.Random(7), Estimator()
    for _ in range(500):
        size = BodySize(chance.randint(1000, 40_000))
        estimator.learn(estimator.ask("m", size), size, used(int(size.text / chance.uniform(3.3, 3.9))))
    assert estimator.error().input_error < 0.06
    assert abs(estimator.error().input_bias) < 0.03


def test_the_least_recently_used_models_are_forgotten() -> None:
    estimator = Estimator(models=3)
    for model in ("a", "b", "c", "a", "d"):
        ask = estimator.ask(model, BodySize(4000))
        for _ in range(40):
            estimator.learn(ask, BodySize(4000), used(4000 if model == "a" else 400))
    assert list(estimator._profiles) == ["c", "a", "d"]
    assert estimator.ask("a", BodySize(4000)).expected_input == pytest.approx(4000, rel=0.05)


def samples(model: str, tokens_per_byte: float, count: int = 50, media: int = 0) -> list[Sample]:
    return [Sample("up", model, 4000, media, used(int(4000 * tokens_per_byte), 50, cached=100)) for _ in range(count)]


def test_earlier_calls_make_the_first_guess_a_good_one() -> None:
    estimator = Estimator()
    estimator.seed([*samples("dense", 0.5), *samples("sparse", 0.15)])
    for model, tokens in (("dense", 2000), ("sparse", 600)):
        ask = estimator.ask(model, BodySize(4000))
        assert ask.expected_input == pytest.approx(tokens, rel=0.1)
        assert ask.input_tokens == pytest.approx(tokens, rel=0.5)
        assert ask.output_tokens == 50
    assert estimator.error().calls == 100


def test_a_model_of_which_something_is_known_is_not_told_its_past() -> None:
    estimator = Estimator()
    estimator.learn(estimator.ask("m", BodySize(4000)), BodySize(4000), used(1000))
    before = estimator.ask("m", BodySize(4000)).expected_input
    estimator.seed(samples("m", 0.9))
    assert estimator.ask("m", BodySize(4000)).expected_input == before
    estimator.seed(samples("other", 0.9))
    estimator.seed(samples("other", 0.1))
    assert estimator.ask("other", BodySize(4000)).expected_input == pytest.approx(3600, rel=0.1)


def test_earlier_calls_with_pictures_say_nothing_of_the_text() -> None:
    estimator = Estimator()
    estimator.seed(samples("m", 0.9, media=1))
    assert estimator.ask("m", BodySize(4000)).expected_input == 1000


def test_earlier_input_from_the_cache_counts_as_the_limits_say() -> None:
    estimator = Estimator()
    estimator.seed(samples("m", 0.1), count_cached=False)
    assert estimator.ask("m", BodySize(4000)).expected_input == pytest.approx(300, rel=0.1)
