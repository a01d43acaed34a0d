"""The path of a call: what it is and who it is for, its wait for a turn, then through to its upstream."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

from aiohttp import HttpVersion11, web

from llmqd.admission import allowed_hops
from llmqd.call import Call, new_call_id
from llmqd.controls import PRIORITIES, patience
from llmqd.errors import BadHeader, CallRefused, MethodNotAllowed, ShuttingDown
from llmqd.lane.flow import flow_of
from llmqd.lane.standing import Returning
from llmqd.lane.throttle import Demand
from llmqd.names import names_in
from llmqd.providers.operations import Operation
from llmqd.routing import Hop
from llmqd.session import session_in_body
from llmqd.web.body import Body, Facts, Passing, check_length, read_facts, receive, received
from llmqd.web.fingerprint import fingerprint
from llmqd.web.head import Head, Heads
from llmqd.web.heartbeat import heartbeat_of
from llmqd.web.looking_on import looked_at
from llmqd.web.model_list import ModelList
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

_BEDROCK_STREAMS = ("/converse-stream", "/invoke-with-response-stream")


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
        self._heads = Heads(in_force)
        self._models = ModelList(in_force)
        self._stopping = False

    def stop(self) -> None:
        """From now on new calls get ShuttingDown, and a call that is cancelled counts as interrupted."""
        self._stopping = True
        self._attempts.stop()

    async def expect(self, request: web.Request) -> web.StreamResponse | None:
        """Answers `Expect: 100-continue`: a body that would be refused anyway is not asked for."""
        if request.version < HttpVersion11:
            return None  # such a client knows no interim answers (RFC 9110 §10.1.1)
        head = self._heads.of(request)
        try:
            self._door.caller(request, head.tokens, head.page_fault)
            self._check(head)
            if request.headers.get("Expect", "").lower() != "100-continue":
                raise BadHeader(f"Expect: {request.headers['Expect']!r}: only 100-continue can be expected")
            check_length(request, self._in_force.config.server.max_body)
        except CallRefused as error:
            self._recorder.rejected(error)
            return refusal(error, head.operation.dialect or "openai")
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
        return None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One request from its headers to the end of its answer."""
        arrived = self._clock()
        head = self._heads.of(request)
        try:
            caller = self._door.caller(request, head.tokens, head.page_fault)  # first: who may not call learns no names
            self._check(head)
            return await self._call(request, head, arrived, caller)
        except CallRefused as error:
            self._recorder.rejected(error)
            return refusal(error, head.operation.dialect or "openai")

    def _check(self, head: Head) -> None:
        """Raises why there can be no such call."""
        if self._stopping:
            raise ShuttingDown()
        if head.fault is not None:
            raise head.fault

    async def _call(self, request: web.Request, head: Head, arrived: float, caller: Caller) -> web.StreamResponse:
        config, server, operation = self._in_force.config, self._in_force.config.server, head.operation
        routing = self._in_force.routing
        passing: Passing | None = None
        if operation.queued:
            body = received(request, max_body=server.max_body, spool_above=server.spool_above) or await receive(
                request,
                max_body=server.max_body,
                spool_above=server.spool_above,
                directory=server.state_directory,
                silence=server.client_timeout,
            )
        else:
            body = Body()
            if request.can_read_body:
                passing = Passing(request, max_body=server.max_body, silence=server.client_timeout)
        with body:
            facts = read_facts(body, head.content_type, head.content_encoding)
            model = facts.model or operation.model or head.model
            hops = routing.hops(head.target, operation, model)
            first, *fallbacks = allowed_hops(hops, caller, model, asks_model=head.asks)
            call = self._describe(request, head, facts, first, arrived, caller, config)
            call.request_bytes, call.text_bytes, call.media = body.size, facts.size.text, facts.size.media
            fields = facts.let_go()
            if head.upgrade or (head.asks and operation.makes_batches):
                self._admission.check_unmetered(call)
            upstream, lane = first.upstream, self._lanes.pick(first.upstream.name)
            if request.method == "TRACE" and (lane.key.api_key is not None or upstream.headers):
                raise MethodNotAllowed("the answer to TRACE would show the upstream's key")
            passage = Passage(request, head, call, upstream, lane, head.target, operation, facts, body, passing)
            passage.upgrade, passage.caller, passage.fallbacks = head.upgrade, caller, fallbacks
            passage.still_allowed = partial(self._admission.check, call, caller)
            if not operation.queued:
                return await self._looked_at(passage, self._attempts.at_once(passage, self._models.instead))
            if fields is not None:
                passage.conversation = await self._conversations.begin(call, fields, caller.name or head.scope)
            del fields
            passage.heartbeat = heartbeat_of(request, call, config.queue)
            beats = config.queue.heartbeat if passage.heartbeat.form is not None else None
            call.max_wait = longest_wait(call.max_wait, patience(head.timer, beats_after=beats))
            if not call.no_queue:
                same = partial(fingerprint, request.method, request.raw_path, body, head.content_type)
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
        head: Head,
        facts: Facts,
        hop: Hop,
        arrived: float,
        caller: Caller,
        config: Config,
    ) -> Call:
        if head.session_fault is not None:
            raise head.session_fault
        received_at, key = self._wall(), caller.key
        target, operation, controls, names = head.target, head.operation, head.controls, names_in(facts.fields)
        call = Call(
            id=new_call_id(received_at),
            received_at=received_at,
            arrived=arrived,
            method=request.method,
            path=target.path,
            dialect=operation.dialect or hop.upstream.dialect,
            operation=operation.name,
            upstream=hop.upstream.name,
            model=facts.model or operation.model or head.model,
            sent_model=hop.model,
            stream=_streams(facts, operation, target.path),
            priority=default_priority(config, key) if controls.priority is None else controls.priority,
            max_wait=longest_wait(controls.deadline, config.queue.max_wait or None),
            no_queue=controls.no_queue,
            session=head.session or session_in_body(facts.fields, max_length=config.sessions.max_id_length),
            agent=controls.agent or names.agent,
            user=controls.user or names.user,
            conversation=controls.conversation or names.conversation,
            tags=controls.tags or names.tags,
            store=controls.store,
            client=request.remote,
            client_retry=head.retries,
            trace=self._telemetry.trace(request.headers),
        )
        self._names.asked(call)
        call.key, call.weight = caller.name, 1.0 if key is None else key.weight
        return call


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
    if ":streamGenerateContent" in path or path.endswith(_BEDROCK_STREAMS):
        return True
    if facts.stream is None:
        return operation.dialect == "ollama" and operation.name == "chat"
    return facts.stream
