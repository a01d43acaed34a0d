"""A reload replaces configuration and routing together."""

from __future__ import annotations

import pytest

from llmqd.config.auth import Auth
from llmqd.config.model import Config, Server, Upstream
from llmqd.errors import ConfigError
from llmqd.in_force import InForce, keep_fixed


def test_configuration_and_routing_change_together() -> None:
    in_force = InForce.of(Config())
    assert in_force.routing.names == frozenset()
    changed = Config(upstreams=(Upstream(name="OpenAI"),))
    in_force.replace(changed)
    assert (in_force.config, in_force.routing.names) == (changed, frozenset({"openai"}))


def test_a_reload_does_not_open_to_everybody_a_daemon_that_still_listens_beyond_this_machine() -> None:
    running = Config(server=Server(listen=("127.0.0.1:8080", "0.0.0.0:8081")), auth=Auth(mode="keys"))
    changed = Config(server=Server(listen=("127.0.0.1:8080",)), auth=Auth(mode="open"))
    with pytest.raises(ConfigError, match=r"still listens on 0\.0\.0\.0:8081"):
        keep_fixed(running, changed)
    local = Config(server=Server(listen=("127.0.0.1:8080", "unix:/run/a")), auth=Auth(mode="keys"))
    assert keep_fixed(local, changed).server.listen == local.server.listen
