"""Finds trouble in what happens: upstreams that are down, limits that were learned, a store that is not well."""

from __future__ import annotations

from llmqd.events.kinds import Alert, Event, Finished, LimitLearned

_FAILURES = frozenset({"upstream_unreachable", "upstream_timeout", "upstream_cut"})


class Troubles:
    """What is wrong at present. Pure: it is told what happens and says what is to be told, once for each change."""

    def __init__(self, *, upstream_down_after: int) -> None:
        self.upstream_down_after = upstream_down_after
        self._failed: dict[str, int] = {}
        self._store: str | None = None

    @property
    def down(self) -> list[str]:
        """The upstreams that count as down."""
        return sorted(name for name, count in self._failed.items() if count >= self.upstream_down_after)

    def seen(self, event: Event) -> Alert | None:
        """What has happened, and the alert that follows from it."""
        if isinstance(event, Finished):
            return self._finished(event)
        if isinstance(event, LimitLearned):
            before = "" if event.before is None else f", before {event.before:g}"
            return Alert(
                lane=event.lane,
                upstream=event.upstream,
                name="limit_learned",
                message=f"{event.lane}: {event.dimension} is {event.limit:g} now{before} (from {event.source})",
            )
        return None

    def store(self, fault: str | None) -> Alert | None:
        """How the store is; None is well."""
        before, self._store = self._store, fault
        if fault is not None and before is None:
            return Alert(name="store_degraded", message=f"the store is not well: {fault}")
        if fault is None and before is not None:
            return Alert(name="store_recovered", message="the store is well again")
        return None

    def _finished(self, event: Finished) -> Alert | None:
        upstream = event.upstream
        if upstream is None:
            return None
        failed = event.error in _FAILURES or (event.status == "failed") or (event.http_status or 0) >= 500
        if failed:
            count = self._failed[upstream] = self._failed.get(upstream, 0) + 1
            if count != self.upstream_down_after:
                return None
            reason = event.error or f"status {event.http_status}"
            return Alert(
                lane=event.lane,
                upstream=upstream,
                name="upstream_down",
                message=f"{upstream} does not answer: {count} calls failed in a row ({reason})",
            )
        if event.http_status is None or event.status not in ("done", "cancelled"):
            return None  # it says nothing of the upstream
        if self._failed.pop(upstream, 0) >= self.upstream_down_after:
            return Alert(lane=event.lane, upstream=upstream, name="upstream_up", message=f"{upstream} answers again")
        return None
