"""The simulated provider listens only for a configuration that names it."""

from __future__ import annotations

import aiohttp

from llmqd.config.model import Config, Upstream
from llmqd.providers.presets import PRESETS, SIM
from llmqd.sim import HEADER, Simulator


def config(*upstreams: Upstream) -> Config:
    return Config(upstreams=upstreams)


def sim(name: str = "sim") -> Upstream:
    return Upstream(name=name, type="sim", base_url="", preset=SIM)


def openai() -> Upstream:
    return Upstream(name="openai", type="openai", base_url="https://api.openai.com", preset=PRESETS["openai"])


async def test_without_an_upstream_of_its_type_nothing_listens() -> None:
    async with Simulator() as simulator:
        before = config(openai())
        assert simulator.placed(before) is before
        assert simulator.url is None


async def test_upstreams_of_its_type_get_its_address_and_others_keep_theirs() -> None:
    async with Simulator(first_pause=0, pause=0) as simulator, aiohttp.ClientSession() as session:
        placed = simulator.placed(config(sim(), openai(), sim("second")))
        assert [upstream.base_url for upstream in placed.upstreams] == [
            simulator.url,
            "https://api.openai.com",
            simulator.url,
        ]
        async with session.get(f"{simulator.url}/v1/models") as response:
            assert (response.status, response.headers[HEADER]) == (200, "true")


async def test_a_reload_keeps_the_port() -> None:
    async with Simulator() as simulator:
        first = simulator.placed(config(sim())).upstreams[0].base_url
        assert simulator.placed(config(openai(), sim())).upstreams[1].base_url == first


async def test_the_port_is_closed_at_the_end() -> None:
    async with Simulator() as simulator:
        simulator.placed(config(sim()))
        url = simulator.url
    async with aiohttp.ClientSession() as session:
        try:
            await session.get(f"{url}/v1/models")
        except aiohttp.ClientConnectorError:
            return
    raise AssertionError(f"{url} still answers")
