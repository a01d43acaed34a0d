"""The set of lanes follows the configuration."""

from __future__ import annotations

import asyncio

import pytest

from llmqd.config.model import Config, Key, Limits, Upstream
from llmqd.errors import LaneDead
from llmqd.lane.lane import Lane
from llmqd.lane.lanes import Lanes
from llmqd.lane.turn import Turn
from tests.calls import a_call
from tests.clock import run_virtual


def lanes_of_test() -> Lanes:
    return Lanes(clock=asyncio.get_running_loop().time, wall=lambda: 0.0, announce=lambda _: None)


def upstream(name: str, **keys: float) -> Upstream:
    return Upstream(name=name, keys=tuple(Key(name=key, limits=Limits(rate)) for key, rate in keys.items()))


def test_one_lane_a_key_named_after_the_upstream_or_after_both() -> None:
    async def scenario() -> None:
        async with lanes_of_test() as lanes:
            lanes.apply(Config(upstreams=(upstream("openai", default=60), upstream("groq", a=10, b=20))))
            assert [(lane.name, lane.requests_per_minute) for lane in lanes] == [
                ("openai", 60),
                ("groq/a", 10),
                ("groq/b", 20),
            ]

    run_virtual(scenario())


def test_the_least_loaded_key_is_picked() -> None:
    async def scenario() -> None:
        async with lanes_of_test() as lanes:
            lanes.apply(Config(upstreams=(upstream("groq", a=0, b=0),)))
            first = lanes.pick("groq")
            async with Turn(first, a_call()):
                assert lanes.pick("groq") is not first
            assert lanes.pick("groq") is first

    run_virtual(scenario())


def test_a_reload_retunes_known_lanes_adds_new_ones_and_lets_old_ones_run_dry() -> None:
    async def scenario() -> None:
        async with lanes_of_test() as lanes:
            lanes.apply(Config(upstreams=(upstream("openai", default=60), upstream("old", default=60))))
            kept, old = lanes.pick("openai"), lanes.pick("old")
            async with Turn(old, a_call()):
                waits = asyncio.create_task(_pass(old))
                await asyncio.sleep(0)
                lanes.apply(Config(upstreams=(upstream("new", default=5), upstream("openai", default=600))))
                assert lanes.pick("openai") is kept
                assert kept.requests_per_minute == 600
                assert [lane.name for lane in lanes] == ["new", "openai", "old"]
            await waits
            await lanes.answer()
            assert [lane.name for lane in lanes] == ["new", "openai"]
            lanes.apply(Config(upstreams=(upstream("old", default=60),)))
            assert lanes.pick("old") is old, "a key that comes back must not get a full bucket"
            for number in range(40):
                lanes.apply(Config(upstreams=(upstream(f"u{number}", default=60),)))
            lanes.apply(Config(upstreams=(upstream("old", default=60),)))
            assert lanes.pick("old") is not old, "lanes of long gone keys are forgotten"

    run_virtual(scenario())


def test_a_dead_worker_is_not_called_alive() -> None:
    async def scenario() -> None:
        async with lanes_of_test() as lanes:
            lanes.apply(Config(upstreams=(upstream("openai", default=60),)))
            await lanes.answer()
            worker = next(task for task in asyncio.all_tasks() if task.get_name() == "lane openai")
            worker.cancel()
            await asyncio.sleep(0)
            with pytest.raises(LaneDead, match="lane openai"):
                await lanes.answer()

    run_virtual(scenario())


async def _pass(lane: Lane) -> None:
    async with Turn(lane, a_call()):
        pass
