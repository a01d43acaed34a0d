"""llmqd's own errors in every dialect, with hints that SDKs obey."""

from __future__ import annotations

import orjson
import pytest

from llmqd.errors import BodyTooLarge, CallRefused, QueueFull, ShuttingDown, UpstreamTimeout
from llmqd.web.refusal import error_object, refusal


def test_each_dialect_has_its_shape() -> None:
    assert error_object("openai", 429, "queue_full", "m") == {
        "error": {"message": "m", "type": "rate_limit_error", "param": None, "code": "queue_full"}
    }
    assert error_object("anthropic", 429, "queue_full", "m") == {
        "type": "error",
        "error": {"type": "rate_limit_error", "message": "m", "code": "queue_full"},
    }
    gemini = error_object("gemini", 429, "queue_full", "m")["error"]
    assert (gemini["code"], gemini["message"], gemini["status"]) == (429, "m", "RESOURCE_EXHAUSTED")
    assert error_object("ollama", 429, "queue_full", "m") == {"error": "m", "code": "queue_full"}


def test_hints_of_a_full_queue() -> None:
    response = refusal(QueueFull("full", retry_after=2.25, position=7, eta=2.25), "openai", {"X-LLMQD-Upstream": "u"})
    assert response.status == 429
    assert response.headers["Retry-After"] == "3"
    assert response.headers["retry-after-ms"] == "2250"
    assert response.headers["X-LLMQD-Position"] == "7"
    assert response.headers["X-LLMQD-ETA-Ms"] == "2250"
    assert response.headers["X-LLMQD-Upstream"] == "u"
    assert "x-should-retry" not in response.headers


@pytest.mark.parametrize(("wait", "hint"), [(600.0, None), (601.0, "false"), (None, None)])
def test_who_would_have_to_wait_longer_than_any_client_does_is_told_not_to_come_back(
    wait: float | None, hint: str | None
) -> None:
    response = refusal(QueueFull("the quota of the day is used up", retry_after=wait), "openai")
    assert response.headers.get("x-should-retry") == hint


def test_a_stopping_daemon_asks_to_come_back() -> None:
    response = refusal(ShuttingDown("bye", retry_after=1.0, retry=True), "anthropic")
    assert (response.status, response.headers["Retry-After"], response.headers["x-should-retry"]) == (503, "1", "true")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(BodyTooLarge("b"), 413, "body_too_large"), (UpstreamTimeout("t"), 504, "upstream_timeout")],
)
def test_status_and_code(error: CallRefused, status: int, code: str) -> None:
    response = refusal(error, "openai")
    assert response.status == status
    assert orjson.loads(response.body)["error"]["code"] == code  # type: ignore[arg-type]
