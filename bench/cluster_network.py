"""A network namespace for one daemon of a cluster, whose cable to Redis can be pulled out while all others hold."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.process import LlmqdProcess

_PATIENCE = 20.0
_SUBNETS = 1 << 13
"""Of 198.18.0.0/15, which is for trials of networks: so many pairs of subnets of four addresses each."""


class NoNetwork(Exception):
    """This machine, or this user, may not make one."""


class Network:
    """A namespace with two cables to this one: one to Redis, one to everything else. `number` is its own of 8192."""

    def __init__(self, number: int) -> None:
        self.name = f"llmqd{number}"
        nets = [f"198.{18 + number // 4096}.{number // 16 % 256}.{number % 16 * 16 + each}" for each in (0, 4)]
        heads = [(net.rpartition(".")[0], int(net.rpartition(".")[2])) for net in nets]
        self.redis, self.others = (f"{head}.{last + 1}" for head, last in heads)
        """The addresses of this end of each."""
        self._there = [f"{head}.{last + 2}" for head, last in heads]
        self._cables = [f"{self.name}{letter}" for letter in "ab"]

    def make(self) -> None:
        """Raises NoNetwork."""
        _ip("netns", "add", self.name)
        _ip("-n", self.name, "link", "set", "lo", "up")
        for cable, here, there in zip(self._cables, (self.redis, self.others), self._there, strict=True):
            _ip("link", "add", cable, "type", "veth", "peer", "name", cable, "netns", self.name)
            _ip("addr", "add", f"{here}/30", "dev", cable)
            _ip("-n", self.name, "addr", "add", f"{there}/30", "dev", cable)
            _ip("link", "set", cable, "up")
            _ip("-n", self.name, "link", "set", cable, "up")

    def cut(self) -> None:
        """Pulls the cable to Redis out: nobody is told, packets do not arrive."""
        _ip("link", "set", self._cables[0], "down")

    def mend(self) -> None:
        """Plugs it in again."""
        _ip("link", "set", self._cables[0], "up")

    def remove(self) -> None:
        """The cables go with it."""
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True, timeout=_PATIENCE, check=False)


@contextmanager
def network() -> Iterator[Network | None]:
    """A network of its own; None where this machine, or this user, may not make one."""
    made = Network(os.getpid() % _SUBNETS)
    try:
        try:
            made.make()
        except NoNetwork as none:
            print(f"no daemon is cut off by a network of its own: {none}")
            yield None
        else:
            yield made
    finally:
        made.remove()


class InNamespace(LlmqdProcess):
    """A daemon in a network namespace; clients reach it through a unix socket."""

    def __init__(self, directory: Path, toml: str, network: str) -> None:
        self._network = network
        self.socket = directory / "llmqd.sock"
        super().__init__(directory, toml)

    def command(self) -> list[str]:
        return ["ip", "netns", "exec", self._network, *super().command()]

    def write(self, toml: str, server: str = "") -> None:
        super().write(toml, server)
        text = self.config.read_text()
        self.config.write_text(text.replace(f'"127.0.0.1:{self.port}"', f'"unix:{self.socket}"', 1))


def _ip(*words: str) -> None:
    try:
        subprocess.run(["ip", *words], capture_output=True, text=True, timeout=_PATIENCE, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or error
        raise NoNetwork(f"ip {' '.join(words)}: {str(said).strip()}") from error
