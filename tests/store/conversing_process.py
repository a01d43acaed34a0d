"""A process that records what conversations say as fast as it can and says each call aloud, to be killed."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from llmqd.config.store import Store
from llmqd.store.ledger import Ledger
from tests.store.conversing import Scribe, Talk


async def main(directory: Path, name: str) -> None:
    scribe = Scribe()
    settings = Store(batch_every=0.01, journal_segment=65536)
    async with Ledger(settings, directory, transcripts=scribe.transcripts) as ledger:
        number = 0
        while True:
            talk = Talk(scribe, ledger)
            for turn in range(5):
                record = talk.say(f"question {turn} of {name}/{number}", f"answer {turn} of {name}/{number}")
                os.write(1, f"{record.call.id} {turn} {name}/{number}\n".encode())
                await asyncio.sleep(0)
            number += 1


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
