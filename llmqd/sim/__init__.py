"""The built-in simulated provider: answers so that llmqd can be tried without any key, and says so in every answer."""

from llmqd.sim.app import HEADER, build_app
from llmqd.sim.simulator import Simulator
from llmqd.sim.speech import LABEL

__all__ = ["HEADER", "LABEL", "Simulator", "build_app"]
