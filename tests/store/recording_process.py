"""A process that records calls as fast as it can and says each one aloud, for the test that kills it."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from llmqd.config.model import Store
from llmqd.store.ledger import Ledger
from tests.store.records import answer, make_record


async def main(directory: Path) -> None:
    async with Ledger(Store(batch_every=0.01, journal_segment=65536), directory) as ledger:
        number = 0
        while True:
            record = make_record("s")
            ledger.opened(record)
            os.write(1, f"o {record.call.id}\n".encode())
            if number % 10:
                ledger.closed(answer(record))
                os.write(1, f"c {record.call.id}\n".encode())
            number += 1
            if number % 20 == 0:
                await asyncio.sleep(0.001)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
