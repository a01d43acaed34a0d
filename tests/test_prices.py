"""Costs are exact, come apart into kinds, and are unknown rather than zero where a price is not known."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

import genai_prices
import pytest
from genai_prices.data_snapshot import get_snapshot
from hypothesis import given
from hypothesis import strategies as st

from llmqd.prices import Prices
from llmqd.usage import Cost, Usage

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()
LISTED = Prices([])


@dataclass
class Own:
    model: str
    input: Decimal | None = None
    output: Decimal | None = None
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None


def cost(
    usage: Usage,
    model: str | None = "claude-3-5-sonnet-20241022",
    provider: str | None = "anthropic",
    *,
    prices: Prices = LISTED,
    at: float = NOW,
) -> Cost | None:
    usage.source = "exact" if usage.source == "unknown" else usage.source
    return prices.cost(usage, model=model, provider=provider, at=at)


def total(
    usage: Usage, model: str | None, provider: str | None, *, at: float = NOW, prices: Prices = LISTED
) -> Decimal:
    found = cost(usage, model, provider, at=at, prices=prices)
    assert found is not None
    assert found.total == sum(part or 0 for part in (found.input, found.output, found.cache_read, found.cache_write))
    return Decimal(found.total).scaleb(-12)


# 1,000 fresh input tokens, 500 output, 2,000 written to and 3,000 read from the cache.
MIXED = Usage(6000, 500, cached=3000, cache_write_5m=2000)


def test_parts_of_a_cost() -> None:
    assert cost(Usage(15, 87)) == Cost(1_350_000_000, 45_000_000, 1_305_000_000, 0, 0)
    assert cost(MIXED) == Cost(18_900_000_000, 3_000_000_000, 7_500_000_000, 900_000_000, 7_500_000_000)


@pytest.mark.parametrize(
    ("model", "dollars"),
    [
        ("claude-3-5-sonnet-20241022", "0.018900"),
        ("claude-3-5-haiku-20241022", "0.005040"),
        ("claude-3-opus-20240229", "0.094500"),
        ("claude-3-haiku-20240307", "0.001565"),
        ("CLAUDE-3-5-Sonnet-20241022", "0.018900"),
    ],
)
def test_listed_prices_of_the_same_usage(model: str, dollars: str) -> None:
    assert total(MIXED, model, "anthropic") == Decimal(dollars)


@pytest.mark.parametrize(
    ("price", "dollars"),
    [
        (Own("*-haiku-*", *map(Decimal, ("1", "5", "0.10", "1.25"))), "0.006300"),
        (Own("CLAUDE-3-HAIKU-20240307", *map(Decimal, ("0.25", "1.25", "0.025", "0.3125"))), "0.001575"),
        (Own("claude-?-haiku-20240307", Decimal(1), Decimal(5)), "0.0085"),
        (Own("*", Decimal(0), Decimal(0)), "0"),
    ],
)
def test_own_price_comes_first_and_cached_tokens_cost_what_input_costs_unless_said(price: Own, dollars: str) -> None:
    prices = Prices([Own("something-else", Decimal(99), Decimal(99)), price, Own("*", Decimal(77), Decimal(77))])
    assert total(MIXED, "claude-3-haiku-20240307", "anthropic", prices=prices) == Decimal(dollars)
    assert total(MIXED, "claude-3-haiku-20240307", None, prices=prices) == Decimal(dollars)


def test_own_price_without_output_leaves_a_call_with_output_unknown() -> None:
    prices = Prices([Own("embed-*", Decimal("0.1"))])
    assert total(Usage(10), "embed-1", None, prices=prices) == Decimal("0.000001")
    assert cost(Usage(10, 1), "embed-1", None, prices=prices) is None


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("no-such-model", "openai"),
        ("gpt-4o", "no-such-provider"),
        (None, "openai"),
        ("", "openai"),
        ("x" * 100_000, "openai"),
        ("llama-3.1-70b", None),
        ("gpt-oss-20b", None),
        ("gemma-3-27b-it", None),
        ("whisper-1", None),
        ("deepseek-chat", None),
        ("gpt-oss:20b", None),
        ("tts-1", "openai"),
    ],
)
def test_unknown_price_is_none_and_not_zero(model: str | None, provider: str | None) -> None:
    assert cost(Usage(1000, 100), model, provider) is None


@pytest.mark.parametrize(
    ("model", "maker"),
    [("gpt-4o", "openai"), ("claude-sonnet-4-5", "anthropic"), ("gemini-2.5-pro", "google"), ("o3-mini", "openai")],
)
def test_model_that_only_its_maker_sells_is_priced_without_a_provider(model: str, maker: str) -> None:
    assert total(Usage(1000, 100), model, None) == total(Usage(1000, 100), model, maker)


@pytest.mark.parametrize("model", ["models/gemini-2.5-pro", "publishers/google/models/gemini-2.5-pro"])
def test_gemini_resource_names_are_understood(model: str) -> None:
    assert total(Usage(1000, 100), model, "google") == total(Usage(1000, 100), "gemini-2.5-pro", "google")


def test_usage_that_is_unknown_or_nothing_has_no_cost() -> None:
    assert LISTED.cost(Usage(10, 10, source="unknown"), model="gpt-4o", provider="openai", at=NOW) is None
    assert cost(Usage(0, 0), "gpt-4o", "openai") is None


def test_estimated_usage_is_priced() -> None:
    assert cost(Usage(1000, 0, source="estimated"), "gpt-4o", "openai") is not None


def test_reported_price_is_the_total_and_the_list_gives_the_parts() -> None:
    assert cost(Usage(15, 87, cost_reported_pico=7)) == Cost(7, 45_000_000, 1_305_000_000, 0, 0)
    assert cost(Usage(15, 87, cost_reported_pico=7), "unknown", "openrouter") == Cost(7)
    assert cost(Usage(15, 87, cost_reported_pico=0), None, None) == Cost(0)


def test_cache_writes_for_an_hour_cost_more() -> None:
    assert total(Usage(100_000, cache_write_1h=100_000), "claude-sonnet-4-5", "anthropic") == Decimal("0.6")
    assert total(Usage(100_000, cache_write_5m=100_000), "claude-sonnet-4-5", "anthropic") == Decimal("0.375")


def test_service_tier_changes_the_price() -> None:
    usual = total(Usage(1000, 100, service_tier="default"), "gpt-4o", "openai")
    assert total(Usage(1000, 100), "gpt-4o", "openai") == usual
    assert total(Usage(1000, 100, service_tier="priority"), "gpt-4o", "openai") > usual
    assert total(Usage(1000, 100, service_tier="batch"), "claude-opus-4-5", "anthropic") * 2 == total(
        Usage(1000, 100, service_tier="standard"), "claude-opus-4-5", "anthropic"
    )


def test_long_prompts_cost_more_where_the_list_says_so() -> None:
    assert total(Usage(200_000), "gemini-2.5-pro", "google") == Decimal("0.25")
    assert total(Usage(200_001), "gemini-2.5-pro", "google") == Decimal("0.5000025")


def test_price_follows_the_hour() -> None:
    day, night = (datetime(2026, 11, 21, hour, tzinfo=UTC).timestamp() for hour in (12, 20))
    prices = Prices([])
    assert total(Usage(1_000_000), "deepseek-chat", "deepseek", at=day, prices=prices) == Decimal("0.27")
    assert total(Usage(1_000_000), "deepseek-chat", "deepseek", at=night, prices=prices) == Decimal("0.135")
    assert total(Usage(1_000_000), "deepseek-chat", "deepseek", at=day, prices=prices) == Decimal("0.27")


def test_audio_is_priced_by_its_length() -> None:
    assert total(Usage(audio_seconds=60.0), "whisper-1", "openai") == Decimal("0.006")
    short = total(Usage(audio_seconds=3.0), "whisper-large-v3", "groq")
    assert short == total(Usage(audio_seconds=10.0), "whisper-large-v3", "groq") > 0


def test_web_searches_are_charged_with_the_input() -> None:
    found = cost(Usage(0, 10, web_searches=2), "claude-sonnet-4-5", "anthropic")
    assert found is not None
    assert found.input == 20_000_000_000


def test_more_parts_than_the_whole_never_cost_less_than_nothing() -> None:
    found = cost(
        Usage(10, 10, cached=50, cache_write_5m=50, cache_write_1h=50, input_audio=50, reasoning=50, output_audio=50)
    )
    assert found is not None
    parts = (found.input, found.output, found.cache_read, found.cache_write)
    assert all(part is not None and part >= 0 for part in parts)


def sold_by_tokens() -> list[tuple[str, str]]:
    """Every model of the list whose provider finds it under its own id and that is sold by input and output tokens."""
    kinds = {
        "input_mtok",
        "output_mtok",
        "cache_read_mtok",
        "cache_write_mtok",
        "cache_write_1h_mtok",
        "web_searches_kcount",
    }
    found = []
    for provider in get_snapshot().providers:
        for model in provider.models:
            prices = vars(model.get_prices(datetime.fromtimestamp(NOW, UTC)))
            sold = {kind for kind, price in prices.items() if price is not None}
            if {"input_mtok", "output_mtok"} <= sold <= kinds and provider.find_model(model.id) is model:
                found.append((provider.id, model.id))
    return found


SOLD_BY_TOKENS = sold_by_tokens()


@given(st.sampled_from(SOLD_BY_TOKENS), st.data())
def test_totals_equal_those_of_the_price_list_itself(sold: tuple[str, str], data: st.DataObject) -> None:
    provider, model = sold
    tokens = st.integers(0, 300_000)
    fresh, cached, short, hour, made = (data.draw(tokens) for _ in range(5))
    given_tokens = fresh + cached + short + hour
    if given_tokens + made == 0:
        return
    theirs = genai_prices.calc_price(
        genai_prices.Usage(
            input_tokens=given_tokens,
            output_tokens=made,
            cache_read_tokens=cached,
            cache_write_tokens=short + hour,
            cache_write_1h_tokens=hour,
        ),
        model,
        provider_id=provider,
        genai_request_timestamp=datetime.fromtimestamp(NOW, UTC),
    )
    ours = total(Usage(given_tokens, made, cached=cached, cache_write_5m=short, cache_write_1h=hour), model, provider)
    assert abs(ours - theirs.total_price) <= Decimal("2e-12")


def test_most_of_the_price_list_can_be_compared() -> None:
    assert len(SOLD_BY_TOKENS) > 1000


def test_cache_stays_bounded_and_a_name_that_comes_back_is_priced_alike() -> None:
    prices = Prices([Own("m-*", Decimal(1), Decimal(1))])
    for number in range(5000):
        cost(Usage(1), f"m-{number}", "openai", prices=prices)
        cost(Usage(1), "y" * (300 + number), "openai", prices=prices)
    assert len(prices._found) <= 1024
    assert total(Usage(1), "m-0", "openai", prices=prices) == Decimal("0.000001")


def test_price_list_is_not_imported_before_it_is_needed() -> None:
    program = (
        "import sys\n"
        "from llmqd.prices import Prices\n"
        "prices = Prices([])\n"
        "assert 'genai_prices' not in sys.modules\n"
        "prices.warm()\n"
        "assert 'genai_prices' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_list_comes_without_pydantic_which_others_still_get() -> None:
    program = (
        "import sys\n"
        "from llmqd.prices import Prices\n"
        "from llmqd.usage import Usage\n"
        "usage = Usage(input=1000, output=100, source='exact')\n"
        "assert Prices([]).cost(usage, model='gpt-4o', provider='openai', at=1.8e9).total > 0\n"
        "assert not [name for name in sys.modules if name.startswith('pydantic')]\n"
        "import pydantic\n"
        "assert pydantic.BaseModel\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
