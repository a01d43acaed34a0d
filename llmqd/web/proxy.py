"""The path of a call: what it is and who it is for, its wait for a turn, then through to its upstream."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from aiohttp import HttpVersion11, web

from llmqd.admission import allowed_hops
from llmqd.call import Call, new_call_id
from llmqd.controls import PRIORITIES, Controls, patience, read_controls
from llmqd.errors import BadHeader, CallRefused, MethodNotAllowed, ShuttingDown
from llmqd.lane.flow import flow_of
from llmqd.lane.standing import Returning
from llmqd.lane.throttle import Demand
from llmqd.names import names_in
from llmqd.providers.operations import Operation, operation_of
from llmqd.routing import Hop, Target, parse_target
from llmqd.session import explicit_session
from llmqd.web.body import NO_FACTS, Body, Facts, Passing, check_length, read_facts, receive, received
from llmqd.web.door import shown_key
from llmqd.web.fingerprint import fingerprint
from llmqd.web.headers import named_in_connection
from llmqd.web.heartbeat import heartbeat_of
from llmqd.web.looking_on import looked_at
from llmqd.web.passage import Passage
from llmqd.web.refusal import refusal

if TYPE_CHECKING:
    from llmqd.admission import Admission
    from llmqd.auth.callers import Caller
    from llmqd.auth.key import ClientKey
    from llmqd.config.model import Config
    from llmqd.conversations import Conversations
    from llmqd.in_force import InForce
    from llmqd.lane.lanes import Lanes
    from llmqd.lane.places import Places
    from llmqd.middleware.onlookers import Onlookers
    from llmqd.recorder import Recorder
    from llmqd.store.names_redaction import NamesRedaction
    from llmqd.telemetry.telemetry import Telemetry
    from llmqd.web.attempts import Attempts
    from llmqd.web.door import Door

_MAX_RETRY_COUNT = 99
_BEFORE_PATH = re.compile(r"^(?:[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*)?/*(?=/)|^[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")


class Proxy:
    """Answers every request that is not for llmqd itself. `clock` is monotonic, `wall` Unix time, both in seconds."""

    def __init__(
        self,
        in_force: InForce,
        lanes: Lanes,
        attempts: Attempts,
        recorder: Recorder,
        conversations: Conversations,
        places: Places,
        door: Door,
        admission: Admission,
        onlookers: Onlookers,
        names: NamesRedaction,
        telemetry: Telemetry,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._in_force = in_force
        self._lanes = lanes
        self._attempts = attempts
        self._recorder = recorder
        self._conversations = conversations
        self._places = places
        self._door = door
        self._admission = admission
        self._onlookers = onlookers
        self._names = names
        self._telemetry = telemetry
        self._clock = clock
        self._wall = wall
        self._stopping = False

    def stop(self) -> None:
        """From now on new calls get ShuttingDown, and a call that is cancelled counts as interrupted."""
        self._stopping = True
        self._attempts.stop()

    async def expect(self, request: web.Request) -> web.StreamResponse | None:
        """Answers `Expect: 100-continue`: a body that would be refused anyway is not asked for."""
        if request.version < HttpVersion11:
            return None  # such a client knows no interim answers (RFC 9110 §10.1.1)
        path = path_of(request)
        try:
            self._door.caller(request)
            self._target(path)
            if request.headers.get("Expect", "").lower() != "100-continue":
                raise BadHeader(f"Expect: {request.headers['Expect']!r}: only 100-continue can be expected")
            read_controls(request.headers, default_priority=0)
            check_length(request, self._in_force.config.server.max_body)
        except CallRefused as error:
            self._recorder.rejected(error)
            return refusal(error, operation_of(request.method, path).dialect or "openai")
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
        return None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One request from its headers to the end of its answer."""
        arrived = self._clock()
        path, upgrade = path_of(request), is_handshake(request)
        operation = operation_of(request.method, path, upgrade=upgrade)
        try:
            # The dialect of an upstream's URL is that of the path behind its name; who may not call learns no names.
            target, fault = self._found(path)
            if target is not None:
                operation = operation_of(request.method, target.path, upgrade=upgrade)
            caller = self._door.caller(request)
            if target is None:
                raise fault or ShuttingDown()
            check_coding(request)
            return await self._call(request, target, operation, arrived, caller)
        except CallRefused as error:
            self._recorder.rejected(error)
            return refusal(error, operation.dialect or "openai")

    def _target(self, path: str) -> Target:
        if self._stopping:
            raise ShuttingDown()
        return parse_target(path, self._in_force.routing.names)

    def _found(self, path: str) -> tuple[Target | None, CallRefused | None]:
        try:
            return self._target(path), None
        except CallRefused as error:
            return None, error

    async def _call(
        self, request: web.Request, target: Target, operation: Operation, arrived: float, caller: Caller
    ) -> web.StreamResponse:
        config, server, routing = self._in_force.config, self._in_force.config.server, self._in_force.routing
        controls = read_controls(request.headers, default_priority=default_priority(config, caller.key))
        facts, body = NO_FACTS, Body()
        passing: Passing | None = None
        if operation.queued:
            body = received(request, max_body=server.max_body, spool_above=server.spool_above) or await receive(
                request,
                max_body=server.max_body,
                spool_above=server.spool_above,
                directory=server.state_directory,
                silence=server.client_timeout,
            )
        elif request.can_read_body:
            passing = Passing(request, max_body=server.max_body, silence=server.client_timeout)
        with body:
            if body.size:
                facts = read_facts(
                    body, request.headers.get("Content-Type", ""), request.headers.get("Content-Encoding", "")
                )
            model = facts.model or operation.model or asked_in_query(request)
            asks = request.method not in ("GET", "HEAD", "OPTIONS", "DELETE") or is_handshake(request)
            hops = routing.hops(target, operation, facts.model or operation.model)
            first, *fallbacks = allowed_hops(hops, caller, model, asks_model=asks)
            upstream = first.upstream
            call = self._describe(request, target, operation, controls, facts, first, arrived, config)
            self._names.asked(call)
            call.key, call.weight = caller.name, 1.0 if caller.key is None else caller.key.weight
            fields = facts.let_go()
            call.request_bytes, (call.text_bytes, call.media) = body.size, facts.size
            if is_handshake(request) or (asks and operation.makes_batches):
                self._admission.check_unmetered(call)
            lane = self._lanes.pick(upstream.name)
            if request.method == "TRACE" and (lane.key.api_key is not None or upstream.headers):
                raise MethodNotAllowed("the answer to TRACE would show the upstream's key")
            passage = Passage(request, call, upstream, lane, target, operation, facts, body, passing)
            passage.upgrade, passage.caller = is_handshake(request), caller
            passage.still_allowed = partial(self._admission.check, call, caller)
            if not operation.queued:
                return await self._looked_at(passage, self._attempts.at_once(passage))
            if fields is not None:
                scope = caller.name or scope_of(request)
                passage.conversation = await self._conversations.begin(call, fields, scope)
            del fields
            passage.fallbacks = fallbacks
            passage.heartbeat = heartbeat_of(request, call, config.queue)
            beats = config.queue.heartbeat if passage.heartbeat.form is not None else None
            call.max_wait = longest_wait(call.max_wait, patience(request.headers, beats_after=beats))
            if not call.no_queue:
                content_type = request.headers.get("Content-Type", "")
                same = partial(fingerprint, request.method, request.raw_path, body, content_type)
                passage.standing = Returning(self._places, flow_of(call, "key"), same, clock=self._clock)
            demand = Demand(facts.size, facts.max_tokens, facts.choices)
            doing = None if passage.conversation is None else passage.conversation.doing
            passage.admission = partial(
                self._admission.enter, caller=caller, demand=demand, standing=passage.standing, doing=doing
            )
            return await self._looked_at(passage, self._attempts.in_turn(passage, demand))

    def _looked_at(
        self, passage: Passage, answering: Coroutine[Any, Any, web.StreamResponse]
    ) -> Coroutine[Any, Any, web.StreamResponse]:
        if not self._onlookers:
            return answering
        return looked_at(self._onlookers, passage, answering, lambda: self._recorder.since(passage.call))

    def _describe(
        self,
        request: web.Request,
        target: Target,
        operation: Operation,
        controls: Controls,
        facts: Facts,
        hop: Hop,
        arrived: float,
        config: Config,
    ) -> Call:
        received_at = self._wall()
        session = explicit_session(
            target.session,
            request.headers,
            facts.fields,
            known_headers=config.sessions.headers,
            max_length=config.sessions.max_id_length,
        )
        names = names_in(facts.fields)
        return Call(
            id=new_call_id(received_at),
            received_at=received_at,
            arrived=arrived,
            method=request.method,
            path=target.path,
            dialect=operation.dialect or hop.upstream.dialect,
            operation=operation.name,
            upstream=hop.upstream.name,
            model=facts.model or operation.model,
            sent_model=hop.model,
            stream=_streams(facts, operation, target.path),
            priority=controls.priority,
            max_wait=longest_wait(controls.deadline, config.queue.max_wait or None),
            no_queue=controls.no_queue,
            session=session,
            agent=controls.agent or names.agent,
            user=controls.user or names.user,
            conversation=controls.conversation or names.conversation,
            tags=controls.tags or names.tags,
            store=controls.store,
            client=request.remote,
            client_retry=_retry_count(request.headers.get("x-stainless-retry-count")),
            trace=self._telemetry.trace(request.headers),
        )


def path_of(request: web.BaseRequest) -> str:
    """The raw path, without the query. A target in absolute form counts as its path (RFC 9112 §3.2.2), several slashes
    at its beginning as one: a base URL with a slash at its end."""
    return _BEFORE_PATH.sub("", request.raw_path).partition("?")[0] or "/"


def is_handshake(request: web.BaseRequest) -> bool:
    """Whether a client asks for a WebSocket (RFC 6455 §4.1)."""
    return (
        request.method == "GET"
        and request.headers.get("Upgrade", "").lower() == "websocket"
        and "upgrade" in named_in_connection(request.headers)
    )


def check_coding(request: web.BaseRequest) -> None:
    """Raises BadHeader for a transfer coding that llmqd would have to undo and the upstream could not."""
    coding = ", ".join(request.headers.getall("Transfer-Encoding", ()))
    if coding and coding.strip().lower() != "chunked":
        raise BadHeader(f"Transfer-Encoding: {coding!r} is not understood; only chunked is")


def scope_of(request: web.BaseRequest) -> str:
    """Tells callers apart by the key that they show, without keeping it; "" for those that show none."""
    shown = shown_key(request)
    return blake2b(shown.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest() if shown else ""


def asked_in_query(request: web.BaseRequest) -> str | None:
    """The model of a WebSocket handshake, which has no body (OpenAI: "Realtime with WebSockets")."""
    return request.query.get("model") if is_handshake(request) else None


def default_priority(config: Config, key: ClientKey | None = None) -> int:
    """The priority of calls that name none."""
    if key is not None and key.priority is not None:
        return key.priority
    priority = config.queue.priority
    return PRIORITIES[priority] if priority in PRIORITIES else int(priority)


def longest_wait(*bounds: float | None) -> float | None:
    """The shortest of what bounds a wait, in seconds; None where nothing does."""
    shortest: float | None = None
    for bound in bounds:
        if bound is not None and (shortest is None or bound < shortest):
            shortest = bound
    return shortest


def _streams(facts: Facts, operation: Operation, path: str) -> bool:
    """Whether the answer comes as a stream. Ollama's chat does unless told otherwise (Ollama API: "Streaming")."""
    if facts.stream is None:
        return ":streamGenerateContent" in path or (operation.dialect == "ollama" and operation.name == "chat")
    return facts.stream or ":streamGenerateContent" in path


def _retry_count(value: str | None) -> int:
    """How often an official SDK has retried this call by itself."""
    return min(int(value), _MAX_RETRY_COUNT) if value is not None and value.isascii() and value.isdigit() else 0
