"""What llmqd is compared with: how each is installed below build/bench, and how it is started."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from bench.processes import Running, free_port, pinned, start

LITELLM, PORTKEY = "litellm[proxy]==1.106.0", "@portkey-ai/gateway@1.15.2"
SERVED_ON = 1
"""The CPU of what is measured; load and mock have the other one."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One program. `headers` are what its clients have to send beside the usual ones."""

    name: str
    install: Callable[[Path], None]
    command: Callable[[Path, int, int], Sequence[str]]
    """Its command from its directory, the upstream's port and its own."""
    headers: Callable[[int], Mapping[str, str]] = field(default=lambda _: {})
    environ: Mapping[str, str] = field(default_factory=dict)

    def run(self, build: Path, upstream: int, log: IO[bytes]) -> Running:
        """Installs it where it is not, and starts it. Raises OSError, CalledProcessError or RuntimeError."""
        directory = build / self.name.replace(" ", "-")
        directory.mkdir(parents=True, exist_ok=True)
        self.install(directory)
        port = free_port()
        return start([*pinned(SERVED_ON), *self.command(directory, upstream, port)], port, log, self.environ)


def _quietly(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _debian(package: str, program: str) -> Callable[[Path], None]:
    def install(_: Path) -> None:
        if shutil.which(program, path="/usr/sbin:/usr/bin") is None:
            if os.geteuid() != 0:
                raise OSError(f"{program} is not installed; as root: apt-get install {package}")
            _quietly("env", "RUNLEVEL=1", "apt-get", "install", "-y", "--no-install-recommends", package)

    return install


def _python(*packages: str) -> Callable[[Path], None]:
    def install(directory: Path) -> None:
        if not (directory / "ready").exists():
            _quietly(sys.executable, "-m", "venv", str(directory / "venv"))
            _quietly(str(directory / "venv/bin/pip"), "install", "-q", *packages)
            (directory / "ready").touch()

    return install


def _npm(package: str) -> Callable[[Path], None]:
    def install(directory: Path) -> None:
        if not (directory / "ready").exists():
            _quietly("npm", "install", "--silent", "--prefix", str(directory), package)
            (directory / "ready").touch()

    return install


def _nginx(directory: Path, upstream: int, port: int) -> Sequence[str]:
    config = directory / "nginx.conf"
    config.write_text(
        f"daemon off; worker_processes 1; pid {directory}/pid; error_log {directory}/error.log;\n"
        "events { worker_connections 8192; }\n"
        "http { access_log off; keepalive_requests 1000000;\n"
        f"  upstream up {{ server 127.0.0.1:{upstream}; keepalive 1024; keepalive_requests 1000000; }}\n"
        f"  server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ proxy_pass http://up; proxy_buffering off;\n"
        '    proxy_http_version 1.1; proxy_set_header Connection ""; } } }\n'
    )
    return ["/usr/sbin/nginx", "-p", str(directory), "-c", str(config)]


def _haproxy(directory: Path, upstream: int, port: int) -> Sequence[str]:
    config = directory / "haproxy.cfg"
    config.write_text(
        "global\n  nbthread 1\n  maxconn 8192\n"
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  http-reuse always\n"
        f"frontend f\n  bind 127.0.0.1:{port}\n  default_backend b\nbackend b\n  server s 127.0.0.1:{upstream}\n"
    )
    return ["/usr/sbin/haproxy", "-f", str(config)]


def _bare(directory: Path, upstream: int, port: int) -> Sequence[str]:
    forwarder = str(Path(__file__).with_name("forwarder.py"))
    return [str(directory / "venv/bin/python"), forwarder, f"http://127.0.0.1:{upstream}", str(port)]


def _litellm(directory: Path, upstream: int, port: int) -> Sequence[str]:
    config = directory / "config.yaml"
    config.write_text(
        "model_list:\n  - model_name: gpt-4o-mini\n    litellm_params:\n      model: openai/gpt-4o-mini\n"
        f"      api_base: http://127.0.0.1:{upstream}/v1\n      api_key: x\n"
    )
    litellm = str(directory / "venv/bin/litellm")
    return [litellm, "--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]


def _portkey(directory: Path, _: int, port: int) -> Sequence[str]:
    script = directory / "node_modules/@portkey-ai/gateway/build/start-server.js"
    return ["node", str(script), f"--port={port}", "--headless"]


def _to_portkey(upstream: int) -> Mapping[str, str]:
    return {"x-portkey-provider": "openai", "x-portkey-custom-host": f"http://127.0.0.1:{upstream}/v1"}


PEERS = (
    Peer("bare aiohttp", _python("aiohttp", "uvloop"), _bare),
    Peer("nginx", _debian("nginx-light", "nginx"), _nginx),
    Peer("haproxy", _debian("haproxy", "haproxy"), _haproxy),
    Peer(
        "LiteLLM proxy",
        _python(LITELLM),
        _litellm,
        # The load presents the key "x"; without any master key LiteLLM refuses to start.
        environ={"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False", "LITELLM_MASTER_KEY": "x"},
    ),
    Peer("Portkey", _npm(PORTKEY), _portkey, headers=_to_portkey, environ={"NODE_ENV": "production"}),
)
