"""The settings of `[store]`: where calls are recorded, how safely, what of them is kept and for how long."""

# ruff: noqa: RUF009 - setting() makes a dataclass field, as dataclasses.field() does

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from llmqd.config.kinds import Choice, Duration, FilePath, Flag, Integer, Listing, Size
from llmqd.config.net_kinds import SecretText
from llmqd.config.pattern import Pattern
from llmqd.config.secret import Secret
from llmqd.config.setting import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """The ledger: where calls are recorded and how safely."""

    backend: str = setting(
        Choice(("sqlite", "memory", "postgresql")),
        "sqlite",
        "sqlite; memory (nothing on disk, gone at the next start); or postgresql, a server that several daemons may\n"
        "write to. The journal before it is always a file of this machine, but for memory.",
    )
    dsn: Secret | None = setting(
        SecretText(),
        None,
        'Address of the PostgreSQL database with backend = "postgresql", or where that stands: env:NAME, file:/path,\n'
        "credential:NAME. Another schema than public: ?schema=NAME. See docs/postgresql.md.",
        example="postgresql://llmqd@db.example.org/llmqd",
    )
    path: Path = setting(FilePath(), "llmqd.db", "The database; a relative path counts from the state directory.")
    durability: str = setting(
        Choice(("process", "power")),
        "process",
        "process: a record survives the death of the daemon, and a power cut loses sync_every at most.\n"
        "power: a record is on the disk before the client has its last byte.",
    )
    sync_every: float = setting(
        Duration(least=0.01), "1s", 'How often the journal is forced to the disk with durability = "process".'
    )
    batch_every: float = setting(
        Duration(least=0.01),
        "1s",
        "How long records at most wait in the journal for others, to go into the database together.",
    )
    journal_segment: int = setting(Size(least=65536), "16MiB", "Size at which the journal begins a new file.")
    journal_max: int = setting(
        Size(),
        "1GiB",
        "Largest journal while the database cannot be written; beyond it the oldest texts in it are given up, and\n"
        "calls are recorded only when they end. Nothing that is counted is lost. 0: no limit.",
    )
    behind_max: float = setting(
        Duration(),
        "1m",
        "How long the database may be behind the journal before /health says so: the machine is too busy then.\n"
        "0: for ever.",
    )
    query_timeout: float = setting(
        Duration(), "10s", "Longest that a question to the ledger may take; then it is given up with 503. 0: no limit."
    )
    buffer: int = setting(
        Size(least=65536), "16MiB", "Memory for records while not even the journal can be written; then the oldest go."
    )
    memory_calls: int = setting(Integer(least=1), 10000, "Calls that the memory backend keeps.")
    capture: str = setting(
        Choice(("full", "usage")),
        "full",
        "full: what was said is kept, each message once. usage: only who called, what it took and what it cost.\n"
        "A client may ask for less by X-LLMQD-Store (full, usage, none), never for more.",
    )
    capture_max: int = setting(
        Size(),
        "4MiB",
        "So much of an answer (decoded) is held until its end, to read from it what the model said. Of what is longer\n"
        "only the beginning is read. 0: answers are not read, and no session is recognised by them.",
    )
    redact: tuple[str, ...] = setting(
        Listing(Pattern()),
        [],
        "Regular expressions (Python's) of what must not be kept; what they match becomes [redacted:1] and so on, or\n"
        "[redacted:NAME] with a named group: ['(?P<ticket>TICKET-\\d+)']. Applied before anything is written.",
    )
    redact_secrets: bool = setting(
        Flag(),
        True,
        "Redact what looks like a key, token or private key as well. The daemon's own keys are redacted always.",
    )
    media_max: int = setting(
        Size(),
        "1MiB",
        "Largest picture, sound or file kept with a message, in bytes; of larger ones only type and size. 0: none.",
    )
    retention: float = setting(
        Duration(), "90d", "How long calls and what was said in them are kept. Totals stay. 0: for ever."
    )
    texts_retention: float | None = setting(
        Duration(), None, "How long what was said is kept, where that is shorter. Unset: as retention.", example="30d"
    )
    max_size: int = setting(
        Size(),
        "10GiB",
        "Largest database. When it is reached the oldest texts go, then the oldest calls; in PostgreSQL whole days of\n"
        "them. In memory 256MiB at most. 0: no limit.",
    )
