from pathlib import Path

import orjson

from llmqd.config.describe import describe
from llmqd.config.load import load

PLANTED = "sk-planted-0123456789"


def test_everything_in_force_is_shown_and_no_secret_is(tmp_path: Path) -> None:
    path = tmp_path / "llmqd.toml"
    path.write_text(
        f'[queue]\nmax_wait = "90s"\n[[upstream]]\nname = "openai"\nheaders = {{ X-Key = "{PLANTED}" }}\n'
        f'[[upstream.key]]\nname = "a"\napi_key = "{PLANTED}"\nburst = 5\n'
        f'[[upstream.key]]\nname = "b"\napi_key = "env:NOT_SET"\n'
        f'[[upstream]]\nname = "groq"\napi_key = "{PLANTED}"\n'
        '[[upstream.limit]]\nname = "llama"\nmodels = ["llama-*"]\ntokens_per_minute = 6000\n'
        '[[route]]\nmodel = "m*"\nupstreams = ["openai", { name = "groq", model = "n" }]\n'
        '[[price]]\nmodel = "m"\ninput = 0.1\n'
    )
    shown = orjson.loads(text := orjson.dumps(describe(load(path, {}))))
    assert PLANTED.encode() not in text
    assert b"sk-" not in text
    assert shown["source"] == str(path)
    assert shown["server"]["listen"] == ["127.0.0.1:8080"]
    assert shown["server"]["max_body"] == "512MiB"
    queue = {
        "requests_per_minute": None,
        "tokens_per_minute": 0,
        "burst": 1,
        "quantum": "0s",
        "max_concurrent": 0,
        "max_waiting": 10000,
        "max_waiting_bytes": "256MiB",
        "max_wait": "90s",
        "priority": "normal",
    }
    assert {name: shown["queue"][name] for name in queue} == queue
    openai, groq = shown["upstreams"]
    assert openai["headers"] == {"X-Key": {"set": True}}
    assert openai["api_key"] == {"set": False}
    assert [key["api_key"] for key in openai["keys"]] == [{"set": True}, {"set": False}]
    assert openai["keys"][0]["limits"] == {
        "requests_per_minute": 60,
        "requests_per_second": 0,
        "requests_per_day": 0,
        "day_zone": "UTC",
        "tokens_per_minute": 0,
        "input_tokens_per_minute": 0,
        "output_tokens_per_minute": 0,
        "max_concurrent": 0,
        "burst": 5,
        "algorithm": "auto",
        "quantum": "0s",
        "reserve_output": "max_tokens",
        "count_cached": True,
        "assumed": True,
        "groups": [],
    }
    (group,) = groq["keys"][0]["limits"]["groups"]
    assert (group["name"], group["models"]) == ("llama", ["llama-*"])
    assert (group["limits"]["tokens_per_minute"], group["limits"]["requests_per_minute"]) == (6000, 0)
    assert "NOT_SET" in openai["keys"][1]["missing"]
    assert openai["include_usage"] is True
    assert groq["api_key"] == {"set": True}
    assert groq["base_url"] == "https://api.groq.com"
    assert shown["routes"] == [{"model": "m*", "upstreams": ["openai", {"name": "groq", "model": "n"}]}]
    assert shown["prices"] == [{"model": "m", "input": "0.1", "output": None, "cache_read": None, "cache_write": None}]


def test_the_defaults_can_be_shown() -> None:
    shown = describe(load(None, {}))
    assert shown["source"] is None
    assert [upstream["name"] for upstream in shown["upstreams"]] == ["sim"]
    assert set(shown) >= {"server", "queue", "upstreams", "routes", "sessions", "store", "log", "prices", "warnings"}
