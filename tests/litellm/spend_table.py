"""LiteLLM_SpendLogs as LiteLLM makes and fills it: the table of several versions, and rows by its writing rules."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import asyncpg

COLUMNS = {
    "request_id": "TEXT PRIMARY KEY",
    "call_type": "TEXT NOT NULL",
    "api_key": "TEXT NOT NULL DEFAULT ''",
    "spend": "DOUBLE PRECISION NOT NULL DEFAULT 0",
    "total_tokens": "INTEGER NOT NULL DEFAULT 0",
    "prompt_tokens": "INTEGER NOT NULL DEFAULT 0",
    "completion_tokens": "INTEGER NOT NULL DEFAULT 0",
    "startTime": "TIMESTAMP(3) NOT NULL",
    "endTime": "TIMESTAMP(3) NOT NULL",
    "request_duration_ms": "INTEGER",
    "completionStartTime": "TIMESTAMP(3)",
    "model": "TEXT NOT NULL DEFAULT ''",
    "model_id": "TEXT DEFAULT ''",
    "model_group": "TEXT DEFAULT ''",
    "custom_llm_provider": "TEXT DEFAULT ''",
    "api_base": "TEXT DEFAULT ''",
    "user": "TEXT DEFAULT ''",
    "metadata": "JSONB DEFAULT '{}'",
    "cache_hit": "TEXT DEFAULT ''",
    "cache_key": "TEXT DEFAULT ''",
    "request_tags": "JSONB DEFAULT '[]'",
    "team_id": "TEXT",
    "organization_id": "TEXT",
    "end_user": "TEXT",
    "requester_ip_address": "TEXT",
    "messages": "JSONB DEFAULT '{}'",
    "response": "JSONB DEFAULT '{}'",
    "session_id": "TEXT",
    "status": "TEXT",
    "mcp_namespaced_tool_name": "TEXT",
    "agent_id": "TEXT",
    "proxy_server_request": "JSONB DEFAULT '{}'",
}
LATER = ("organization_id", "request_duration_ms", "agent_id", "session_id", "status", "mcp_namespaced_tool_name")
"""Columns that older versions lack."""
_JSON = ("metadata", "request_tags", "messages", "response", "proxy_server_request")


async def create(connection: asyncpg.Connection, *, without: Iterable[str] = ()) -> None:
    """The table, of a version that lacks some columns."""
    lacking = set(without)
    columns = ", ".join(f'"{name}" {kind}' for name, kind in COLUMNS.items() if name not in lacking)
    await connection.execute(f'CREATE TABLE "LiteLLM_SpendLogs" ({columns})')
    await connection.execute(
        'CREATE INDEX "LiteLLM_SpendLogs_startTime_request_id_idx" ON "LiteLLM_SpendLogs" ("startTime", request_id)'
    )


async def insert(connection: asyncpg.Connection, rows: Iterable[Mapping[str, Any]]) -> None:
    """Rows; columns that a row does not name get their defaults."""
    for row in rows:
        names = ", ".join(f'"{name}"' for name in row)
        marks = ", ".join(f"${number}" for number in range(1, len(row) + 1))
        values = [json.dumps(value) if name in _JSON else value for name, value in row.items()]
        await connection.execute(f'INSERT INTO "LiteLLM_SpendLogs" ({names}) VALUES ({marks})', *values)


def answer(text: str, request_id: str = "chatcmpl-1", **message: Any) -> dict[str, Any]:
    """An answer as LiteLLM serialises it: what is not there is null."""
    said = {"role": "assistant", "content": text, "tool_calls": None, "function_call": None} | message
    return {
        "id": request_id,
        "object": "chat.completion",
        "created": 1760000000,
        "model": "gpt-4o",
        "choices": [{"index": 0, "finish_reason": "stop", "message": said}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }


def row(
    request_id: str,
    start: datetime,
    *,
    messages: list[dict[str, Any]] | None = None,
    reply: str | None = None,
    took: float = 2.0,
    metadata: Mapping[str, Any] | None = None,
    spend_logs_metadata: Mapping[str, Any] | None = None,
    **values: Any,
) -> dict[str, Any]:
    """A row as it is written for a chat completion; prompts are stored where `messages` are given."""
    end = start + timedelta(seconds=took)
    prompt, completion = values.setdefault("prompt_tokens", 60), values.setdefault("completion_tokens", 40)
    return {
        "request_id": request_id,
        "call_type": "acompletion",
        "api_key": "88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b",
        "spend": 0.001,
        "total_tokens": prompt + completion,
        "startTime": start,
        "endTime": end,
        "completionStartTime": end,
        "model": "gpt-4o",
        "model_group": "gpt-4o",
        "custom_llm_provider": "openai",
        "user": "owner-of-the-key",
        "cache_hit": "None",
        "cache_key": "Cache OFF",
        "session_id": str(uuid.uuid4()),
        "status": "success",
        "messages": {},
        "response": {} if reply is None else answer(reply, request_id),
        "proxy_server_request": {} if messages is None else {"model": "gpt-4o", "messages": messages},
        "request_tags": ["User-Agent: OpenAI", "User-Agent: OpenAI/Python 2.1"],
        "metadata": {
            "user_api_key": "88dc28d0",
            "user_api_key_alias": None,
            "spend_logs_metadata": spend_logs_metadata,
            "status": "success",
            "error_information": {},
            **(metadata or {}),
        },
        **values,
    }
