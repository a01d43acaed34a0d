"""`/openapi.json`: every URL of llmqd's own described by the definitions that check its input (OpenAPI 3.1)."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from llmqd import __version__
from llmqd.web.api import own_answers as own
from llmqd.web.api.endpoint import Endpoint

Json = dict[str, Any]

_REF = "#/components/schemas/{name}"
_ABOUT = (
    "llmqd's own URLs. Times are RFC 3339 in UTC, durations named *_time and *_seconds are seconds, rates are percent, "
    "money is US dollars in JSON numbers with all their digits; a price that is not known is null."
)


class Own(NamedTuple):
    """A URL that is answered elsewhere: its parameters in the query and in the path are (name, schema, meaning)."""

    method: str
    url: str
    name: str
    tag: str
    summary: str
    answers: Mapping[int, Any]
    query: tuple[tuple[str, Json, str], ...] = ()
    body: type[msgspec.Struct] | None = None
    media_type: str = "application/json"


_TEXT, _FLAG = {"type": "string"}, {"type": "string", "enum": ["0", "1"]}
_CALL = {200: own.QueuedCall, 404: own.Refused}
_LANES = {200: own.Lanes, 400: own.Refused, 404: own.Refused, 422: own.Refused}

OWN = (
    Own("GET", "/", "root", "daemon", "What this is, with links; a browser is sent to the dashboard.", {200: own.Root}),
    Own("GET", "/health", "health", "daemon", "How llmqd is; 503 only while it stops.",
        {200: own.Health, 503: own.Health}),
    Own("GET", "/metrics", "metrics", "daemon", "Prometheus text; JSON with `Accept: application/json`.", {200: None},
        media_type="text/plain"),
    Own("GET", "/config", "config", "daemon", "The configuration in force; of secrets only whether they are set.",
        {200: dict[str, Any]}),
    Own("GET", "/providers", "providers", "daemon", "The configured upstreams and the known presets.",
        {200: own.Providers}),
    Own("GET", "/sessions/status", "sessions_status", "sessions", "Tokens and calls of sessions, the last used first.",
        {200: dict[str, own.SessionTotals]}, (("detail", _FLAG, "More fields with 1."),)),
    Own("GET", "/queue", "queue", "queue", "Who waits where, and what runs.",
        {200: own.Queue, 404: own.Refused, 422: own.Refused},
        (("lane", _TEXT, "Only this lane, or the lanes of this upstream."),
         ("session", _TEXT, "Only the calls of this session."),
         ("limit", {"type": "integer", "minimum": 0, "maximum": 1000, "default": 50}, "Calls in this answer."),
         ("offset", {"type": "integer", "minimum": 0, "maximum": 2**53, "default": 0}, "Calls to pass over."))),
    Own("GET", "/queue/{request_id}", "queued_call", "queue", "One call that waits or runs.", _CALL),
    Own("PATCH", "/queue/{request_id}", "reprioritise", "queue", "Gives a waiting call another priority.",
        _CALL | {400: own.Refused, 409: own.Refused, 422: own.Refused}, body=own.NewPriority),
    Own("DELETE", "/queue/{request_id}", "cancel", "queue", "Takes a waiting call out of the queue.",
        _CALL | {409: own.Refused}),
    Own("POST", "/queue/{lane}/pause", "pause", "queue", "Holds a lane; what runs goes on.", _LANES, body=own.NewPause),
    Own("POST", "/queue/{lane}/resume", "resume", "queue", "Ends any pause of a lane.", _LANES),
    Own("GET", "/events", "events", "queue", "What happens, as server-sent events; `Last-Event-ID` resumes.",
        {200: None, 422: own.Refused, 503: own.Refused},
        (("types", _TEXT, "Only these kinds, separated by commas."), ("lane", _TEXT, "Only this lane."),
         ("session", _TEXT, "Only this session."), ("last_event_id", _TEXT, "Go on behind this event.")),
        media_type="text/event-stream"),
)  # fmt: skip


def described(endpoints: Iterable[Endpoint]) -> Json:
    """The document: these endpoints, and llmqd's other URLs."""
    endpoints = list(endpoints)
    types = _Types(endpoints)
    paths: Json = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.url, {})[endpoint.method.lower()] = _operation(endpoint, types)
    for each in OWN:
        paths.setdefault(each.url, {})[each.method.lower()] = _own_operation(each, types)
    return {
        "openapi": "3.1.0",
        "info": {"title": "llmqd", "version": __version__, "description": _ABOUT, "license": {"name": "MIT"}},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": types.components},
    }


class _Types:
    """The schemas of all types in use, which refer to each other."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        used: list[Any] = [own.Refused]
        for endpoint in endpoints:
            used += [endpoint.query, endpoint.answer, *([endpoint.body] if endpoint.body else [])]
        for each in OWN:
            used += [*[answer for answer in each.answers.values() if answer], *([each.body] if each.body else [])]
        unique = list(dict.fromkeys(used))
        schemas, components = msgspec.json.schema_components(unique, ref_template=_REF)
        self._schemas = {each: _with_numbers(schema) for each, schema in zip(unique, schemas, strict=True)}
        self._inputs = {endpoint.query for endpoint in endpoints}
        self.all = _with_numbers(components)
        names = {each.__name__ for each in self._inputs}
        self.components = {name: schema for name, schema in self.all.items() if name not in names}

    def schema(self, of: Any) -> Json:
        """The schema of a type."""
        return dict(self._schemas[of])

    def parameters(self, query: type[msgspec.Struct]) -> Iterable[tuple[str, Json]]:
        """The fields of a query and their schemas."""
        return self.all[query.__name__]["properties"].items() if query.__struct_fields__ else ()


def _operation(endpoint: Endpoint, types: _Types) -> Json:
    refusals = {
        422: "A parameter or field has no usable value; `param` names it.",
        503: "The ledger cannot answer now.",
    }
    refusals |= endpoint.refusals or {}
    if endpoint.body is not None:
        refusals |= {400: "The body is not a JSON object.", 413: "The body is too large."}
    operation: Json = {
        "operationId": endpoint.name,
        "tags": [endpoint.tag],
        "summary": endpoint.summary,
        "parameters": [
            *(
                _parameter(name, "path", {"type": "string", "minLength": 1}, why)
                for name, why in (endpoint.path or {}).items()
            ),
            *(_parameter(name, "query", _in_query(schema), "") for name, schema in types.parameters(endpoint.query)),
        ],
        "responses": {
            "200": {
                "description": inspect.cleandoc(_about(endpoint.answer)),
                **_content(types.schema(endpoint.answer), endpoint.media_types),
            },
            **{
                str(status): {"description": why, **_content(types.schema(own.Refused))}
                for status, why in sorted(refusals.items())
            },
        },
    }
    if endpoint.body is not None:
        operation["requestBody"] = {"required": True, **_content(types.schema(endpoint.body))}
    return operation


def _own_operation(each: Own, types: _Types) -> Json:
    path = [part[1:-1] for part in each.url.split("/") if part.startswith("{")]
    operation: Json = {
        "operationId": each.name,
        "tags": [each.tag],
        "summary": each.summary,
        "parameters": [
            *(_parameter(name, "path", {"type": "string", "minLength": 1}, "") for name in path),
            *(_parameter(name, "query", schema, why) for name, schema, why in each.query),
        ],
        "responses": {
            str(status): {
                "description": "An error." if answer is own.Refused else each.summary,
                **(
                    {"content": {each.media_type: {"schema": {"type": "string"}}}}
                    if answer is None
                    else _content(types.schema(answer))
                ),
            }
            for status, answer in sorted(each.answers.items())
        },
    }
    if each.body is not None:
        operation["requestBody"] = {"required": each.body is own.NewPriority, **_content(types.schema(each.body))}
    return operation


def _parameter(name: str, where: str, schema: Json, why: str) -> Json:
    why = schema.pop("description", why) if "description" in schema else why
    return {
        "name": name,
        "in": where,
        "required": where == "path",
        "schema": schema,
        **({"description": why} if why else {}),
    }


def _in_query(schema: Json) -> Json:
    """What a query can say of a field: it is there or not, but never null."""
    schema = {key: value for key, value in schema.items() if not (key == "default" and value is None)}
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    if len(options) == 1 and {"type": "null"} in schema["anyOf"]:
        schema = {key: value for key, value in schema.items() if key != "anyOf"} | options[0]
    return schema


def _content(schema: Json, others: Iterable[str] = ()) -> Json:
    """A body of this schema in JSON, or of another media type, as text."""
    texts = {media_type: {"schema": {"type": "string"}} for media_type in others}
    return {"content": {"application/json": {"schema": schema}, **texts}}


def _about(answer: Any) -> str:
    if inspect.isclass(answer) and issubclass(answer, msgspec.Struct):
        return answer.__doc__ or ""
    [of] = getattr(answer, "__args__", (None,))[:1]
    about = of.__doc__ if inspect.isclass(of) and issubclass(of, msgspec.Struct) else None
    return f"A list. {about or ''}".strip()


def _with_numbers(schema: Any) -> Any:
    """The schema with money as it is written here: JSON numbers, where msgspec expects text."""
    if isinstance(schema, dict):
        if schema.get("type") == "string" and schema.get("format") == "decimal":
            return {**{key: value for key, value in schema.items() if key != "format"}, "type": "number"}
        return {key: _with_numbers(value) for key, value in schema.items()}
    if isinstance(schema, list | tuple):
        return [_with_numbers(each) for each in schema]
    return schema
