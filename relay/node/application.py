"""The HTTP application of a node: the API, the console, health and metrics."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web

from relay.api.apps import AppsApi
from relay.api.audit import AuditApi
from relay.api.callers import AppOwners
from relay.api.channels import ChannelsApi, InstalledChannelsApi
from relay.api.credentials import CredentialsApi
from relay.api.customers import CustomersApi
from relay.api.device import DeviceApi
from relay.api.health import HealthApi
from relay.api.installations import EnrolmentKeys, OperatorInstallationsApi
from relay.api.metrics import MetricsApi
from relay.api.publishers import PublishersApi
from relay.api.push_tokens import PushTokensApi
from relay.api.pushes import PushesApi
from relay.api.send import SendApi
from relay.api.send_fast_path import SendFastPath
from relay.api.spec import SpecApi
from relay.api.test_devices import TestDevicesApi
from relay.api.validate import ValidateApi
from relay.api.webhooks import WebhooksApi
from relay.console.application import Console
from relay.console.wiring import ConsoleDependencies, make_console
from relay.core.clock import Clock, Random
from relay.core.email_aliases import AddressDigests
from relay.core.idempotency import IdempotencyDigests
from relay.core.identifiers import Identifiers
from relay.core.install_tokens import InstallTokens
from relay.core.push.request import Lifetimes
from relay.core.rate_limit import RateLimit
from relay.core.udid import UdidDigests
from relay.dispatch.channel_creation import ChannelCreator
from relay.dispatch.completion import CompletionWaiter
from relay.dispatch.intake import Intake
from relay.dispatch.webhook_receivers import HttpReceivers
from relay.http.authentication import INSTALL_TOKENS, TOKEN_CACHE
from relay.http.client_address import TRUSTED_PROXIES, scheme_of
from relay.http.fast_path import FAST_PATH
from relay.http.problems import problems
from relay.http.request_log import traced
from relay.http.request_metrics import measured
from relay.http.requests import BODY_TIMEOUT
from relay.keys import KeyRing
from relay.node.startup import NodeParts
from relay.service.channels import ChannelQueue, ChannelService
from relay.service.rate_limits import TokenRateLimit
from relay.service.sending import SendingServices
from relay.service.services import ServiceDependencies, Services, build_services
from relay.service.state_metrics import StateMetrics
from relay.service.submission import Submitter
from relay.service.validation import SendCheck
from relay.service.waiting import OutcomeWaiter
from relay.settings import Settings
from relay.store.accounts.token_cache import TokenCache
from relay.store.database import Database
from relay.store.push.idempotency_keys import IdempotencyKeyRepository
from relay.telemetry.traces import Traces


class Api(Protocol):
    """A group of endpoints."""

    def routes(self) -> Iterable[web.RouteDef]:
        """Return the routes, each with its handler."""
        ...


@dataclass(frozen=True, slots=True)
class HttpDependencies:
    """The services that the handlers of requests call.

    `announce_work` is called after pushes become due, `announce_channel_work` after pushes to channels do.
    `measure_process` updates the gauges of this process.
    """

    settings: Settings
    keys: KeyRing
    database: Database
    clock: Clock
    random: Random
    traces: Traces
    token_cache: TokenCache
    intake: Intake
    completion_waiter: CompletionWaiter
    channel_creator: ChannelCreator
    webhook_receivers: HttpReceivers
    announce_work: Callable[[], None]
    announce_channel_work: Callable[[], None]
    measure_process: Callable[[], object]

    @classmethod
    def of(cls, parts: NodeParts) -> HttpDependencies:
        """Return the dependencies that the parts of a node fulfil."""
        context = parts.context
        return cls(
            settings=context.settings,
            keys=context.keys,
            database=context.database,
            clock=context.clock,
            random=secrets.token_bytes,
            traces=context.traces,
            token_cache=parts.token_cache,
            intake=parts.intake,
            completion_waiter=parts.completion_waiter,
            channel_creator=parts.channel_creator,
            webhook_receivers=parts.webhook_receivers,
            announce_work=parts.signals.announce_work,
            announce_channel_work=parts.signals.announce_channel_work,
            measure_process=parts.heartbeat.measure,
        )


def build_application(
    dependencies: HttpDependencies, health: HealthApi, *, serves_api: bool
) -> web.Application:
    """Build the application. Without `serves_api` it answers only health and metrics: the node only sends."""
    settings, traces = dependencies.settings, dependencies.traces
    application = web.Application(
        client_max_size=settings.http.max_body,
        middlewares=[measured, *([traced(traces)] if traces.on else []), problems],
    )
    application[TOKEN_CACHE] = dependencies.token_cache
    application[BODY_TIMEOUT] = settings.http.body_timeout
    application[INSTALL_TOKENS] = InstallTokens(dependencies.keys.installations)
    application[TRUSTED_PROXIES] = settings.http.proxies()
    _add_routes(application, health, _build_metrics(dependencies))
    if serves_api:
        _add_api_and_console(application, dependencies)
    return application


def _build_metrics(dependencies: HttpDependencies) -> MetricsApi:
    return MetricsApi(
        StateMetrics(dependencies.database, dependencies.clock),
        dependencies.measure_process,
        networks=dependencies.settings.metrics.parsed(),
        trusted=dependencies.settings.http.proxies(),
    )


def _build_sending(dependencies: HttpDependencies, lifetimes: Lifetimes) -> SendingServices:
    """Build the way of a push into the queue. The API, its fast path and the console share it, and its limits."""
    keys, limits = dependencies.keys, dependencies.settings.limits
    check = SendCheck(
        Identifiers(keys.identifiers),
        AddressDigests(keys.of_aliases),
        lifetimes,
        dependencies.clock,
        dependencies.random,
    )
    return SendingServices(
        check,
        Submitter(check, dependencies.intake, IdempotencyKeyRepository(dependencies.database)),
        IdempotencyDigests(keys.udid),
        TokenRateLimit("pushes", RateLimit(limits.pushes_per_second, limits.burst)),
        TokenRateLimit("validations", RateLimit(limits.pushes_per_second, limits.burst)),
    )


def _add_api_and_console(application: web.Application, dependencies: HttpDependencies) -> None:
    dispatch = dependencies.settings.dispatch
    lifetimes = Lifetimes(dispatch.keep, dispatch.immediate_window)
    sending = _build_sending(dependencies, lifetimes)
    if not dependencies.traces.on:  # spans need aiohttp's request objects, which the fast path avoids
        application[FAST_PATH] = SendFastPath(dependencies.token_cache, dependencies.intake, sending)
    services = build_services(
        ServiceDependencies(
            database=dependencies.database,
            keys=dependencies.keys,
            token_cache=dependencies.token_cache,
            receivers=dependencies.webhook_receivers,
            clock=dependencies.clock,
            random=dependencies.random,
            allow_private_webhooks=dependencies.settings.webhooks.allow_private,
            on_due=dependencies.announce_work,
        )
    )
    install_tokens = application[INSTALL_TOKENS]
    _add_routes(application, *_sending_apis(dependencies, sending, lifetimes))
    _add_routes(application, *_publisher_apis(dependencies, services))
    _add_routes(application, *_device_apis(dependencies, services, install_tokens))
    _add_routes(application, *_operator_apis(dependencies, services, install_tokens), SpecApi())
    if dependencies.settings.console.enabled:
        _build_console(dependencies, sending, services).add_to(application)


def _sending_apis(
    dependencies: HttpDependencies, sending: SendingServices, lifetimes: Lifetimes
) -> tuple[Api, ...]:
    database, clock, random = dependencies.database, dependencies.clock, dependencies.random
    channel_queue = ChannelQueue(
        lifetimes, dependencies.settings.limits.queued_batches, dependencies.announce_channel_work
    )
    return (
        SendApi(sending, OutcomeWaiter(database, dependencies.completion_waiter)),
        ValidateApi(sending, database),
        PushesApi(database, clock),
        ChannelsApi(ChannelService(database, channel_queue, clock, random), sending.push_rates),
    )


def _publisher_apis(dependencies: HttpDependencies, services: Services) -> tuple[Api, ...]:
    owners = AppOwners(dependencies.database)
    return (
        AppsApi(dependencies.database, dependencies.clock),
        PushTokensApi(owners, services.push_tokens),
        TestDevicesApi(services.test_devices),
        WebhooksApi(owners, services.webhooks),
        CustomersApi(owners, services.customers, services.aliases),
    )


def _device_apis(
    dependencies: HttpDependencies, services: Services, install_tokens: InstallTokens
) -> tuple[Api, ...]:
    database = dependencies.database
    return (
        DeviceApi(database, install_tokens, services.aliases, dependencies.clock),
        InstalledChannelsApi(database, install_tokens, dependencies.channel_creator),
    )


def _operator_apis(
    dependencies: HttpDependencies, services: Services, install_tokens: InstallTokens
) -> tuple[Api, ...]:
    database, clock, random = dependencies.database, dependencies.clock, dependencies.random
    keys = dependencies.keys
    return (
        PublishersApi(database, services.publishers),
        CredentialsApi(services.credentials),
        OperatorInstallationsApi(
            database,
            EnrolmentKeys(Identifiers(keys.identifiers), install_tokens, UdidDigests(keys.udid)),
            clock,
            random,
        ),
        AuditApi(database),
    )


def _build_console(dependencies: HttpDependencies, sending: SendingServices, services: Services) -> Console:
    return make_console(
        ConsoleDependencies(
            database=dependencies.database,
            keys=dependencies.keys,
            clock=dependencies.clock,
            random=dependencies.random,
            token_cache=dependencies.token_cache,
            services=services,
            sending=sending,
            scheme_of=scheme_of,
        )
    )


def _add_routes(application: web.Application, *apis: Api) -> None:
    for api in apis:
        application.add_routes(list(api.routes()))
