"""What is asked of the service in the machine: its state, a call through it, its log, its ledger."""

from __future__ import annotations

import json
from typing import Any

from tests.system.deb.machine import Machine

URL = "http://127.0.0.1:8080"
JSON = "-H 'Content-Type: application/json'"
CHAT = f"{JSON} -H 'Authorization: Bearer nobodys'"


def prop(machine: Machine, name: str, unit: str = "llmqd") -> str:
    """A property of the unit, as systemctl(1) shows it."""
    return machine.run(f"systemctl show --value --property={name} {unit}")


def pid(machine: Machine, unit: str = "llmqd") -> int:
    """The daemon's process number in there, 0 without one."""
    return int(prop(machine, "MainPID", unit))


def health(machine: Machine) -> dict[str, Any]:
    """What /health says; empty while nothing answers."""
    text = machine.run(f"curl -s {URL}/health", check=False)
    answer: dict[str, Any] = json.loads(text) if text else {}
    return answer


def body(stream: bool = False) -> str:
    """A chat completion request."""
    return json.dumps({"model": "m", "stream": stream, "messages": [{"role": "user", "content": "Hi"}]})


def call(machine: Machine, stream: bool = False) -> tuple[str, str]:
    """Makes a call that must succeed: the id it had, and the answer's body."""
    answer = machine.run(f"curl -si --fail {CHAT} -d '{body(stream)}' {URL}/v1/chat/completions")
    head, _, content = answer.partition("\n\n")
    fields = dict(line.lower().split(": ", 1) for line in head.splitlines()[1:])
    return fields["x-llmqd-request-id"], content


def messages(machine: Machine, *match: str) -> list[dict[str, Any]]:
    """Journal entries that match, as journalctl(1) takes it, with all their fields."""
    lines = machine.run(f"journalctl --sync; journalctl --quiet --no-pager -o json {' '.join(match)}").splitlines()
    return [json.loads(line) for line in lines]


def ledger(machine: Machine, query: str, path: str = "/var/lib/llmqd/llmqd.db") -> list[list[Any]]:
    """Asks the database itself."""
    program = (
        "import json, sqlite3; "
        f"db = sqlite3.connect('file:{path}?mode=ro', uri=True); "
        f"print(json.dumps(db.execute({query!r}).fetchall()))"
    )
    rows: list[list[Any]] = json.loads(machine.run("python3 -", typed=program))
    return rows
