"""Which pages the console has, and what each of them is made of. Called by app.py."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from relay.api.webhooks import WebhookTests
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
from relay.core.email_aliases import AddressDigests
from relay.core.identifiers import Identifiers
from relay.core.udid import UdidDigests
from relay.keys import KeyRing
from relay.store.accounts.auth import ApiTokens
from relay.store.accounts.console_sessions import ConsoleSessions
from relay.store.accounts.credentials import Credentials
from relay.store.database import Database
from relay.store.webhooks.webhooks import WebhookRepository


def make_console(
    database: Database,
    keys: KeyRing,
    clock: Clock,
    random: Random,
    api_tokens: ApiTokens,
    door: SendingDoor,
    *,
    on_due: Callable[[], None],
    webhook_tests: WebhookTests,
    allow_private_webhooks: bool,
    scheme_of: Callable[[web.Request], str],
) -> Console:
    """The console. `door` takes in what is sent from it. `on_due` is called when pushes that waited are due;
    `scheme_of` says how the browser reached us.

    `webhook_tests` are those of the API, with which the console shares their limit.
    """
    sessions = Sessions(ConsoleSessions(database), api_tokens, keys.identifiers, clock, random, scheme_of)
    pages = Pages(sessions, keys.identifiers, clock)
    identifiers, digests = Identifiers(keys.identifiers), AddressDigests(keys.of_aliases)
    credentials, webhooks = (
        Credentials(database, keys.credentials),
        WebhookRepository(database, keys.credentials),
    )
    parts: tuple[PageModule, ...] = (
        AppPages(pages, database, clock),
        CustomerPages(pages, database, identifiers, digests, clock, random),
        TokenPages(pages, database, api_tokens, clock, random),
        TestDevicePages(pages, database, UdidDigests(keys.udid), clock, random),
        WebhookPages(
            pages, database, webhooks, webhook_tests, clock, random, allow_private=allow_private_webhooks
        ),
        PublisherPages(pages, database, api_tokens, clock, random),
        CredentialPages(pages, database, credentials, clock, on_due),
        RunningPages(pages, database, clock),
        AuditPages(pages, database),
        ComposerPages(pages, database, door, random),
        PushPages(pages, database, clock),
    )
    return Console(sessions, pages, parts)
