"""Builds every part once, runs until a signal, and takes them down in reverse: the only wiring there is."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Self

from llmqd import __version__, log
from llmqd.admission import Admission, budgets_of
from llmqd.alerts.alerts import Alerts
from llmqd.auth.callers import Callers
from llmqd.auth.key_file import KeyFile
from llmqd.auth.key_lanes import KeyLanes
from llmqd.auth.keyring import Keyring
from llmqd.budgets.budgets import Budgets
from llmqd.budgets.expectations import Expectations
from llmqd.budgets.recall import BudgetRecall
from llmqd.call import new_call_id
from llmqd.cluster.membership import Membership
from llmqd.config.address import is_loopback
from llmqd.conversations import Conversations
from llmqd.detection.detector import Detector
from llmqd.errors import ConfigError, ListenError, StoreError
from llmqd.events import EventBus
from llmqd.guards.guards import Guards
from llmqd.handover import Handover
from llmqd.in_force import InForce, keep_fixed
from llmqd.interpreter import FreeMemory, steady
from llmqd.lane.lanes import Lanes
from llmqd.lane.places import Places
from llmqd.litellm.follower import Follower
from llmqd.litellm.importing import Import
from llmqd.messages.digest import Digests
from llmqd.metrics import Metrics
from llmqd.middleware.onlookers import Onlookers
from llmqd.prices import Prices
from llmqd.recall import Recall
from llmqd.recorder import Recorder
from llmqd.signals import Signals
from llmqd.sim import Simulator
from llmqd.store.ledger import Ledger
from llmqd.store.names_redaction import NamesRedaction
from llmqd.store.redaction import Redaction
from llmqd.store.secret import installation_secret
from llmqd.store.transcripts import Transcripts
from llmqd.systemd import Notifier, PassedSocket, passed_sockets
from llmqd.telemetry.spans import Place
from llmqd.telemetry.telemetry import Sends, Telemetry
from llmqd.upstream import UpstreamClient
from llmqd.watch import Watch
from llmqd.web.api.api import Api
from llmqd.web.app import ShortWay, build_app
from llmqd.web.attempts import Attempts
from llmqd.web.cors import Cors
from llmqd.web.disconnects import Disconnects
from llmqd.web.door import Door
from llmqd.web.event_stream import EventStream
from llmqd.web.listening import Listening
from llmqd.web.own import Own
from llmqd.web.patience import Patience
from llmqd.web.proxy import Proxy
from llmqd.web.queue_api import QueueApi
from llmqd.web.relay import Relay
from llmqd.web.sender import Sender
from llmqd.web.tls import ServerTls

if TYPE_CHECKING:
    from llmqd.config.model import Config, Server
    from llmqd.config.telemetry import Telemetry as TelemetrySettings

logger = logging.getLogger(__name__)

Load = Callable[[], "Config"]


class Daemon:
    """Every part of one daemon, built and started. An async context manager: leaving it stops them in reverse.

    `sockets` are listening already and stand in for addresses of `[server] listen`. Entering raises ListenError or
    StoreError when it cannot start.
    """

    def __init__(self, config: Config, environ: Mapping[str, str], sockets: Sequence[PassedSocket] = ()) -> None:
        self._given = config
        self._sockets = sockets
        self._parts = AsyncExitStack()
        self.notifier = Notifier(environ)

    async def __aenter__(self) -> Self:
        try:
            await self._build(self._given)
        except BaseException:
            await self._parts.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._parts.aclose()

    async def _build(self, config: Config) -> None:
        start, server = self._parts.enter_async_context, config.server
        self._parts.callback(self.notifier.close)
        clock = time.monotonic  # not the loop's: uvloop's counts whole milliseconds
        self.simulator = await start(Simulator())
        self.in_force = InForce.of(self.simulator.placed(config))
        digests = Digests(_secret(config), 8 * config.sessions.max)
        redaction = Redaction.of(config)
        _redact_log(config)
        self._transcripts = Transcripts(config.store, redaction, digests)
        self._names = NamesRedaction(redaction, digests)
        self.ledger = await start(Ledger(config.store, server.state_directory, transcripts=self._transcripts))
        self.events, metrics = EventBus(wall=time.time), Metrics()
        await self._build_budgets(config, metrics, clock)
        await self._build_conversations(config, digests)
        client = self.client = await start(
            UpstreamClient(max_header=server.max_header, proxy_from_environment=server.proxy_from_environment)
        )
        self.alerts = await start(Alerts(config.alerts, self.events, self._store_fault, wall=time.time))
        await self._open_lanes(config, metrics, clock)
        self.recall = await start(Recall(self.ledger, self.lanes, wall=time.time))
        self.following = await start(self._following(config, digests, clock))
        metrics.watch(self.lanes, self.ledger.health, self.conversations.statistics)
        self.telemetry = await start(Telemetry(config.telemetry, self._exporter))
        metrics.watch_telemetry(self.telemetry.figures)
        recorder = self._recorder(metrics, clock)
        disconnects = self.disconnects = await start(Disconnects())
        relay, sender = Relay(recorder, self.conversations, disconnects), Sender(client, self.telemetry)
        attempts = Attempts(
            self.lanes, sender, relay, recorder, self.conversations, disconnects, wall=time.time, noise=random.random
        )
        self._take_over(server, clock)
        door = await self._build_door(config, clock)
        self.onlookers = await start(Onlookers(config.middlewares, server.state_directory, redaction))
        self.proxy = Proxy(
            self.in_force,
            self.lanes,
            attempts,
            recorder,
            self.conversations,
            self.places,
            door,
            self.admission,
            self.onlookers,
            self._names,
            self.telemetry,
            clock=clock,
            wall=time.time,
        )
        others = self.cluster, self.onlookers, self.alerts, self.budget_recall, self.patience, self.telemetry
        faults = [each.faults for each in others]
        self.own = Own(self.in_force, self.lanes, self.ledger, metrics, self.keyring, faults, wall=time.time)
        queue, events = QueueApi(self.lanes, clock=clock, others=self.cluster.others), EventStream(self.events)
        api = Api(self.ledger, self.conversations, self.keyring, self.budgets, wall=time.time)
        self.watch = await start(
            Watch(self.notifier, self.lanes, self.key_lanes, self.ledger, self.own.faults, wall=time.time)
        )
        await self._listen(queue, events, api, door, server)

    def _recorder(self, metrics: Metrics, clock: Callable[[], float]) -> Recorder:
        """What writes the record of each call."""
        return Recorder(
            self.ledger,
            self.prices,
            metrics,
            self._names,
            clock=clock,
            announce=self.events.publish,
            closed=(self.budgets.closed, self.guards.closed),
            ended=(self.telemetry.ended,),
        )

    def _exporter(self, settings: TelemetrySettings) -> Sends:
        """What sends traces. Its libraries are large, and there only where they are wanted."""
        from llmqd.telemetry.export import Exporter

        def place(name: str) -> Place | None:
            upstream = self.in_force.config.upstream(name)
            return None if upstream is None else Place.of(upstream)

        return Exporter(settings, place)

    async def _build_conversations(self, config: Config, digests: Digests) -> None:
        """What knows which conversation a call is part of."""
        self.conversations = Conversations(
            config,
            Detector(config.sessions, digests, lambda: f"ses_{new_call_id(time.time())}"),
            self._transcripts,
            self.ledger,
            wall=time.time,
            regrouped=self.budgets.regrouped,
        )
        await self.conversations.recall()

    async def _build_budgets(self, config: Config, metrics: Metrics, clock: Callable[[], float]) -> None:
        """What decides who may spend how much."""

        def provider(name: str) -> str | None:
            upstream = self.in_force.config.upstream(name)
            return None if upstream is None else upstream.price_provider

        self.prices = Prices(config.prices)
        self.keyring = Keyring(KeyFile(config.server.state_directory), wall=time.time)
        self.budgets = Budgets(
            config.budgets,
            Expectations(self.prices),
            self.ledger,
            provider=provider,
            announce=self.events.publish,
            clock=clock,
            wall=time.time,
            max_waiting=config.queue.max_waiting,
        )
        self.budgets.set_keys(budgets_of(self.keyring))
        recall = BudgetRecall(self.ledger, self.budgets, wall=time.time)
        self.budget_recall = await self._parts.enter_async_context(recall)
        metrics.watch_budgets(self.budgets.present)
        self.guards = Guards(
            config.guards,
            announce=self.events.publish,
            clock=clock,
            wall=time.time,
            max_waiting=config.queue.max_waiting,
        )
        metrics.watch_guards(self.guards.figures)

    async def _open_lanes(self, config: Config, metrics: Metrics, clock: Callable[[], float]) -> None:
        start, announce = self._parts.enter_async_context, self.events.publish
        shared = self.budgets, self.guards, self.conversations, self.events
        self.cluster = await start(Membership(config, metrics, *shared, clock=clock))
        self.lanes = await start(Lanes(clock=clock, wall=time.time, announce=announce, make=self.cluster.lane))
        self.lanes.apply(self.in_force.config)

    def _take_over(self, server: Server, clock: Callable[[], float]) -> None:
        """The places that calls had with the daemon before this one."""
        self.places = Places()
        self.handover = Handover(self.places, server.state_directory, clock=clock, wall=time.time)
        self.handover.take()
        self._parts.callback(self.handover.leave)

    async def _build_door(self, config: Config, clock: Callable[[], float]) -> Door:
        """What decides who may call, and how long callers are waited for."""
        timeout = config.server.client_timeout
        self.patience = Patience(lambda: self.listening.connections, timeout, clock=clock)
        start = self._parts.enter_async_context
        _check_sockets(config, self._sockets)
        self.callers = Callers(config.auth, self.keyring, clock=clock, wall=time.time)
        self.key_lanes = await start(KeyLanes(config.queue, clock=clock, wall=time.time, make=self.cluster.lane))
        self.admission = await start(
            Admission(self.keyring, self.key_lanes, self.lanes, self.guards, self.budgets, clock=clock)
        )
        return Door(self.callers, self.in_force)

    async def _listen(self, queue: QueueApi, events: EventStream, api: Api, door: Door, server: Server) -> None:
        silence = server.client_timeout
        app = build_app(self.proxy, self.own, queue, events, api, Cors(self.in_force), door, silence=silence)
        self.tls = ServerTls.of(server)
        self.listening: Listening = await self._parts.enter_async_context(
            Listening(
                app,
                server.addresses,
                grace=server.shutdown_grace,
                max_header=server.max_header,
                client_timeout=server.client_timeout,
                notifier=self.notifier,
                passed=self._sockets,
                tls=self.tls,
                around=ShortWay(self.proxy, self.in_force).around,
            )
        )
        await self._parts.enter_async_context(self.patience)

    def _following(self, config: Config, digests: Digests, clock: Callable[[], float]) -> Follower:
        importing = Import(self.ledger, self._transcripts, self._names, digests, config, wall=time.time, calm=True)
        return Follower(config.litellm, importing, clock=clock)

    def stop(self) -> None:
        """Takes no more calls and sends the waiting ones away; running ones go on until the parts are left."""
        self.notifier.stopping()
        self.handover.stop()
        self.own.stop()
        self.proxy.stop()
        self.lanes.close()
        self.key_lanes.close()
        self.budgets.close()
        self.guards.close()
        self.events.close()

    def reload(self, load: Load) -> None:
        """Puts a changed configuration in force, whole or not at all."""
        try:
            config = keep_fixed(self.in_force.config, load())
            _check_sockets(config, self._sockets)
        except (ConfigError, ListenError) as error:
            faults = error.faults if isinstance(error, ConfigError) else [str(error)]
            for fault in faults:
                logger.error("reload refused: %s", fault)
            self.own.reloaded("; ".join(faults))
            return
        for warning in config.warnings:
            logger.warning("%s", warning)
        if self.tls is not None:
            self.tls.reload(config.server)
        config = self.simulator.placed(config)
        self.lanes.apply(config)
        self.recall.soon()
        self.callers.replace(config.auth)
        self.key_lanes.replace(config.queue)
        self.budgets.replace(config.budgets, config.queue.max_waiting)
        self.guards.replace(config.guards, config.queue.max_waiting)
        self.conversations.replace(config)
        redaction = Redaction.of(config)
        self._transcripts.replace(config.store, redaction)
        self._names.replace(redaction)
        self.following.replace(config.litellm)
        self.client.forget_certificates()
        self.onlookers.replace(config.middlewares, redaction)
        self.alerts.replace(config.alerts)
        self.telemetry.replace(config.telemetry)
        self.in_force.replace(config)
        log.set_level(config.log.level)
        _redact_log(config)
        self.own.reloaded(None)
        logger.info("reloaded; upstreams: %s", self.upstreams)

    def _store_fault(self) -> str | None:
        health = self.ledger.health()
        return None if health.ok else health.reason

    @property
    def upstreams(self) -> str:
        """The names of the configured upstreams, for people."""
        return ", ".join(sorted(self.in_force.routing.names)) or "none"


async def serve(config: Config, load: Load, environ: Mapping[str, str]) -> None:
    """Runs the daemon until SIGTERM or SIGINT. `load` reads the configuration anew, for SIGHUP.

    Raises ListenError or StoreError when it cannot start.
    """
    async with Daemon(config, environ, passed_sockets(environ)) as daemon, FreeMemory():
        signals = Signals()
        addresses = ", ".join(daemon.listening.addresses)
        logger.info("llmqd %s ready on %s; upstreams: %s", __version__, addresses, daemon.upstreams)
        if (store := daemon.ledger.health().reason) is not None:
            logger.warning("store: %s", store)
        daemon.notifier.ready()
        steady()
        # The price list is large; the first call must not wait for it, nor the start.
        warming = asyncio.create_task(asyncio.to_thread(daemon.prices.warm))
        while await signals.next() == signal.SIGHUP:
            daemon.notifier.reloading()
            daemon.reload(load)
            daemon.notifier.ready()
        logger.info("stopping; %s", daemon.watch.status())
        daemon.stop()
        await warming
    logger.info("stopped")


def _check_sockets(config: Config, sockets: Sequence[PassedSocket]) -> None:
    """Sockets that systemd hands over are held to what `[server] listen` is. Raises ListenError."""
    if config.auth.mode != "open":
        return
    for listener in [each.listener for each in sockets]:
        if listener.family != socket.AF_UNIX and not is_loopback(host := listener.getsockname()[0]):
            text = f'the socket unit listens on {host}, which other machines reach: set [auth] mode = "keys"'
            raise ListenError(text)


def _redact_log(config: Config) -> None:
    redaction = Redaction.for_log(config)
    log.redact_also(redaction.text, anywhere=redaction.finds_anywhere)


def _secret(config: Config) -> bytes:
    """What keys of messages are made with. Where it cannot be kept, sessions are not found again after a restart."""
    if config.store.backend != "memory":
        try:
            return installation_secret(config.server.state_directory)
        except StoreError as error:
            logger.warning("%s", error)
    return secrets.token_bytes(32)
