"""A conversation whose turns come to different daemons is one session, through a real Redis."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from tests.cluster.test_together import _sees, toml
from tests.fake_upstream import FakeUpstream, json_answer
from tests.redis_server import RedisServer
from tests.under_test import DaemonUnderTest, running
from tests.web.test_conversations import ask, said, session


async def two(stack: AsyncExitStack, tmp_path: Path, config: str, secrets: Sequence[bytes]) -> list[DaemonUnderTest]:
    found = []
    for number, secret in enumerate(secrets):
        (own := tmp_path / str(number) / "state").mkdir(parents=True, mode=0o700)
        (own / "secret").write_bytes(secret)
        found.append(await stack.enter_async_context(running(own.parent, config, store="sqlite")))
    for one in found:
        await one.until(partial(_sees, one, 2))
    return found


async def heard(daemon: DaemonUnderTest, answers: int) -> None:
    """Until it has been told of so many answers."""
    await daemon.until(lambda: daemon.conversations.statistics()["heard"] == answers)


async def test_turns_in_turn_through_two_daemons_are_one_session(tmp_path: Path, redis: RedisServer) -> None:
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(FakeUpstream())
        both = await two(stack, tmp_path, toml(upstream.url, redis, requests_per_minute=6000), [b"x" * 32] * 2)
        told: list[tuple[str, str]] = []
        found: list[tuple[str | None, str | None]] = []
        for number in range(6):
            told.append(("user", f"question {number}"))
            upstream.play(json_answer(said(f"answer {number}", number)))
            found.append(session(await ask(both[number % 2], *told)))
            told.append(("assistant", f"answer {number}"))
            await heard(both[1 - number % 2], number // 2 + 1)
        assert found == [(found[0][0], "new")] + [(found[0][0], "detected")] * 5


async def test_the_same_words_begin_sessions_of_their_own_where_secrets_differ(
    tmp_path: Path, redis: RedisServer
) -> None:
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(FakeUpstream())
        secrets = [b"x" * 32, b"y" * 32]
        one, other = await two(stack, tmp_path, toml(upstream.url, redis, requests_per_minute=6000), secrets)
        upstream.play(json_answer(said("Hello.")), json_answer(said("In Paris.", 2)))
        first = session(await ask(one, ("user", "Hi.")))
        await heard(other, 1)
        second = session(await ask(other, ("user", "Hi."), ("assistant", "Hello."), ("user", "Where?")))
        assert second[0] != first[0]
