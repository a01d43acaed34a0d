"""A reload replaces configuration and routing together."""

from __future__ import annotations

from llmqd.config.model import Config, Upstream
from llmqd.in_force import InForce


def test_configuration_and_routing_change_together() -> None:
    in_force = InForce.of(Config())
    assert in_force.routing.names == frozenset()
    changed = Config(upstreams=(Upstream(name="OpenAI"),))
    in_force.replace(changed)
    assert (in_force.config, in_force.routing.names) == (changed, frozenset({"openai"}))
