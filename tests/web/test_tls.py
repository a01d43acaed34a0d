"""TLS of the listeners: what is said of files that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmqd.errors import ListenError
from llmqd.web.tls import ServerTls


def test_text_that_is_no_certificate_is_called_so(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("no certificate")
    with pytest.raises(ListenError, match=r"cannot be used: they hold no certificate and private key \(PEM\)"):
        ServerTls(text, None)
