"""Writes records as text to a stream, and lines of which there are hundreds a second many at once."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, TextIO

from llmqd.log.formats import TextFormatter, is_plain, opening

if TYPE_CHECKING:
    from llmqd.log.plain import Plain
    from llmqd.log.redact import RedactSecrets


class TextHandler(logging.StreamHandler[TextIO]):
    """A stream that gets records as TextFormatter writes them. `redact` is to be its filter."""

    def __init__(self, stream: TextIO, redact: RedactSecrets) -> None:
        super().__init__(stream)
        self.setFormatter(TextFormatter())
        self._redact = redact

    def write_plain(self, plain: Plain) -> int:
        """Writes the lines that records of these messages would have now, without making records.

        Gives how many it has written: 0 where something has to be masked or quoted, as that needs records.
        """
        level, lines = logging.getLevelName(plain.level), ""
        head = opening(time.time(), level, plain.name)
        for message, fields in plain.said:
            pairs = [f"{field}={value}" for field, value in fields.items() if value is not None]
            lines += f"{head}{message} {' '.join(pairs)}\n"
        texts = plain.texts()
        if not (is_plain(texts) and self._redact.passes(lines, "".join(texts))):
            return 0
        self.acquire()
        try:
            self.stream.write(lines)
            self.flush()
        except Exception:  # as `emit` does it: logging must not end the program
            self.handleError(logging.makeLogRecord({"name": plain.name, "levelname": level, "msg": lines}))
        finally:
            self.release()
        return len(plain.said)
