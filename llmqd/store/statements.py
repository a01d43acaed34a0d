"""The SQL that follows the journal. Contains no decisions."""

from __future__ import annotations

from dataclasses import fields

from llmqd.store.backend import SessionTotals
from llmqd.store.columns import CALL_COLUMNS, OPENED_COLUMNS, OUTCOME_COLUMNS
from llmqd.store.spoken import SPOKEN_COLUMNS

_ALL = (*CALL_COLUMNS, *OUTCOME_COLUMNS, *SPOKEN_COLUMNS)


def _insert(columns: tuple[str, ...], extra: str = "") -> str:
    marks = ", ".join("?" * len(columns))
    return f"INSERT INTO calls ({', '.join(columns)}{', status' if extra else ''}) VALUES ({marks}{extra})"


OPEN_CALL = f"{_insert(OPENED_COLUMNS, ', ' + repr('running'))} ON CONFLICT (id) DO NOTHING"

CLOSE_CALL = f"{_insert(_ALL)} ON CONFLICT (id) DO UPDATE SET " + ", ".join(
    f"{column} = excluded.{column}" for column in _ALL if column != "id"
)

ALREADY_CLOSED = """
SELECT id FROM calls WHERE id IN (SELECT value FROM json_each(?)) AND status <> 'running'
"""

ADD_TO_SESSION = """
INSERT INTO sessions (
    session_id, source, first_seen, last_seen, request_count, error_count,
    prompt_tokens, completion_tokens, total_tokens, cached_tokens, cost_pico, unknown_cost_count,
    agent, user_id, conversation, client_key, function_calls, cache_hits, total_ms
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (session_id) DO UPDATE SET
    first_seen = min(sessions.first_seen, excluded.first_seen),
    last_seen = max(sessions.last_seen, excluded.last_seen),
    request_count = sessions.request_count + excluded.request_count,
    error_count = sessions.error_count + excluded.error_count,
    prompt_tokens = sessions.prompt_tokens + excluded.prompt_tokens,
    completion_tokens = sessions.completion_tokens + excluded.completion_tokens,
    total_tokens = sessions.total_tokens + excluded.total_tokens,
    cached_tokens = sessions.cached_tokens + excluded.cached_tokens,
    cost_pico = sessions.cost_pico + excluded.cost_pico,
    unknown_cost_count = sessions.unknown_cost_count + excluded.unknown_cost_count,
    agent = coalesce(sessions.agent, excluded.agent),
    user_id = coalesce(sessions.user_id, excluded.user_id),
    conversation = coalesce(sessions.conversation, excluded.conversation),
    client_key = coalesce(sessions.client_key, excluded.client_key),
    function_calls = sessions.function_calls + excluded.function_calls,
    cache_hits = sessions.cache_hits + excluded.cache_hits,
    total_ms = sessions.total_ms + excluded.total_ms
"""

INTERRUPT_SESSIONS = """
UPDATE sessions SET error_count = error_count + dead.calls
FROM (SELECT session_id, count(*) AS calls FROM calls WHERE status = 'running' GROUP BY session_id) AS dead
WHERE sessions.session_id = dead.session_id
"""

INTERRUPT_CALLS = "UPDATE calls SET status = 'interrupted' WHERE status = 'running'"

SET_META = "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"

GET_META = "SELECT value FROM meta WHERE key = ?"

TRIM_CALLS = """
DELETE FROM calls
WHERE status <> 'running' AND id <= (SELECT id FROM calls ORDER BY id DESC LIMIT 1 OFFSET ?)
"""

TRIM_SESSIONS = """
DELETE FROM sessions WHERE session_id IN (SELECT session_id FROM sessions ORDER BY last_seen DESC LIMIT -1 OFFSET ?)
"""

CALL = "SELECT * FROM calls WHERE id = ?"


def _totals() -> str:
    return ", ".join(field.name for field in fields(SessionTotals))


SESSIONS = f"SELECT {_totals()} FROM sessions ORDER BY last_seen DESC, session_id LIMIT ?"

SESSIONS_OF_KEY = f"""
SELECT {_totals()} FROM sessions WHERE client_key = ? ORDER BY last_seen DESC, session_id LIMIT ?
"""

SESSIONS_BY_ID = f"""
SELECT {_totals()} FROM sessions WHERE session_id IN (SELECT value FROM json_each(?))
ORDER BY last_seen DESC, session_id LIMIT ?
"""

COUNT_BY_STATUS = "SELECT status, count(*) AS calls FROM calls GROUP BY status"
