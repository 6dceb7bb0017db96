"""Which pages the console has, and what each of them is made of. Called by app.py."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from relay.console.application import Console, PageModule
from relay.console.composer.pages import ComposerPages, SendingDoor
from relay.console.operator.audit import AuditPages
from relay.console.operator.credentials import CredentialPages
from relay.console.operator.operations import RunningPages
from relay.console.operator.publishers import PublisherPages
from relay.console.publisher.apps import AppPages
from relay.console.publisher.customers import CustomerPages
from relay.console.publisher.push_tokens import TokenPages
from relay.console.publisher.pushes import PushPages
from relay.console.publisher.test_devices import TestDevicePages
from relay.console.publisher.webhooks import WebhookPages
from relay.console.renderer import Pages
from relay.console.sessions import Sessions
from relay.core.clock import Clock, Random
from relay.keys import KeyRing
from relay.service.services import Services
from relay.store.accounts.console_sessions import ConsoleSessionRepository
from relay.store.accounts.token_cache import TokenCache
from relay.store.database import Database


def make_console(
    database: Database,
    keys: KeyRing,
    clock: Clock,
    random: Random,
    token_cache: TokenCache,
    door: SendingDoor,
    services: Services,
    *,
    scheme_of: Callable[[web.Request], str],
) -> Console:
    """The console. `door` takes in what is sent from it; `scheme_of` says how the browser reached us.

    `services` are those of the API, with which the console shares the limit of webhook tests.
    """
    sessions = Sessions(
        ConsoleSessionRepository(database), token_cache, keys.identifiers, clock, random, scheme_of
    )
    pages = Pages(sessions, keys.identifiers, clock)
    parts: tuple[PageModule, ...] = (
        AppPages(pages, database, clock),
        CustomerPages(pages, database, services.customers, services.aliases),
        TokenPages(pages, database, services.push_tokens, clock),
        TestDevicePages(pages, database, services.test_devices),
        WebhookPages(pages, database, services.webhooks),
        PublisherPages(pages, database, services.publishers, token_cache, clock, random),
        CredentialPages(pages, database, services.credentials, clock),
        RunningPages(pages, database, clock),
        AuditPages(pages, database),
        ComposerPages(pages, database, door, random),
        PushPages(pages, database, clock),
    )
    return Console(sessions, pages, parts)
