"""The configuration in force: read by everybody, replaced whole by a reload."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmqd.errors import ConfigError
from llmqd.routing import Routing

if TYPE_CHECKING:
    from llmqd.config.model import Config

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class InForce:
    """Only the daemon calls `replace`; who needs more than one look during a call takes `config` and `routing` once."""

    config: Config
    routing: Routing

    @classmethod
    def of(cls, config: Config) -> InForce:
        """The first configuration of a daemon."""
        return cls(config, Routing(config))

    def replace(self, config: Config) -> None:
        """Puts another configuration in force for every call that comes from now on."""
        self.config, self.routing = config, Routing(config)


_FIXED_SERVER = (
    "listen",
    "max_header",
    "client_timeout",
    "shutdown_grace",
    "proxy_from_environment",
    "state_directory",
)


def keep_fixed(running: Config, changed: Config) -> Config:
    """The changed configuration with those settings of the running one that only a restart can change.

    Raises ConfigError where the two do not go together: without keys only this machine may reach the daemon.
    """
    if changed.auth.mode == "open":
        for address in running.server.addresses:
            if not address.loopback:
                fault = f'[auth] mode = "open" needs a restart: this daemon still listens on {address}'
                raise ConfigError([fault + ", and everybody who reaches that could spend your keys"])
    kept = {name: getattr(running.server, name) for name in _FIXED_SERVER}
    for name, value in kept.items():
        if getattr(changed.server, name) != value:
            logger.warning("[server] %s has changed; this needs a restart", name)
    for section in ("store", "prices", "cluster"):
        if getattr(changed, section) != getattr(running, section):
            logger.warning("[%s] has changed; this needs a restart", "price" if section == "prices" else section)
    return dataclasses.replace(
        changed,
        server=dataclasses.replace(changed.server, **kept),
        store=running.store,
        prices=running.prices,
        cluster=running.cluster,
    )
