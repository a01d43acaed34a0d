"""Makes journal entries smaller for when there is no room: what was said goes, what is counted never does. No I/O."""

from __future__ import annotations

from collections.abc import Iterable

import orjson

_SAID = b'"said"'


def without_texts(payload: bytes) -> tuple[bytes, int]:
    """(the entry without the texts that it carries, how many these were); other entries are as they are."""
    if _SAID not in payload:
        return payload, 0
    try:
        entry = orjson.loads(payload)
        texts = entry["said"]["texts"]
        if not texts:
            return payload, 0
        entry["said"]["texts"] = []
        return orjson.dumps(entry), len(texts)
    except (ValueError, TypeError, KeyError):  # none of ours: whoever reads it will say so
        return payload, 0


def thinned(payloads: Iterable[bytes]) -> tuple[list[bytes], int]:
    """(these entries without texts, how many texts went)."""
    kept: list[bytes] = []
    gone = 0
    for payload in payloads:
        less, texts = without_texts(payload)
        kept.append(less)
        gone += texts
    return kept, gone
