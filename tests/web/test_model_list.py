from __future__ import annotations

from pathlib import Path

import anthropic
import openai
import orjson
import pytest

from llmqd.config.load import load
from llmqd.web.model_list import known_models
from tests.fake_upstream import FakeUpstream, json_answer
from tests.under_test import call, running, upstream_toml
from tests.web.test_door import create

ROUTES = """
[[route]]
model = "our-model"
upstreams = [{ name = "openai", model = "gpt-4o" }]
[[route]]
model = "gpt-4*"
upstreams = ["openai"]
"""
CLAUDE = """
[[route]]
model = "claude"
upstreams = ["anthropic"]
"""


def both(url: str) -> str:
    """Two upstreams with their routes."""
    return upstream_toml("openai", url) + upstream_toml("anthropic", url) + ROUTES + CLAUDE


MISSING = {"error": {"message": "no such path"}}


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_the_list_of_an_upstream_that_has_none_is_that_of_what_is_configured(tmp_path: Path, status: int) -> None:
    async with (
        FakeUpstream(json_answer(MISSING, status)) as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url) + ROUTES) as daemon,
    ):
        async with openai.AsyncOpenAI(base_url=f"{daemon.url}/v1", api_key="x") as client:
            models = {model.id: model.owned_by async for model in client.models.list()}
        assert models == {"our-model": "openai"}
        answer = await call(daemon.port, "GET", "/v1/models")
        record = await daemon.record(answer.header("X-LLMQD-Request-Id") or "")
        assert answer.header("X-LLMQD-Upstream") == "openai"
        assert (record.outcome.status, record.outcome.http_status) == ("done", 200)
        assert record.outcome.response_bytes == len(answer.body)
        assert len(upstream.requests) == 2


async def test_anthropics_clients_get_the_list_in_their_shape(tmp_path: Path) -> None:
    async with (
        FakeUpstream(json_answer(MISSING, 404)) as upstream,
        running(tmp_path, upstream_toml("anthropic", upstream.url) + CLAUDE) as daemon,
        anthropic.AsyncAnthropic(base_url=daemon.url, api_key="x") as client,
    ):
        models = [model.id async for model in client.models.list()]
    assert models == ["claude"]


async def test_all_upstreams_are_in_it_unless_the_url_names_one(tmp_path: Path) -> None:
    async with (
        FakeUpstream(json_answer(MISSING, 404)) as upstream,
        running(tmp_path, both(upstream.url)) as daemon,
    ):
        owners = {
            path: {each["owned_by"] for each in orjson.loads((await call(daemon.port, "GET", path)).body)["data"]}
            for path in ("/v1/models", "/anthropic/v1/models")
        }
    assert owners == {"/v1/models": {"openai", "anthropic"}, "/anthropic/v1/models": {"anthropic"}}


@pytest.mark.parametrize(
    ("status", "path"), [(200, "/v1/models"), (401, "/v1/models"), (500, "/v1/models"), (404, "/v1/models/gpt-4o")]
)
async def test_an_upstream_that_has_a_list_answers_for_itself(tmp_path: Path, status: int, path: str) -> None:
    async with (
        FakeUpstream(json_answer(MISSING, status)) as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url)) as daemon,
    ):
        answer = await call(daemon.port, "GET", path)
    assert (answer.status, orjson.loads(answer.body)) == (status, MISSING)


async def test_where_nothing_is_known_the_upstreams_own_answer_passes(tmp_path: Path) -> None:
    async with (
        FakeUpstream(json_answer(MISSING, 404)) as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url)) as daemon,
    ):
        answer = await call(daemon.port, "GET", "/v1/models")
    assert (answer.status, orjson.loads(answer.body)) == (404, MISSING)


async def test_a_key_for_some_models_sees_no_others(tmp_path: Path) -> None:
    token = create(tmp_path, "team", models=("our-*",))
    async with (
        FakeUpstream(json_answer(MISSING, 404)) as upstream,
        running(
            tmp_path,
            both(upstream.url) + '[auth]\nmode = "keys"\nadmin_token = "admin-token-of-32-characters-xxxxx"\n',
        ) as daemon,
    ):
        answer = await call(daemon.port, "GET", "/v1/models", b"", {"Authorization": f"Bearer {token}"})
    assert [each["id"] for each in orjson.loads(answer.body)["data"]] == ["our-model"]


def test_an_upstream_at_its_own_host_has_the_models_of_the_price_list(tmp_path: Path) -> None:
    path = tmp_path / "llmqd.toml"
    path.write_text(
        '[[upstream]]\nname = "perplexity-ai"\n[[upstream]]\nname = "mine"\ntype = "openai"\nbase_url = "http://127.0.0.1:1"\n'
    )
    config = load(path, {})
    assert dict(known_models(config, None)).get("sonar") == "perplexity-ai"
    assert list(known_models(config, "mine")) == []
