"""Construction of the console from what a node has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from relay.console.application import Console, PageGroup
from relay.console.composer.pages import ComposerPages
from relay.console.cookies import ConsoleCookies
from relay.console.operator.audit import AuditPages
from relay.console.operator.credentials import CredentialPages
from relay.console.operator.operations import OperationsPages
from relay.console.operator.publishers import PublisherPages
from relay.console.publisher.apps import AppPages
from relay.console.publisher.customers import CustomerPages
from relay.console.publisher.push_tokens import PushTokenPages
from relay.console.publisher.pushes import PushPages
from relay.console.publisher.test_devices import TestDevicePages
from relay.console.publisher.webhooks import WebhookPages
from relay.console.renderer import PageRenderer
from relay.console.resources import PageResources
from relay.console.sessions import Sessions
from relay.console.sign_in import SignInPages
from relay.core.clock import Clock, Random
from relay.keys import KeyRing
from relay.service.sending import SendingServices
from relay.service.services import Services
from relay.store.accounts.console_sessions import ConsoleSessionRepository
from relay.store.accounts.token_cache import TokenCache
from relay.store.database import Database


@dataclass(frozen=True, slots=True)
class ConsoleDependencies:
    """The parts of a node that the console needs.

    `services` and `sending` are shared with the API, and so are their rate limits. `scheme_of` returns the scheme by
    which the browser reached the relay.
    """

    database: Database
    keys: KeyRing
    clock: Clock
    random: Random
    token_cache: TokenCache
    services: Services
    sending: SendingServices
    scheme_of: Callable[[web.Request], str]


def make_console(dependencies: ConsoleDependencies) -> Console:
    """Build the console with all its pages."""
    database, secret_keys = dependencies.database, dependencies.keys.identifiers
    clock, random = dependencies.clock, dependencies.random
    cookies = ConsoleCookies(dependencies.scheme_of)
    renderer = PageRenderer(cookies, secret_keys, clock)
    sessions = Sessions(
        ConsoleSessionRepository(database), dependencies.token_cache, cookies, secret_keys, clock, random
    )
    resources = PageResources(renderer, database, clock, random)
    services = dependencies.services
    page_groups: tuple[PageGroup, ...] = (
        SignInPages(sessions, renderer),
        # for publishers
        AppPages(resources),
        CustomerPages(resources, services.customers, services.aliases),
        PushTokenPages(resources, services.push_tokens),
        TestDevicePages(resources, services.test_devices),
        WebhookPages(resources, services.webhooks),
        ComposerPages(resources, dependencies.sending),
        PushPages(resources),
        # for operators
        PublisherPages(resources, services.publishers, dependencies.token_cache),
        CredentialPages(resources, services.credentials),
        OperationsPages(resources),
        AuditPages(resources),
    )
    return Console(sessions, renderer, page_groups)
