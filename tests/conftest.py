"""Starts what takes long before everything else, and waits for it after everything else."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests import redis_server
from tests.postgres import NoPostgres, Postgres, server

# How long an example takes says how busy the machine is.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `background` are judged last: their work runs beside all the others."""
    items.sort(key=lambda item: item.get_closest_marker("background") is not None)


@pytest.fixture(scope="session", autouse=True)
def long_stream(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[subprocess.Popen[str] | None]:
    """The ten-minute scenario as a process of its own, where a test of this run wants to know how it went."""
    if not any(item.get_closest_marker("background") for item in request.session.items):
        yield None
        return
    directory = tmp_path_factory.mktemp("long_stream")
    with subprocess.Popen(
        [sys.executable, "-m", "tests.system.long_stream", str(directory)],
        cwd=Path(__file__).parent.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        yield process
        process.kill()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL server; skips where there is none."""
    with contextlib.ExitStack() as stack:
        try:
            running = stack.enter_context(server())
        except NoPostgres as none:
            pytest.skip(str(none))
        yield running


@pytest.fixture
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis_server.RedisServer]:
    """A real Redis of the test's own; skips where there is none."""
    with contextlib.ExitStack() as stack:
        try:
            running = stack.enter_context(redis_server.server(tmp_path_factory.mktemp("redis")))
        except redis_server.NoRedis as none:
            pytest.skip(str(none))
        yield running
