"""The OCI image: its root is run and called, without any container engine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from llmqd import __version__
from tests.system.deb.conftest import ROOT, SUITE, UPSTREAM
from tests.system.deb.container import Container, Image
from tests.system.deb.service import JSON, URL, body

pytestmark = [
    pytest.mark.deb,
    pytest.mark.skipif(shutil.which("buildah") is None, reason="buildah is not installed"),
]


@pytest.fixture(scope="module")
def image(package: Path) -> Iterator[Image]:
    subprocess.run(
        [ROOT / "packaging" / "build-image", SUITE],
        env=os.environ | {"LLMQD_DEB": str(package)},
        check=True,
        timeout=1200,
    )
    directory = Path(tempfile.mkdtemp(prefix="llmqd-image-"))
    try:
        yield Image(ROOT / "build" / SUITE / f"llmqd_{__version__}_image.tar", directory)
    finally:
        subprocess.run(["rm", "-rf", "--one-file-system", directory], check=True)


def test_it_runs_as_its_own_user_and_waits_for_calls_from_outside(image: Image) -> None:
    assert image.config["User"] == "llmqd"
    assert list(image.config["ExposedPorts"]) == ["8080/tcp"]
    assert list(image.config["Volumes"]) == ["/var/lib/llmqd"]
    assert image.config["Cmd"][-2:] == ["--listen", "0.0.0.0:8080"]
    assert image.config["Labels"]["org.opencontainers.image.version"] == __version__


def test_it_starts_as_it_comes_and_asks_for_client_keys(image: Image, tmp_path: Path) -> None:
    with Container(image, tmp_path / "console") as container:
        curl = container.beside("curl", "-s")
        health = subprocess.run([*curl, f"{URL}/health"], check=True, capture_output=True, timeout=60).stdout
        assert orjson.loads(health)["status"] == "degraded"
        code = [*curl, "-o", "/dev/null", "-w", "%{http_code}", "-d", "{}", f"{URL}/v1/chat/completions"]
        assert subprocess.run(code, check=True, capture_output=True, timeout=60).stdout == b"401"
        assert container.stop() == 0


def test_a_call_goes_through_it_with_the_key_of_a_secret_and_it_stops_when_told(image: Image, tmp_path: Path) -> None:
    (image.root / "etc/llmqd/llmqd.toml").write_text(UPSTREAM + '[auth]\nmode = "keys"\n')
    # What compose.yaml mounts there; nspawn mounts /run itself, so here it is elsewhere.
    secrets = image.root / "srv"
    (secrets / "openai").write_text("sk-from-secret\n")
    image.config["Env"] = [*image.config["Env"], "CREDENTIALS_DIRECTORY=/srv"]
    key = Container(image, tmp_path / "keys").once("/usr/bin/llmqd", "keys", "create", "--name", "app", "--json")["key"]
    with Container(image, tmp_path / "console") as container:
        keys = tmp_path / "sent"
        provider = subprocess.Popen(
            container.beside(sys.executable, str(Path(__file__).with_name("provider.py")), "9000", str(keys))
        )
        try:
            curl = container.beside("curl", "-s", "--fail", "--retry", "5", "--retry-all-errors")
            answer = subprocess.run(
                [
                    "sh",
                    "-c",
                    f"{' '.join(curl)} -H 'Authorization: Bearer {key}' {JSON} -d '{body()}' {URL}/v1/chat/completions",
                ],
                check=True,
                capture_output=True,
                timeout=120,
            ).stdout
            assert orjson.loads(answer)["choices"][0]["message"]["content"] == "ok"
            health = subprocess.run([*curl, f"{URL}/health"], check=True, capture_output=True, timeout=60).stdout
            assert orjson.loads(health)["status"] == "ok"
            assert "Bearer sk-from-secret" in keys.read_text()
            assert container.stop() == 0
        finally:
            provider.kill()
            provider.wait()
    assert (image.root / "var/lib/llmqd/llmqd.db").stat().st_size > 0
    assert "stopped" in container.said()


def test_compose_names_this_image_and_gives_streams_time_to_end(image: Image) -> None:
    text = (ROOT / "build" / SUITE / "compose.yaml").read_text()
    assert f"image: localhost/llmqd:{__version__}\n" in text
    (grace,) = re.findall(r"stop_grace_period: (\d+)m", text)
    (unit,) = re.findall(r"TimeoutStopSec=(\d+)min", (ROOT / "systemd" / "llmqd.service").read_text())
    assert grace == unit
