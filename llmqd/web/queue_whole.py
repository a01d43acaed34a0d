"""`/queue` of several daemons in one: what each of them says, put together in the order of turns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Page = dict[str, Any]


def together(pages: Mapping[str, Page], offset: int, limit: int) -> Page:
    """One answer out of those of all members, by their names; the first is that of the member that was asked."""
    order: dict[str, int] = {}
    for page in pages.values():
        for calls in page["order"]:
            order |= {call_id: place for place, call_id in enumerate(calls, 1)}
    lanes: dict[str, Page] = {}
    waiting, running = [], []
    for member, page in pages.items():
        for shown in page["lanes"]:
            here = {"member": member, "waiting": shown["waiting"], "running": shown["running"]}
            if (lane := lanes.get(shown["lane"])) is None:
                lanes[shown["lane"]] = shown | {"members": [here]}
                continue
            lane["members"].append(here)
            for figure in ("waiting", "waiting_bytes", "running", "granted"):
                lane[figure] += shown[figure]
        waiting += [each | {"member": member} for each in page["waiting"]]
        running += [each | {"member": member} for each in page["running"]]
    for each in waiting:
        each["position"] = order.get(each["request_id"], each["position"])
    places = {name: place for place, name in enumerate(lanes)}
    waiting.sort(key=lambda each: (places.get(each["lane"], len(places)), each["position"]))
    running.sort(key=lambda each: (places.get(each["lane"], len(places)), -each["running_ms"]))
    total, running_total = (sum(page[name] for page in pages.values()) for name in ("total", "running_total"))
    end = offset + limit
    return {
        "lanes": [*lanes.values()],
        "total": total,
        "running_total": running_total,
        "limit": limit,
        "offset": offset,
        "next": end if limit and end < max(total, running_total) else None,
        "waiting": waiting[offset:end],
        "running": running[offset:end],
        "members": [*pages],
    }
