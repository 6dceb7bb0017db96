"""What the store's operator does with an operator_ token: publishers, apps, and the credentials for APNs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

import msgspec
from aiohttp import web

from relay.core.clock import Clock, Random
from relay.core.errors import Conflict, Fault, NotFound
from relay.core.ids import new_id
from relay.core.schema import AppId, Name, app_id_in_path, convert, number_in_path, uuid_in_path
from relay.http.pagination import page_answer, page_request
from relay.http.requests import answer, authenticate, read_json, route
from relay.service.credentials import CredentialBody, checked_credential
from relay.store.accounts.api_tokens import TokenIssuer
from relay.store.accounts.auth import NewToken
from relay.store.accounts.credentials import BY_OPERATOR, CredentialDescription, Credentials
from relay.store.accounts.registry import App, Publisher, PublisherRepository
from relay.store.database import Database

APP_ID_BYTES = 20


class _PublisherBody(msgspec.Struct, forbid_unknown_fields=True):
    name: Name


class _AppBody(msgspec.Struct, forbid_unknown_fields=True):
    publisher_id: UUID
    name: Name
    app_id: AppId | None = None


class OperatorApi:
    """`/v1.0/operator/`: publishers, apps and credentials. No answer holds a secret, but new tokens once.

    `on_due` is called when pushes that waited for a credential are due.
    """

    def __init__(
        self,
        database: Database,
        credential_keys: tuple[str, ...],
        clock: Clock,
        random: Random,
        on_due: Callable[[], None] = lambda: None,
    ) -> None:
        self._registry = PublisherRepository(database)
        self._credentials = Credentials(database, credential_keys)
        self._issuer = TokenIssuer(database, clock, random)
        self._on_due = on_due
        self._clock = clock
        self._random = random

    def routes(self) -> Iterable[web.RouteDef]:
        """All routes, each with its handler."""
        base = "/v1.0/operator"
        yield from route("POST", f"{base}/publishers/", self.add_publisher)
        yield from route("GET", f"{base}/publishers/", self.list_publishers)
        yield from route("POST", f"{base}/publishers/{{publisher_id}}/tokens/", self.add_manage_token)
        yield from route("POST", f"{base}/apps/", self.add_app)
        yield from route("GET", f"{base}/apps/", self.list_apps)
        yield from route("POST", f"{base}/credentials/", self.put_credential)
        yield from route("GET", f"{base}/credentials/", self.list_credentials)
        yield from route("POST", f"{base}/credentials/{{credential_id}}/resume/", self.resume_credential)
        yield from route("POST", f"{base}/credentials/{{credential_id}}/suspend/", self.suspend_credential)
        yield from route("DELETE", f"{base}/credentials/{{credential_id}}/", self.remove_credential)

    # --- publishers ---

    async def add_publisher(self, request: web.Request) -> web.Response:
        """201 {"id", "name", "created_at", "manage_token"}; the token is not shown again."""
        actor = (await authenticate(request, "operator")).actor
        body = convert(await read_json(request), _PublisherBody)
        token = self._issuer.make("manage")
        publisher = Publisher(new_id(token.created_at, self._random), body.name, token.created_at)
        await self._registry.add_publisher(publisher, token.text, token.token_id, actor)
        return answer(_show_publisher(publisher) | {"manage_token": token.text}, 201)

    async def list_publishers(self, request: web.Request) -> web.Response:
        """A page of publishers, oldest first."""
        await authenticate(request, "operator")
        page = page_request(request, uuid_in_path)
        publishers = await self._registry.publishers(page.after, page.one_more)
        return page_answer(page, publishers, lambda item: item.publisher_id, _show_publisher)

    async def add_manage_token(self, request: web.Request) -> web.Response:
        """201 {"id", "manage_token"}: another manage_ token of the publisher."""
        actor = (await authenticate(request, "operator")).actor
        publisher_id = uuid_in_path(request.match_info["publisher_id"])
        if not await self._registry.has_publisher(publisher_id):
            raise NotFound("There is no such publisher.")
        token = await self._issuer.issue(NewToken(kind="manage", publisher_id=publisher_id), actor)
        return answer({"id": token.token_id, "manage_token": token.text}, 201)

    # --- apps ---

    async def add_app(self, request: web.Request) -> web.Response:
        """201 {"app_id", "publisher_id", "name", "created_at"}; 409 if it is taken."""
        actor = (await authenticate(request, "operator")).actor
        body = convert(await read_json(request), _AppBody)
        if not await self._registry.has_publisher(body.publisher_id):
            raise Conflict(
                faults=[Fault("unknown_publisher", "/publisher_id", "There is no such publisher.")]
            )
        app_id = body.app_id or self._random(APP_ID_BYTES).hex()
        app = App(app_id, body.publisher_id, body.name, self._clock.now())
        if not await self._registry.add_app(app, actor):
            raise Conflict(faults=[Fault("conflict", "/app_id", "This app_id is taken.")])
        return answer(dataclasses.asdict(app), 201)

    async def list_apps(self, request: web.Request) -> web.Response:
        """A page of all publishers' apps, by app_id."""
        await authenticate(request, "operator")
        page = page_request(request, app_id_in_path)
        apps = await self._registry.apps(page.after or "", page.one_more)
        return page_answer(page, apps, lambda item: item.app_id, dataclasses.asdict)

    # --- credentials ---

    async def put_credential(self, request: web.Request) -> web.Response:
        """201 and the credential, replacing that of the same team, environment and bundle."""
        actor = (await authenticate(request, "operator")).actor
        body = convert(await read_json(request), CredentialBody)
        now = self._clock.now()
        stored = await self._credentials.put(checked_credential(body, now), now, actor)
        self._on_due()
        return answer(_show_credential(stored), 201)

    async def list_credentials(self, request: web.Request) -> web.Response:
        """A page of credentials, oldest first, without secrets."""
        await authenticate(request, "operator")
        page = page_request(request, number_in_path)
        credentials = await self._credentials.page(page.after or 0, page.one_more)
        return page_answer(page, credentials, lambda item: item.credential_id, _show_credential)

    async def resume_credential(self, request: web.Request) -> web.Response:
        """204: the credential is active, and what waited for it is due."""
        actor = (await authenticate(request, "operator")).actor
        credential_id = number_in_path(request.match_info["credential_id"])
        if not await self._credentials.resume(credential_id, self._clock.now(), actor):
            raise NotFound("There is no such credential.")
        self._on_due()
        return web.Response(status=204)

    async def suspend_credential(self, request: web.Request) -> web.Response:
        """204: the credential is suspended, now or before; what needs it waits until it is resumed or replaced."""
        actor = (await authenticate(request, "operator")).actor
        credential_id = number_in_path(request.match_info["credential_id"])
        suspended = await self._credentials.suspend(
            credential_id, BY_OPERATOR, self._clock.now(), actor=actor
        )
        if not suspended and not await self._credentials.exists(credential_id):
            raise NotFound("There is no such credential.")
        return web.Response(status=204)

    async def remove_credential(self, request: web.Request) -> web.Response:
        """204: the credential is gone."""
        actor = (await authenticate(request, "operator")).actor
        credential_id = number_in_path(request.match_info["credential_id"])
        if not await self._credentials.remove(credential_id, self._clock.now(), actor):
            raise NotFound("There is no such credential.")
        self._on_due()
        return web.Response(status=204)


def _show_publisher(publisher: Publisher) -> dict[str, Any]:
    return {"id": publisher.publisher_id, "name": publisher.name, "created_at": publisher.created_at}


def _show_credential(credential: CredentialDescription) -> dict[str, Any]:
    shown = dataclasses.asdict(credential)
    return {"id": shown.pop("credential_id"), **shown}
