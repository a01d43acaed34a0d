"""What a path asks for: whose dialect it speaks, which operation it is, and whether it waits for a turn."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, unquote

from llmqd.call import Dialect


@dataclass(frozen=True, slots=True)
class Operation:
    """One kind of call. `queued` is False for what costs no tokens and is not limited with the rest.

    `dialect` is None where the path belongs to no known API: the upstream's own type decides then.
    `model` is the model where the path carries it (Gemini, Azure deployments, Bedrock). `makes_batches`: a POST there
    orders work that is paid, of which its answer says nothing.
    """

    name: str
    dialect: Dialect | None
    queued: bool = True
    model: str | None = None
    makes_batches: bool = False


_UNQUEUED_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "DELETE"})

# Matched against the end of the path, so that every prefix (/openai, /openai/deployments/x, /inference) may stand
# before it. The first match wins. Operations that only count, list, store or cancel do not wait: the providers limit
# them apart from inference (Anthropic: "Rate limits", count_tokens and files; OpenAI: files, batches).
_TABLE: tuple[tuple[str, str, Dialect | None, bool], ...] = (
    (r"/chat/completions/?$", "chat", "openai", True),
    (r"/v1/messages/?$", "messages", "anthropic", True),
    (r"/v1/messages/count_tokens/?$", "count_tokens", "anthropic", False),
    (r"/v1/messages/batches(/.*)?$", "batches", "anthropic", False),
    (r"/v1/complete/?$", "complete", "anthropic", True),
    (r":generateContent$", "generate_content", "gemini", True),
    (r":streamGenerateContent$", "generate_content", "gemini", True),
    (r":(batchEmbedContents|embedContent|asyncBatchEmbedContent)$", "embed_content", "gemini", True),
    (r":countTokens$", "count_tokens", "gemini", False),
    (r"/models/[^/]+:[A-Za-z]+$", "other", "gemini", True),
    (r"/responses/input_tokens/?$", "count_tokens", "openai", False),
    (r"/responses/[^/]+/cancel/?$", "cancel", "openai", False),
    (r"/responses(/compact)?/?$", "responses", "openai", True),
    (r"/embeddings/?$", "embeddings", "openai", True),
    (r"/audio/transcriptions/?$", "transcription", "openai", True),
    (r"/audio/translations/?$", "translation", "openai", True),
    (r"/audio/speech/?$", "speech", "openai", True),
    (r"/images/(generations|edits|variations)/?$", "images", "openai", True),
    (r"/moderations/?$", "moderation", "openai", True),
    (r"/realtime/?$", "realtime", "openai", True),
    (r"/completions/?$", "completion", "openai", True),
    (r"/v1(beta|alpha)?/(files|batches|uploads)([/:].*)?$", "files", None, False),
    (r"/api/(chat|generate)/?$", "chat", "ollama", True),
    (r"/api/(embed|embeddings)/?$", "embeddings", "ollama", True),
    (r"/models(/[^:]*)?$", "models", None, False),
)
_PATTERNS = tuple((re.compile(pattern), name, dialect, queued) for pattern, name, dialect, queued in _TABLE)

_BATCHES = re.compile(r"/batches/?$|:batchGenerateContent$|:asyncBatchEmbedContent$")

_MODEL_IN_PATH = re.compile(
    r"/(?:models|tunedModels)/([^/:]+?)(?::|%3[Aa])[A-Za-z]+$|/deployments/([^/]+)/|/model/([^/]+)/[a-z-]+$"
)
_COLON = re.compile("%3a", re.IGNORECASE)


def with_model(path: str, model: str) -> str:
    """The raw path with another model where it carries one (Gemini, Azure deployments, Bedrock)."""
    found = _MODEL_IN_PATH.search(path)
    if found is None or found.lastindex is None:
        return path
    return path[: found.start(found.lastindex)] + quote(model, safe="") + path[found.end(found.lastindex) :]


def query_with_model(query: str, model: str) -> str:
    """The raw query with another model where it names one, as that of a WebSocket does (Realtime)."""
    named = f"model={quote(model, safe='')}"
    return "&".join(named if unquote(part.partition("=")[0]) == "model" else part for part in query.split("&"))


_GEMINI_PREFIX = re.compile(r"^(/upload)?/v1(beta|alpha)(/|$)(?!openai/)")


@lru_cache(maxsize=1024)
def operation_of(method: str, path: str, *, upgrade: bool = False) -> Operation:
    """The operation of a call by its method and raw path (no query).

    `upgrade` is True for a WebSocket handshake: a GET that does wait for its turn.
    """
    waits = upgrade or method not in _UNQUEUED_METHODS
    found = _MODEL_IN_PATH.search(path)
    model = next((unquote(part) for part in found.groups() if part), None) if found else None
    path = _COLON.sub(":", path)  # what builds URLs may escape it, and Google takes it as it is meant
    for pattern, name, dialect, queued in _PATTERNS:
        if pattern.search(path):
            if dialect is None and _GEMINI_PREFIX.match(path):
                dialect = "gemini"
            return Operation(name, dialect, waits and queued, model, bool(_BATCHES.search(path)))
    return Operation("other", "gemini" if _GEMINI_PREFIX.match(path) else None, waits, model)
