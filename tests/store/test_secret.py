from __future__ import annotations

from pathlib import Path

import pytest

from llmqd.errors import StoreError
from llmqd.store.secret import installation_secret


def test_the_secret_is_made_once_for_this_user_alone_and_stays(tmp_path: Path) -> None:
    first = installation_secret(tmp_path / "state")
    assert len(first) == 32
    assert installation_secret(tmp_path / "state") == first
    assert (tmp_path / "state" / "secret").stat().st_mode & 0o777 == 0o600
    assert installation_secret(tmp_path / "other") != first


def test_a_secret_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"short")
    with pytest.raises(StoreError, match="damaged"):
        installation_secret(tmp_path)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="cannot be read or made"):
        installation_secret(tmp_path / "file")
