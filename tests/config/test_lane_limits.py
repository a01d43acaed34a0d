"""What limits hold in a lane: which setting decides, groups of models, what providers are known to count."""

from pathlib import Path

import pytest

from llmqd.config.limits import Limits, ModelGroup
from llmqd.config.load import load
from llmqd.errors import ConfigError


def limits(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> Limits:
    path = tmp_path / "llmqd.toml"
    path.write_text(text)
    return load(path, environ or {}).upstreams[0].keys[0].limits


def faults(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        limits(tmp_path, text)
    return caught.value.faults


def test_an_unset_rate_is_a_polite_start_and_known_as_such(tmp_path: Path) -> None:
    unset = limits(tmp_path, '[[upstream]]\nname = "mistral"\n')
    written = limits(tmp_path, '[[upstream]]\nname = "mistral"\nrequests_per_minute = 60\n')
    assert (unset.requests_per_minute, unset.assumed) == (60, True)
    assert (written.requests_per_minute, written.assumed) == (60, False)


def test_a_rate_of_the_environment_is_not_assumed(tmp_path: Path) -> None:
    found = limits(tmp_path, '[[upstream]]\nname = "mistral"\n', {"RATE_LIMIT_PER_MIN": "60"})
    assert (found.requests_per_minute, found.assumed) == (60, False)


def test_a_rate_by_the_second_alone_leaves_the_minute_free(tmp_path: Path) -> None:
    found = limits(tmp_path, '[[upstream]]\nname = "mistral"\nrequests_per_second = 5\n')
    assert (found.requests_per_second, found.requests_per_minute, found.assumed) == (5, 0, False)


@pytest.mark.parametrize(
    ("upstream", "reserve_output", "count_cached", "day_zone"),
    [
        ("openai", "max_tokens", True, "UTC"),
        ("anthropic", "typical", False, "UTC"),
        ("gemini", "none", True, "America/Los_Angeles"),
        ("groq", "max_tokens", False, "UTC"),
        ("mistral", "typical", True, "UTC"),
    ],
)
def test_what_counts_is_known_of_each_provider(
    tmp_path: Path, upstream: str, reserve_output: str, count_cached: bool, day_zone: str
) -> None:
    found = limits(tmp_path, f'[[upstream]]\nname = "{upstream}"\n')
    assert (found.reserve_output, found.count_cached, found.day_zone) == (reserve_output, count_cached, day_zone)


@pytest.mark.parametrize(("upstream", "algorithm"), [("anthropic", "bucket"), ("openai", "auto"), ("groq", "auto")])
def test_how_limits_refill_is_known_of_who_says_so(tmp_path: Path, upstream: str, algorithm: str) -> None:
    assert limits(tmp_path, f'[[upstream]]\nname = "{upstream}"\n').algorithm == algorithm
    written = f'[queue]\nalgorithm = "even"\n[[upstream]]\nname = "{upstream}"\n'
    assert limits(tmp_path, written).algorithm == "even"


def test_what_is_written_goes_before_what_is_known_of_the_provider(tmp_path: Path) -> None:
    found = limits(
        tmp_path,
        '[queue]\nday_zone = "Europe/Berlin"\nreserve_output = "refunded"\n'
        '[[upstream]]\nname = "gemini"\nreserve_output = "typical"\ncount_cached = false\n',
    )
    assert (found.day_zone, found.reserve_output, found.count_cached) == ("Europe/Berlin", "typical", False)


def test_every_dimension_can_be_set_at_every_level(tmp_path: Path) -> None:
    found = limits(
        tmp_path,
        '[queue]\nrequests_per_day = 1000\nalgorithm = "sliding"\n'
        '[[upstream]]\nname = "openai"\ntokens_per_minute = 200_000\nquantum = "10s"\n'
        '[[upstream.key]]\nname = "a"\napi_key = "k"\nalgorithm = "fixed"\noutput_tokens_per_minute = 5000\n'
        "input_tokens_per_minute = 7000\nrequests_per_second = 2.5\n",
    )
    assert found == Limits(
        requests_per_minute=0,
        requests_per_second=2.5,
        requests_per_day=1000,
        tokens_per_minute=200_000,
        input_tokens_per_minute=7000,
        output_tokens_per_minute=5000,
        algorithm="fixed",
        quantum=10,
        reserve_output="max_tokens",
    )


def test_a_model_group_has_its_own_limits_and_the_manners_of_its_key(tmp_path: Path) -> None:
    found = limits(
        tmp_path,
        '[queue]\nburst = 4\nmax_concurrent = 9\n[[upstream]]\nname = "openai"\nalgorithm = "bucket"\n'
        '[[upstream.limit]]\nmodels = ["gpt-4o*", "o1"]\nrequests_per_minute = 500\n'
        '[[upstream.limit]]\nname = "small"\nmodels = ["*-mini"]\ntokens_per_minute = 1000\nburst = 2\n',
    )
    own = Limits(requests_per_minute=500, burst=4, algorithm="bucket", reserve_output="max_tokens")
    assert found.groups == (
        ModelGroup("gpt-4o*", ("gpt-4o*", "o1"), own),
        ModelGroup(
            "small",
            ("*-mini",),
            Limits(
                requests_per_minute=0, tokens_per_minute=1000, burst=2, algorithm="bucket", reserve_output="max_tokens"
            ),
        ),
    )


def test_tables_of_one_name_share_one_group(tmp_path: Path) -> None:
    found = limits(
        tmp_path,
        '[[upstream]]\nname = "anthropic"\n'
        '[[upstream.limit]]\nname = "opus"\nmodels = ["claude-opus-4*"]\ninput_tokens_per_minute = 30000\n'
        '[[upstream.limit]]\nname = "opus"\nmodels = ["claude-opus-5*"]\n',
    )
    (group,) = found.groups
    assert group.models == ("claude-opus-4*", "claude-opus-5*")
    assert group.limits.input_tokens_per_minute == 30000


def test_every_key_of_an_upstream_has_the_groups(tmp_path: Path) -> None:
    path = tmp_path / "llmqd.toml"
    path.write_text(
        '[[upstream]]\nname = "openai"\n[[upstream.key]]\nname = "a"\napi_key = "k"\n'
        '[[upstream.key]]\nname = "b"\napi_key = "k"\n'
        '[[upstream.limit]]\nmodels = ["gpt-*"]\nrequests_per_minute = 5\n'
    )
    first, second = load(path, {}).upstreams[0].keys
    assert [group.name for group in first.limits.groups] == ["gpt-*"]
    assert first.limits.groups == second.limits.groups


def test_a_group_limit_that_is_never_reached_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "llmqd.toml"
    path.write_text(
        '[[upstream]]\nname = "openai"\nrequests_per_minute = 500\n'
        '[[upstream.limit]]\nmodels = ["gpt-*"]\nrequests_per_minute = 900\n'
    )
    (warning,) = load(path, {}).warnings
    assert "requests_per_minute = 900 is never reached" in warning
    assert "500" in warning


def test_no_warning_compares_a_group_with_a_rate_that_nobody_set(tmp_path: Path) -> None:
    path = tmp_path / "llmqd.toml"
    path.write_text('[[upstream]]\nname = "groq"\n[[upstream.limit]]\nmodels = ["gpt-*"]\nrequests_per_minute = 90\n')
    assert load(path, {}).warnings == ()


BROKEN = {
    "no limit": ('models = ["a"]\n', ["[[upstream.limit]]", "sets no limit"]),
    "no models": ("requests_per_minute = 5\n", ["models: missing"]),
    "contradiction": (
        (
            'name = "x"\nmodels = ["a"]\nburst = 2\nrequests_per_minute = 5\n'
            '[[upstream.limit]]\nname = "x"\nmodels = ["b"]\nrequests_per_minute = 6\n'
        ),
        ["line 11", "requests_per_minute = 6", '"x"', "has 5"],
    ),
    "unknown algorithm": (
        'models = ["a"]\nrequests_per_minute = 5\nalgorithm = "leaky"\n',
        ["line 6", 'algorithm = "leaky"', "auto, even, bucket, fixed, sliding"],
    ),
    "unknown zone": (
        'models = ["a"]\nrequests_per_day = 5\nday_zone = "Mars/Olympus"\n',
        ["line 6", 'day_zone = "Mars/Olympus"', "no time zone that this machine knows"],
    ),
    "zone that leaves the database": (
        'models = ["a"]\nrequests_per_day = 5\nday_zone = "../../etc/passwd"\n',
        ["line 6", "no time zone that this machine knows"],
    ),
    "negative": ('models = ["a"]\ntokens_per_minute = -1\n', ["line 5", "tokens_per_minute", "at least 0"]),
}


@pytest.mark.parametrize("case", BROKEN)
def test_each_fault_of_a_group_says_where_and_what(tmp_path: Path, case: str) -> None:
    text, words = BROKEN[case]
    found = faults(tmp_path, f'[[upstream]]\nname = "openai"\n[[upstream.limit]]\n{text}')
    assert len(found) == 1
    assert all(word in found[0] for word in words), found
