"""Files that settings name and that cannot be used are faults or warnings, whatever is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmqd.config.load import load
from llmqd.config.model import Config
from llmqd.errors import ConfigError

TOO_LONG = "/" + 300 * "x"
"""A path at which the system fails like at one in a directory that is closed, which it is to root as well."""


def loaded(tmp_path: Path, toml: str, environ: dict[str, str] | None = None) -> Config:
    path = tmp_path / "llmqd.toml"
    path.write_text(toml)
    return load(path, environ or {})


def fault(tmp_path: Path, toml: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, toml)
    assert len(caught.value.faults) == 1
    return caught.value.faults[0]


@pytest.mark.parametrize("table", ['[[upstream]]\nname = "openai"\n', "[telemetry]\n"])
def test_certificates_to_trust_that_cannot_be_read_are_a_fault(tmp_path: Path, table: str) -> None:
    (tmp_path / "text").write_text("no certificate")
    assert "line" in fault(tmp_path, f'{table}ca_file = "{TOO_LONG}"\n')
    assert "cannot be read: File name too long" in fault(tmp_path, f'{table}ca_file = "{TOO_LONG}"\n')
    assert f"there is no file {tmp_path}/none" in fault(tmp_path, f'{table}ca_file = "{tmp_path}/none"\n')
    assert f"{tmp_path} is no file" in fault(tmp_path, f'{table}ca_file = "{tmp_path}"\n')
    assert "holds no certificates" in fault(tmp_path, f'{table}ca_file = "{tmp_path}/text"\n')


def test_a_certificate_of_the_daemon_that_cannot_be_looked_at_is_a_warning(tmp_path: Path) -> None:
    config = loaded(tmp_path, f'[server]\ntls_certificate = "file:{TOO_LONG}"\n')
    assert any("tls_certificate" in one and "File name too long" in one for one in config.warnings)


def test_a_directory_of_credentials_that_cannot_be_looked_into_is_a_fault(tmp_path: Path) -> None:
    toml = '[[upstream]]\nname = "openai"\napi_key = "credential:openai"\n'
    with pytest.raises(ConfigError, match=r"cannot read .*File name too long"):
        loaded(tmp_path, toml, {"CREDENTIALS_DIRECTORY": TOO_LONG})


@pytest.mark.parametrize("source", ["file:/a\\u0000b", "credential:a\\u0000b", "env:A\\nB"])
def test_a_place_of_a_secret_has_no_control_characters(tmp_path: Path, source: str) -> None:
    assert "control character" in fault(tmp_path, f'[[upstream]]\nname = "openai"\napi_key = "{source}"\n')


def test_an_integer_of_thousands_of_digits_is_a_fault(tmp_path: Path) -> None:
    assert "requests_per_minute" in fault(tmp_path, f"[queue]\nrequests_per_minute = 0x{5000 * 'f'}\n")
