"""What the ledger tells a lane of the past: how much it has let through lately, and what calls to each model took."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmqd.usage import LaneUsage, Sample, Usage

SLOT = 10
"""Seconds of which one row of `lane_usage` tells."""
KEPT = 2 * 86_400
"""Seconds for which such rows are kept: no limit counts more than a day, and days differ by zone."""
_COARSE = 900
"""Seconds that are summed where details do not matter any more: every zone's midnight is at a quarter of an hour."""

SAMPLED = 5_000
"""Latest calls among which samples are looked for: a bound on what is read."""
SAMPLES = 50
"""Samples of each model: estimates forget what is older anyway."""

_MERGE = """
ON CONFLICT (slot, lane, model) DO UPDATE SET
    last_sent = max(lane_usage.last_sent, excluded.last_sent),
    calls = lane_usage.calls + excluded.calls,
    input_tokens = lane_usage.input_tokens + excluded.input_tokens,
    output_tokens = lane_usage.output_tokens + excluded.output_tokens,
    cached_tokens = lane_usage.cached_tokens + excluded.cached_tokens
"""

ADD_LANE_USAGE = f"""
INSERT INTO lane_usage (slot, lane, model, last_sent, calls, input_tokens, output_tokens, cached_tokens)
VALUES (?, ?, ?, ?, ?, ?, ?, ?) {_MERGE}
"""

ADD_INTERRUPTED = f"""
INSERT INTO lane_usage (slot, lane, model, last_sent, calls, input_tokens, output_tokens, cached_tokens)
SELECT CAST(sent / {SLOT} AS INTEGER) * {SLOT} AS slot, lane, model, max(sent), count(*), sum(text_bytes) / 4, 0, 0
FROM (
    SELECT received_at + queued_ms / 1000 AS sent, lane, coalesce(sent_model, model, '') AS model,
        coalesce(text_bytes, 0) AS text_bytes
    FROM calls WHERE status = 'running' AND lane IS NOT NULL AND queued_ms IS NOT NULL
) AS running
WHERE true GROUP BY 1, 2, 3 {_MERGE}
"""
"""Calls that were running when the daemon died: the provider has them. Text has about four bytes a token."""

TRIM_LANE_USAGE = "DELETE FROM lane_usage WHERE slot < ?"

LANE_USAGE = f"""
SELECT lane, model, max(last_sent) AS last, sum(calls) AS calls, CAST(total(input_tokens) AS INTEGER) AS input,
    CAST(total(output_tokens) AS INTEGER) AS output, CAST(total(cached_tokens) AS INTEGER) AS cached
FROM lane_usage WHERE slot >= ?
GROUP BY lane, model, CASE WHEN slot < ? THEN slot / {_COARSE} ELSE slot END
ORDER BY last
"""

LATEST_SAMPLES = """
SELECT upstream, model, text_bytes, media, input_tokens, output_tokens, cached_tokens
FROM (
    SELECT *, row_number() OVER (PARTITION BY upstream, model ORDER BY id DESC) AS age
    FROM (
        SELECT id, upstream, coalesce(sent_model, model) AS model, text_bytes, media, usage_source,
            input_tokens, output_tokens, cached_tokens
        FROM calls ORDER BY id DESC LIMIT ?
    ) AS latest
    WHERE usage_source = 'exact' AND text_bytes > 0 AND model IS NOT NULL
) AS samples
WHERE age <= ? ORDER BY id
"""


def lane_usage(row: Mapping[str, Any]) -> LaneUsage:
    """What a row of LANE_USAGE says."""
    return LaneUsage(**row)


def sample(row: Mapping[str, Any]) -> Sample:
    """What a row of LATEST_SAMPLES says."""
    usage = Usage(
        input=row["input_tokens"], output=row["output_tokens"], cached=row["cached_tokens"] or 0, source="exact"
    )
    return Sample(row["upstream"], row["model"], row["text_bytes"], row["media"] or 0, usage)
