"""The description of the API: complete, valid, and true of what is answered to anything that may be asked."""

from __future__ import annotations

import asyncio
import time
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from llmqd.usage import Cost, Usage
from tests.store.usage_records import ended_call
from tests.under_test import DaemonUnderTest, call
from tests.web.api.asking import asking

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import hypothesis
    import jsonschema_rs
    import schemathesis
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
ENDLESS = {"/events"}


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[DaemonUnderTest]:
    calls = [
        ended_call(
            time.time() - 4000 * n, f"s{n % 3}", agent="a" if n % 2 else None, tags=("t",), stream=bool(n % 3),
            first_byte_ms=20.0, cost=Cost(5) if n % 4 else None, http_status=200 if n % 5 else 500,
            usage=Usage(input=n, output=2, cached=n % 3, source="exact") if n % 7 else None,
        )
        for n in range(40)
    ]  # fmt: skip
    async with asking(tmp_path, *calls) as asked:
        yield asked.daemon


async def described(daemon: DaemonUnderTest) -> dict[str, Any]:
    response = await call(daemon.port, "GET", "/openapi.json")
    assert (response.status, response.header("content-type")) == (200, "application/json")
    document: dict[str, Any] = orjson.loads(response.body)
    return document


async def test_every_url_of_llmqds_own_is_described(daemon: DaemonUnderTest) -> None:
    document = await described(daemon)
    assert document["openapi"] == "3.1.0"
    own = {
        (route.method, route.resource.canonical)
        for route in daemon.listening._runner.app.router.routes()
        if route.resource is not None and route.method not in ("*", "HEAD")
    }
    undescribed = {"/docs", "/docs/start.js", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css", "/openapi.json"}
    own = {(method, path) for method, path in own if not path.startswith("/dashboard")}  # the page, and its login
    told = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert {(method, path) for method, path in own if path not in undescribed} == {
        (method, path) for method, path in told
    }


async def test_all_references_lead_somewhere_and_all_schemas_are_schemas(daemon: DaemonUnderTest) -> None:
    document = await described(daemon)
    schemas = document["components"]["schemas"]

    def references(value: object) -> set[str]:
        if isinstance(value, dict):
            here = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
            return here.union(*map(references, value.values()))
        return set().union(*map(references, value)) if isinstance(value, list) else set()

    assert references(document) <= {f"#/components/schemas/{name}" for name in schemas}
    for schema in schemas.values():
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    assert all(operation["summary"].endswith(".") for operation in operations)


async def test_no_answer_is_a_fault_or_off_its_schema_whatever_is_asked(daemon: DaemonUnderTest) -> None:
    document = await described(daemon)

    def ask_anything() -> list[str]:
        schema = schemathesis.openapi.from_dict(document)
        asked = []
        for found in schema.get_all_operations():
            operation: Any = found.ok()  # type: ignore[union-attr]
            if operation.path in ENDLESS:
                continue
            for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
                try:
                    _ask(operation, mode, daemon.url)
                except hypothesis.errors.Unsatisfiable:
                    assert mode is schemathesis.GenerationMode.NEGATIVE
            asked.append(operation.label)
        return asked

    asked = await asyncio.to_thread(ask_anything)
    assert len(asked) > 20


def _ask(operation: Any, mode: Any, url: str) -> None:
    @hypothesis.settings(
        max_examples=15, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck)
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        case.call_and_validate(base_url=url, checks=CHECKS, timeout=20)

    ask()


async def test_the_page_for_people_has_all_that_it_needs_here(daemon: DaemonUnderTest) -> None:
    page = await call(daemon.port, "GET", "/docs")
    assert (page.status, page.header("content-type")) == (200, "text/html; charset=utf-8")
    assert b"://" not in page.body
    assert "default-src 'none'" in (page.header("content-security-policy") or "")
    for part in page.body.split(b'"'):
        if part.startswith(b"/"):
            packed = await call(daemon.port, "GET", part.decode(), headers={"Accept-Encoding": "gzip"})
            plain = await call(daemon.port, "GET", part.decode())
            assert packed.status == plain.status == 200
            assert plain.header("content-encoding") is None
            if packed.header("content-encoding") == "gzip":
                assert len(packed.body) < len(plain.body) / 3
                assert b"swagger" in plain.body.lower()
