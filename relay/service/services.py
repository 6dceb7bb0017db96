"""The services that the API and the console share, built once for each node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from relay.core.clock import Clock, Random
from relay.core.email_aliases import AddressDigests
from relay.core.identifiers import Identifiers
from relay.core.udid import UdidDigests
from relay.core.webhooks.messages import Receivers
from relay.keys import KeyRing
from relay.service.aliases import AliasService
from relay.service.credentials import CredentialService
from relay.service.customers import CustomerService
from relay.service.publishers import PublisherService
from relay.service.push_tokens import PushTokenService
from relay.service.test_devices import TestDeviceService
from relay.service.webhooks import WebhookService
from relay.store.accounts.credentials import Credentials
from relay.store.accounts.token_cache import TokenCache
from relay.store.database import Database
from relay.store.webhooks.webhooks import WebhookRepository


@dataclass(frozen=True, slots=True)
class Services:
    """What publishers and the operator manage, one service for each subject."""

    publishers: PublisherService
    credentials: CredentialService
    push_tokens: PushTokenService
    test_devices: TestDeviceService
    webhooks: WebhookService
    customers: CustomerService
    aliases: AliasService


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceDependencies:
    """What the services need of a node.

    `allow_private_webhooks` permits webhooks in private networks. `on_due` is called when batches that waited for a
    credential become due.
    """

    database: Database
    keys: KeyRing
    token_cache: TokenCache
    receivers: Receivers
    clock: Clock
    random: Random
    allow_private_webhooks: bool
    on_due: Callable[[], None]


def build_services(dependencies: ServiceDependencies) -> Services:
    """Build all services."""
    database, keys = dependencies.database, dependencies.keys
    clock, random = dependencies.clock, dependencies.random
    digests = AddressDigests(keys.of_aliases)
    return Services(
        publishers=PublisherService(database, clock, random),
        credentials=CredentialService(Credentials(database, keys.credentials), clock, dependencies.on_due),
        push_tokens=PushTokenService(database, dependencies.token_cache, clock, random),
        test_devices=TestDeviceService(database, UdidDigests(keys.udid), clock, random),
        webhooks=WebhookService(
            WebhookRepository(database, keys.credentials),
            dependencies.receivers,
            clock,
            random,
            allow_private=dependencies.allow_private_webhooks,
        ),
        customers=CustomerService(database, Identifiers(keys.identifiers), digests),
        aliases=AliasService(database, digests, clock, random),
    )
