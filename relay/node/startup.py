"""The composition root: the parts of a node, wired together.

API → intake → queue (PostgreSQL) → dispatcher → sender → APNs → settlement → PostgreSQL
"""

from __future__ import annotations

import os
import random
import secrets
import socket
from dataclasses import dataclass
from uuid import UUID, uuid4

from relay import __version__
from relay.apns.channels import AppleChannels, ChannelEndpoints
from relay.apns.connection import Timing
from relay.apns.pool import Endpoint
from relay.apns.sender import ApnsSender, SenderLimits
from relay.core.accounts import Environment
from relay.core.clock import Clock
from relay.core.ids import NodeId
from relay.dispatch.backlog import Backlog
from relay.dispatch.broadcasts import Broadcaster
from relay.dispatch.channel_creation import ChannelCreator
from relay.dispatch.channels import ChannelDispatcher
from relay.dispatch.completion import CompletionWaiter
from relay.dispatch.credential_cache import CredentialCache
from relay.dispatch.dispatcher import Dispatcher
from relay.dispatch.intake import Intake
from relay.dispatch.webhook_receivers import HttpReceivers
from relay.dispatch.webhooks import WebhookDispatcher
from relay.keys import KeyRing
from relay.node.clock import SystemClock
from relay.node.heartbeat import Heartbeat, Usage
from relay.node.maintenance import Maintenance
from relay.node.roles import Roles
from relay.node.signals import NodeSignals
from relay.settings import ApnsSettings, ChannelsSettings, Settings, SettingsError, endpoint
from relay.store.accounts.credentials import Credentials
from relay.store.accounts.token_cache import TokenCache
from relay.store.database import Database
from relay.store.notifications import NotificationTopic
from relay.store.operations.nodes import NodeState
from relay.store.webhooks.webhook_queue import WebhookQueueRepository
from relay.telemetry.counts import TALLY
from relay.telemetry.traces import NO_TRACES, Traces

_BATCH_ID_BITS = 62


@dataclass(frozen=True, slots=True)
class NodeContext:
    """The settings and basic services that all parts of a node share. `node_id` is new at each start."""

    settings: Settings
    keys: KeyRing
    database: Database
    clock: Clock
    node_id: UUID
    traces: Traces


@dataclass(frozen=True, slots=True)
class AppleConnections:
    """The connections to Apple: for pushes, and for the management of broadcast channels."""

    sender: ApnsSender
    channels: AppleChannels
    timing: Timing


@dataclass(frozen=True, slots=True)
class Dispatchers:
    """The loops of a node that sends: each takes one kind of queued work."""

    pushes: Dispatcher
    broadcasts: Broadcaster
    channels: ChannelDispatcher
    webhooks: WebhookDispatcher


@dataclass(frozen=True, slots=True)
class NodeParts:
    """All parts of a node except its HTTP server."""

    context: NodeContext
    signals: NodeSignals
    apple: AppleConnections
    token_cache: TokenCache
    intake: Intake
    completion_waiter: CompletionWaiter
    channel_creator: ChannelCreator
    webhook_receivers: HttpReceivers
    dispatchers: Dispatchers
    heartbeat: Heartbeat
    maintenance: Maintenance


def build_parts(settings: Settings, keys: KeyRing, database: Database, roles: Roles) -> NodeParts:
    """Build the parts of a node. None of them works yet.

    Raises:
        SettingsError: `telemetry.endpoint` is set and the libraries for traces are not installed.
    """
    node_id = uuid4()
    context = NodeContext(settings, keys, database, SystemClock(), node_id, open_traces(settings, node_id))
    clock = context.clock
    signals = NodeSignals(database, node_id)
    apple = _build_apple_connections(settings)
    credentials = CredentialCache(Credentials(database, keys.credentials), clock)
    completion_waiter = CompletionWaiter(database, settings.dispatch.poll)
    webhook_receivers = HttpReceivers(
        allow_private=settings.webhooks.allow_private,
        timeout=settings.webhooks.timeout,
        ca_file=settings.webhooks.ca_file,
    )
    dispatchers = _build_dispatchers(
        context, signals, apple, credentials, completion_waiter, webhook_receivers
    )
    token_cache = TokenCache(database, clock, announce=signals.announce_revocation)
    signals.subscribe(NotificationTopic.WORK, dispatchers.pushes.wake, dispatchers.broadcasts.wake)
    signals.subscribe(NotificationTopic.CHANNELS, dispatchers.channels.wake)
    signals.subscribe(NotificationTopic.TOKENS, token_cache.clear)
    signals.subscribe(NotificationTopic.CREDENTIALS, dispatchers.pushes.credentials_changed)

    def usage() -> Usage:
        return Usage(dispatchers.pushes.in_flight, *apple.sender.usage)

    return NodeParts(
        context=context,
        signals=signals,
        apple=apple,
        token_cache=token_cache,
        intake=Intake(
            database,
            dispatchers.pushes,
            random_batch_id,
            signals.announce_work,
            Backlog(settings.limits.queued_batches),
            batch_size=settings.dispatch.batch_size,
            traces=context.traces,
        ),
        completion_waiter=completion_waiter,
        channel_creator=ChannelCreator(database, credentials, apple.channels, clock),
        webhook_receivers=webhook_receivers,
        dispatchers=dispatchers,
        heartbeat=Heartbeat(database, _describe_node(context, roles), clock, usage, TALLY),
        maintenance=Maintenance(
            database, settings, clock, token_cache.write_last_used, dispatchers.webhooks.trim
        ),
    )


def open_traces(settings: Settings, node_id: UUID) -> Traces:
    """Return the traces of a node: those of its collector, or none without `telemetry.endpoint`.

    Raises:
        SettingsError: the libraries of the extra `push-relay[telemetry]` are not installed.
    """
    if not settings.telemetry.endpoint:
        return NO_TRACES
    try:
        from relay.telemetry.otlp import OtlpTraces
    except ImportError:
        detail = (
            "telemetry.endpoint needs libraries that are not installed: pip install 'push-relay[telemetry]'"
        )
        raise SettingsError(detail) from None
    return OtlpTraces(settings.telemetry.endpoint, settings.telemetry.sample, node_id)


def random_batch_id() -> int:
    """Return a random id for a batch. At 62 bits, nodes need not ask the database for one."""
    return secrets.randbits(_BATCH_ID_BITS)


def _build_apple_connections(settings: Settings) -> AppleConnections:
    timing = Timing(connect=settings.apns.connect_timeout, response=settings.apns.response_timeout)
    sender = ApnsSender(
        {environment: _endpoint(settings.apns, environment) for environment in Environment},
        limits=SenderLimits(
            settings.apns.max_connections,
            settings.apns.connections_per_credential,
            settings.apns.connects_per_second,
        ),
        timing=timing,
    )
    channels = AppleChannels(
        {environment: _channel_endpoints(settings, environment) for environment in Environment},
        sender,
        timing=timing,
    )
    return AppleConnections(sender, channels, timing)


def _build_dispatchers(
    context: NodeContext,
    signals: NodeSignals,
    apple: AppleConnections,
    credentials: CredentialCache,
    completion_waiter: CompletionWaiter,
    webhook_receivers: HttpReceivers,
) -> Dispatchers:
    database, clock, node_id = context.database, context.clock, context.node_id
    settings = context.settings.dispatch
    webhooks = WebhookDispatcher(
        WebhookQueueRepository(database, context.keys.credentials, node_id),
        webhook_receivers,
        clock,
        context.settings.webhooks,
        random.random,
    )
    pushes = Dispatcher(
        database=database,
        credentials=credentials,
        sender=apple.sender,
        clock=clock,
        settings=settings,
        owner=node_id,
        batch_id=random_batch_id,
        spread=random.random,
        on_ended=completion_waiter.settled,
        on_messages=webhooks.wake,
        traces=context.traces,
    )
    broadcasts = Broadcaster(
        database,
        clock,
        batch_size=settings.batch_size,
        queue_limit=context.settings.limits.queued_batches,
        poll=settings.poll,
        on_cut=signals.announce_work,
    )
    channels = ChannelDispatcher(
        database=database,
        credentials=credentials,
        provider=apple.channels,
        clock=clock,
        settings=settings,
        owner=node_id,
        spread=random.random,
        lease=apple.timing.connect + apple.timing.response + settings.lease,
    )
    return Dispatchers(pushes, broadcasts, channels, webhooks)


def _describe_node(context: NodeContext, roles: Roles) -> NodeState:
    now = context.clock.now()
    return NodeState(
        NodeId(context.node_id), socket.gethostname(), os.getpid(), __version__, roles.names, now, now
    )


def _endpoint(hosts: ApnsSettings | ChannelsSettings, environment: Environment) -> Endpoint:
    host = endpoint(hosts, environment)
    return Endpoint(host.host, host.port, host.ca_file)


def _channel_endpoints(settings: Settings, environment: Environment) -> ChannelEndpoints:
    return ChannelEndpoints(_endpoint(settings.channels, environment), _endpoint(settings.apns, environment))
