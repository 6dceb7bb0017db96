"""What a node answers over HTTP: the API, the console, health and metrics, each with the parts that it hands on to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web

from relay.api.audit import AuditApi
from relay.api.channels import ChannelsApi, InstalledChannelsApi
from relay.api.customers import CustomersApi
from relay.api.device import DeviceApi
from relay.api.installations import OperatorInstallationsApi
from relay.api.operator import OperatorApi
from relay.api.publisher import PublisherApi
from relay.api.pushes import PushesApi
from relay.api.send import SendApi, Submitter
from relay.api.send_fast_path import EXPRESS, SendFastPath
from relay.api.spec import SpecApi
from relay.api.validate import ValidateApi
from relay.api.webhooks import WebhooksApi
from relay.console.composer.pages import SendingDoor
from relay.console.wiring import make_console
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
from relay.http import requests as http
from relay.http.client_address import TRUSTED_PROXIES, scheme_of
from relay.http.request_log import traced
from relay.http.request_metrics import measured
from relay.keys import KeyRing
from relay.service.rate_limits import Rates
from relay.service.validation import SendCheck
from relay.service.waiting import Waiting
from relay.settings import Settings
from relay.store.accounts.auth import ApiTokens
from relay.store.database import Database
from relay.store.push.idempotency import IdempotencyKeys
from relay.telemetry.traces import Traces


class Api(Protocol):
    """Some routes, and what answers them."""

    def routes(self) -> Iterable[web.RouteDef]:
        """All routes, each with its handler."""
        ...


@dataclass(frozen=True, slots=True)
class HttpDependencies:
    """What requests are handed on to. `on_work` and `on_channels` are told that pushes wait, and pushes to channels."""

    database: Database
    clock: Clock
    random: Random
    api_tokens: ApiTokens
    intake: Intake
    watch: CompletionWaiter
    opener: ChannelCreator
    receivers: HttpReceivers
    traces: Traces
    on_work: Callable[[], None]
    on_channels: Callable[[], None]


def make_web(
    settings: Settings, parts: HttpDependencies, always: Iterable[Api], keys: KeyRing, *, api: bool
) -> web.Application:
    """The application of a node. `always` is served by each; without `api` nothing else is: the node only sends."""
    application = web.Application(
        client_max_size=settings.http.max_body,
        middlewares=[measured, *([traced(parts.traces)] if parts.traces.on else []), http.problems],
    )
    application[http.API_TOKENS] = parts.api_tokens
    application[http.BODY_TIMEOUT] = settings.http.body_timeout
    application[http.INSTALL_TOKENS] = InstallTokens(keys.installations)
    application[TRUSTED_PROXIES] = settings.http.proxies()
    for one in always:
        application.add_routes(list(one.routes()))
    if api:
        _add_api(application, settings, parts, keys)
    return application


def _add_api(
    application: web.Application, settings: Settings, parts: HttpDependencies, keys: KeyRing
) -> None:
    database, clock, random = parts.database, parts.clock, parts.random
    limits = settings.limits
    identifiers = Identifiers(keys.identifiers)
    install_tokens = application[http.INSTALL_TOKENS]
    udid_digests = UdidDigests(keys.udid)
    address_digests = AddressDigests(keys.of_aliases)
    idempotency = IdempotencyDigests(keys.udid)
    lifetimes = Lifetimes(settings.dispatch.keep, settings.dispatch.immediate_window)
    pushes, validations = (
        Rates(what, RateLimit(limits.pushes_per_second, limits.burst)) for what in ("pushes", "validations")
    )
    check = SendCheck(identifiers, address_digests, lifetimes, clock, random)
    submitter = Submitter(check, parts.intake, IdempotencyKeys(database))
    if not parts.traces.on:  # a span is for a request as aiohttp has it
        application[EXPRESS] = SendFastPath(
            parts.api_tokens, check, parts.intake, submitter, idempotency, pushes
        )
    allow_private = settings.webhooks.allow_private
    webhooks = WebhooksApi(
        database, keys.credentials, parts.receivers, clock, random, allow_private=allow_private
    )
    apis: tuple[Api, ...] = (
        SendApi(submitter, idempotency, Waiting(database, parts.watch), pushes),
        ValidateApi(check, database, validations),
        PushesApi(database, clock),
        CustomersApi(database, identifiers, address_digests, clock, random),
        ChannelsApi(database, lifetimes, pushes, limits.queued_batches, parts.on_channels, clock, random),
        DeviceApi(database, install_tokens, address_digests, clock, random),
        InstalledChannelsApi(database, install_tokens, parts.opener),
        PublisherApi(database, parts.api_tokens, udid_digests, clock, random),
        OperatorApi(database, keys.credentials, clock, random, parts.on_work),
        OperatorInstallationsApi(database, identifiers, install_tokens, udid_digests, clock, random),
        webhooks,
        AuditApi(database),
        SpecApi(),
    )
    for one in apis:
        application.add_routes(list(one.routes()))
    if settings.console.enabled:
        make_console(
            database,
            keys,
            clock,
            random,
            parts.api_tokens,
            SendingDoor(check, submitter, idempotency, pushes, validations),
            on_due=parts.on_work,
            webhook_tests=webhooks.tests,
            allow_private_webhooks=allow_private,
            scheme_of=scheme_of,
        ).add_to(application)
