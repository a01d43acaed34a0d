"""`llmqd keys`: makes, lists, revokes and bounds client keys, in the file that the daemon looks at with every call."""

from __future__ import annotations

import argparse
import ipaddress
import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import orjson

from llmqd.auth.key import ClientKey, KeyBudget, new_token
from llmqd.auth.key_file import KeyFile
from llmqd.cli.codes import DONE, FAILED, USED_WRONGLY
from llmqd.cli.table import table
from llmqd.config.load import Overrides, load
from llmqd.config.net_kinds import Name
from llmqd.errors import ConfigError, KeyFileError


def run(args: argparse.Namespace) -> int:
    """Run one action and print what came of it; faults go to stderr."""
    try:
        config = load(args.config, os.environ, Overrides(state_directory=args.state_directory))
        file = KeyFile(config.server.state_directory)
        if args.action == "list":
            return _list(args, file)
        if args.action == "budget":
            return _budget(args, file)
        return _create(args, file) if args.action == "create" else _revoke(args, file)
    except (ConfigError, KeyFileError) as error:
        print(f"llmqd: {error}", file=sys.stderr)
        return FAILED


def _create(args: argparse.Namespace, file: KeyFile) -> int:
    if (fault := _unfit(args.name)) is not None:
        print(f"llmqd: {fault}", file=sys.stderr)
        return USED_WRONGLY
    token, now = new_token(), time.time()
    key = ClientKey(
        id=token.id,
        name=args.name,
        digest=token.digest,
        created=now,
        expires=None if args.expires is None else now + args.expires,
        priority=args.priority,
        weight=args.weight,
        rpm=args.rpm,
        tpm=args.tpm,
        models=args.models,
        upstreams=args.upstreams,
        budgets=_budgets(args),
    )
    with file.changing() as keys:
        if args.name in keys:
            state = "revoked" if keys[args.name].revoked is not None else "there"
            raise KeyFileError(f"a key named {args.name!r} is {state} already; names are never given twice")
        keys[key.name] = key
    if args.json:
        print(orjson.dumps({"name": key.name, "id": key.id, "key": token.text}).decode())
    else:
        print(token.text)
        print("This key is shown only now. Keep it; llmqd itself knows only its digest.", file=sys.stderr)
    return DONE


def _budget(args: argparse.Namespace, file: KeyFile) -> int:
    """Gives a key other budgets, or shows those that it has."""
    if args.limit or args.none:
        with file.changing() as keys:
            if args.name not in keys:
                raise KeyFileError(f"no key is named {args.name!r}; nothing was changed")
            keys[args.name] = replace(keys[args.name], budgets=_budgets(args))
    key = next((one for one in file.read() if one.name == args.name), None)
    if key is None:
        raise KeyFileError(f"no key is named {args.name!r}")
    if args.json:
        print(orjson.dumps({"name": key.name, "budgets": key.budgets}).decode())
    else:
        print(f"{key.name}: {_allowances(key.budgets) or 'no budget of its own'}")
    return DONE


def _budgets(args: argparse.Namespace) -> tuple[KeyBudget, ...]:
    limits = dict.fromkeys(str(limit) for limit in args.limit)
    return tuple(KeyBudget(limit=limit, zone=args.zone, demote_to=args.demote_to) for limit in limits)


def _allowances(budgets: Iterable[KeyBudget]) -> str:
    return ", ".join(one.limit + (f" ({one.zone})" if one.zone != "UTC" else "") for one in budgets)


def _revoke(args: argparse.Namespace, file: KeyFile) -> int:
    revoked = []
    with file.changing() as keys:
        for name in args.name:
            if name not in keys:
                raise KeyFileError(f"no key is named {name!r}; nothing was changed")
            if keys[name].revoked is None:
                keys[name] = replace(keys[name], revoked=time.time())
            revoked.append(name)
    if args.json:
        print(orjson.dumps({"revoked": revoked}).decode())
    else:
        print(f"revoked: {', '.join(revoked)}")
    return DONE


def _list(args: argparse.Namespace, file: KeyFile) -> int:
    uses = file.read_uses()
    shown = [shape(key, uses.get(key.name), time.time()) for key in file.read()]
    if args.json:
        print(orjson.dumps(shown, option=orjson.OPT_INDENT_2).decode())
        return DONE
    for line in listing(shown):
        print(line)
    return DONE


def shape(key: ClientKey, used: float | None, now: float) -> dict[str, Any]:
    """A key as JSON: everything but its digest. `used` is when it was last used, Unix seconds like `now`."""
    expired = key.expires is not None and now >= key.expires
    return {
        "name": key.name,
        "id": key.id,
        "state": "revoked" if key.revoked is not None else "expired" if expired else "active",
        "created": _time(key.created),
        "expires": _time(key.expires),
        "revoked": _time(key.revoked),
        "last_used": _time(used),
        "priority": key.priority,
        "weight": key.weight,
        "rpm": key.rpm,
        "tpm": key.tpm,
        "budgets": [asdict(one) for one in key.budgets],
        "models": key.models,
        "upstreams": key.upstreams,
    }


def listing(keys: list[dict[str, Any]]) -> Iterator[str]:
    """The keys as a table."""
    if not keys:
        yield "no keys; make one with: llmqd keys create --name NAME"
        return
    yield from table(
        (
            "NAME",
            "ID",
            "STATE",
            "PRIORITY",
            "WEIGHT",
            "RPM",
            "TPM",
            "BUDGETS",
            "MODELS",
            "UPSTREAMS",
            "EXPIRES",
            "LAST USED",
        ),
        (
            (
                key["name"],
                key["id"],
                key["state"],
                key["priority"],
                f"{key['weight']:g}",
                _bound(key["rpm"]),
                _bound(key["tpm"]),
                ", ".join(one["limit"] for one in key["budgets"]) or "-",
                ",".join(key["models"]) or "all",
                ",".join(key["upstreams"]) or "all",
                key["expires"] or "never",
                key["last_used"] or "never",
            )
            for key in keys
        ),
        right=("PRIORITY", "WEIGHT", "RPM", "TPM"),
    )


def _bound(rate: float) -> str:
    return f"{rate:g}" if rate else "-"


def _unfit(name: str) -> str | None:
    """Why a key cannot have this name: it would be taken for something else in figures; None where it can."""
    try:
        Name().read(name)
    except ValueError as error:
        return f"--name: {error}"
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return "--name: uid-… is for users of the unix socket" if name.startswith("uid-") else None
    return "--name: an address is no name of a key"


def _time(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
