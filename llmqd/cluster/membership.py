"""Whether this daemon is by itself or one of several, for whoever need not know which."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from llmqd.cluster.node import node_of
from llmqd.config.redis_url import RedisUrl
from llmqd.lane.lane import Lane

if TYPE_CHECKING:
    from llmqd.cluster.asking import Asking
    from llmqd.cluster.cluster import Cluster
    from llmqd.cluster.shared_budgets import Sharer
    from llmqd.config.model import Config
    from llmqd.conversations import Conversations
    from llmqd.events.bus import EventBus
    from llmqd.guards.guards import Guards
    from llmqd.metrics import Metrics


class Membership:
    """An async context manager: inside, the daemon is a member where `[cluster] redis` is set.

    `clock` is monotonic, `metrics` gets the figures. The rest of what is given is shared as well.
    """

    def __init__(
        self,
        config: Config,
        metrics: Metrics,
        budgets: Sharer,
        guards: Guards,
        conversations: Conversations,
        bus: EventBus,
        *,
        clock: Callable[[], float],
    ) -> None:
        metrics.watch_cluster(self.figures)
        self.cluster: Cluster | None = None
        settings, store = config.cluster, config.store
        if settings.redis is not None:
            # The client of Redis is large: it is there only where it is wanted.
            from llmqd.cluster.cluster import Cluster
            from llmqd.cluster.shared_budgets import SharedBudgets
            from llmqd.cluster.shared_events import SharedEvents
            from llmqd.cluster.shared_guards import SharedGuards
            from llmqd.cluster.shared_sessions import SharedSessions

            url = RedisUrl(settings.redis.reveal())
            node = None if store.backend == "postgresql" else node_of(config.server.state_directory)
            shared = SharedBudgets(budgets, settings.prefix, node)
            one = self.cluster = Cluster(settings, url, clock=clock, budgets=shared)
            SharedGuards(guards, one.telling)
            SharedSessions(conversations, one.telling)
            SharedEvents(bus, one.telling, one.asking.name, clock=clock)

    @property
    def lane(self) -> Callable[..., Lane]:
        """Makes lanes, shared ones where there are others to share them."""
        return Lane if self.cluster is None else self.cluster.lane

    @property
    def others(self) -> Asking | None:
        """Asks the others; None where there are none."""
        return None if self.cluster is None else self.cluster.asking

    def faults(self) -> list[str]:
        """What is wrong, for people."""
        return [] if self.cluster is None else self.cluster.faults()

    def figures(self) -> tuple[int, int, int]:
        """1 while it goes on by itself though it should not, how many daemons there are, lanes that it decides for."""
        one = self.cluster
        return (0, 1, 0) if one is None else one.figures

    async def __aenter__(self) -> Self:
        if self.cluster is not None:
            await self.cluster.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.cluster is not None:
            await self.cluster.__aexit__(kind, error, trace)
