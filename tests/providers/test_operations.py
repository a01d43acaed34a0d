"""What a path asks for."""

from __future__ import annotations

import pytest

from llmqd.providers.operations import Operation, operation_of, with_model


@pytest.mark.parametrize(
    ("path", "name", "dialect", "model"),
    [
        ("/v1/chat/completions", "chat", "openai", None),
        ("/openai/v1/chat/completions", "chat", "openai", None),
        ("/v1beta/openai/chat/completions", "chat", "openai", None),
        ("/openai/deployments/gpt4/chat/completions", "chat", "openai", "gpt4"),
        ("/v1/completions", "completion", "openai", None),
        ("/v1/responses", "responses", "openai", None),
        ("/v1/embeddings", "embeddings", "openai", None),
        ("/v1/audio/transcriptions", "transcription", "openai", None),
        ("/v1/images/generations", "images", "openai", None),
        ("/v1/messages", "messages", "anthropic", None),
        ("/v1beta/models/gemini-x:generateContent", "generate_content", "gemini", "gemini-x"),
        ("/v1beta/models/gemini-x:streamGenerateContent", "generate_content", "gemini", "gemini-x"),
        ("/v1/models/gemini-x:generateContent", "generate_content", "gemini", "gemini-x"),
        ("/v1beta/models/e:embedContent", "embed_content", "gemini", "e"),
        ("/api/chat", "chat", "ollama", None),
        ("/v1beta/models/gemini-x%3AgenerateContent", "generate_content", "gemini", "gemini-x"),
        ("/v1beta/models/gemini-x%3astreamGenerateContent", "generate_content", "gemini", "gemini-x"),
        ("/model/anthropic.claude%3A0/converse", "other", None, "anthropic.claude:0"),
        ("/openai/deployments/my%20gpt%2F4/chat/completions", "chat", "openai", "my gpt/4"),
        ("/v1/threads", "other", None, None),
    ],
)
def test_calls_that_wait(path: str, name: str, dialect: str | None, model: str | None) -> None:
    assert operation_of("POST", path) == Operation(name, dialect, True, model)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models"),
        ("GET", "/v1/models/gpt-4o"),
        ("HEAD", "/"),
        ("OPTIONS", "/v1/chat/completions"),
        ("GET", "/v1/responses/resp_1"),
        ("DELETE", "/v1/files/f"),
        ("POST", "/v1/files"),
        ("POST", "/v1/batches"),
        ("GET", "/v1/batches"),
        ("POST", "/v1/uploads/u/parts"),
        ("POST", "/v1/messages/count_tokens"),
        ("POST", "/v1/messages/batches"),
        ("POST", "/v1/responses/r/cancel"),
        ("POST", "/v1beta/models/m:countTokens"),
        ("POST", "/upload/v1beta/files"),
    ],
)
def test_calls_that_pass_without_waiting(method: str, path: str) -> None:
    assert not operation_of(method, path).queued


def test_a_websocket_handshake_waits() -> None:
    assert operation_of("GET", "/v1/realtime", upgrade=True) == Operation("realtime", "openai")
    assert not operation_of("GET", "/v1/realtime").queued


def test_gemini_paths_speak_gemini_except_below_openai() -> None:
    assert operation_of("GET", "/v1beta/models").dialect == "gemini"
    assert operation_of("GET", "/v1beta/cachedContents").dialect == "gemini"
    assert operation_of("GET", "/v1beta/openai/models").dialect is None


@pytest.mark.parametrize(
    ("path", "model", "expected"),
    [
        ("/v1beta/models/m:generateContent", "n-2.5", "/v1beta/models/n-2.5:generateContent"),
        ("/v1beta/models/m%3AgenerateContent", "n", "/v1beta/models/n%3AgenerateContent"),
        ("/v1beta/tunedModels/m:streamGenerateContent", "n", "/v1beta/tunedModels/n:streamGenerateContent"),
        ("/openai/deployments/m/chat/completions", "my deploy", "/openai/deployments/my%20deploy/chat/completions"),
        ("/model/anthropic.m%3A0/converse", "b:1/x", "/model/b%3A1%2Fx/converse"),
        ("/v1/models/m", "n", "/v1/models/m"),
        ("/v1/chat/completions", "n", "/v1/chat/completions"),
    ],
)
def test_the_model_of_a_path_can_be_another(path: str, model: str, expected: str) -> None:
    assert with_model(path, model) == expected
