"""The configuration in force: read by everybody, replaced whole by a reload."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmqd.routing import Routing

if TYPE_CHECKING:
    from llmqd.config.model import Config


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
