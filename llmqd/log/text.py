"""Writes records as text to a stream, and lines of which there are hundreds a second many at once."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from llmqd.log.formats import TextFormatter, is_plain, opening

if TYPE_CHECKING:
    from llmqd.log.redact import RedactSecrets


class TextHandler(logging.StreamHandler[TextIO]):
    """A stream that gets records as TextFormatter writes them. `redact` is to be its filter."""

    def __init__(self, stream: TextIO, redact: RedactSecrets) -> None:
        super().__init__(stream)
        self.setFormatter(TextFormatter())
        self._redact = redact

    def write_plain(self, level: str, name: str, entries: Sequence[tuple[str, Mapping[str, Any]]]) -> bool:
        """Writes the lines that records of these messages and fields would have now, without making records.

        What a message says beside words of ours and numbers must be among its fields, and no field be named as a secret
        is. Writes nothing and is False where something has to be masked or quoted: then they need records.
        """
        begin = opening(time.time(), level, name)
        lines, texts = "", []
        for message, fields in entries:
            pairs = [f"{field}={value}" for field, value in fields.items() if value is not None]
            lines += f"{begin}{message} {' '.join(pairs)}\n"
            texts += [value for value in fields.values() if value.__class__ is str]
        if not (is_plain(texts) and self._redact.passes(lines, "".join(texts))):
            return False
        self.acquire()
        try:
            self.stream.write(lines)
            self.flush()
        except Exception:  # as `emit` does it: logging must not end the program
            self.handleError(logging.makeLogRecord({"name": name, "levelname": level, "msg": lines}))
        finally:
            self.release()
        return True
