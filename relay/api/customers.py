"""The customers of an app: their devices, whether a push would reach them, and the addresses they have as aliases.

A push token is for the customers of its app; a manage token names the app with ?app_id=. Nothing here shows a device
token or an address.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from aiohttp import web

from relay.core.clock import Clock, Random
from relay.core.email_aliases import AddressDigests
from relay.core.errors import MalformedRequest, NotFound
from relay.core.identifiers import Identifiers
from relay.core.schema import app_id_in_path, convert, uuid_in_path
from relay.http.pagination import page_answer, page_request
from relay.http.requests import answer, authenticate, read_json, route
from relay.service.aliases import (
    AliasBody,
    answer_aliases,
    answer_attached,
    new_alias,
    no_alias,
    too_many_aliases,
)
from relay.store.accounts.registry import PublisherRepository
from relay.store.database import Database
from relay.store.installations.aliases import AliasActor, Aliases, TooManyAliases
from relay.store.installations.customers import Customer, Customers, InstalledCopy

_PATH = r"/v1.0/customers/{customer_id:c_[^/]+}/"
"""A customer in the path. Its form keeps it apart from `search`."""
_CURSOR = re.compile(r"c_[A-Za-z0-9_-]{44}", re.ASCII)


class _CustomerCaller(NamedTuple):
    app_id: str
    by: AliasActor


class CustomersApi:
    """`/v1.0/customers/`."""

    def __init__(
        self,
        database: Database,
        identifiers: Identifiers,
        digests: AddressDigests,
        clock: Clock,
        random: Random,
    ) -> None:
        self._customers = Customers(database)
        self._aliases = Aliases(database)
        self._registry = PublisherRepository(database)
        self._identifiers = identifiers
        self._digests = digests
        self._clock = clock
        self._random = random

    def routes(self) -> Iterable[web.RouteDef]:
        """All routes, each with its handler."""
        yield from route("GET", "/v1.0/customers/", self.list_customers)
        yield from route("POST", "/v1.0/customers/search/", self.search)
        yield from route("GET", _PATH, self.show)
        yield from route("POST", f"{_PATH}aliases/", self.attach)
        yield from route("GET", f"{_PATH}aliases/", self.list_aliases)
        yield from route("DELETE", f"{_PATH}aliases/{{alias_id}}/", self.remove)

    # --- customers ---

    async def list_customers(self, request: web.Request) -> web.Response:
        """A page of the customers who have a copy of the app, in the order of their identifiers."""
        app_id = (await self._caller(request)).app_id
        page = page_request(request, _cursor)
        customers = await self._customers.page(app_id, page.after or "", page.one_more)
        return page_answer(page, customers, lambda item: item.customer, _show)

    async def search(self, request: web.Request) -> web.Response:
        """A page of the customers with an alias. It comes in the body: what is in a URL stands in proxies' logs."""
        app_id = (await self._caller(request)).app_id
        page = page_request(request, _cursor)
        body = convert(await read_json(request), AliasBody)
        digest = self._digests.of(app_id, body.alias)
        customers = await self._customers.with_alias(app_id, digest, page.after or "", page.one_more)
        return page_answer(page, customers, lambda item: item.customer, _show)

    async def show(self, request: web.Request) -> web.Response:
        """200 and one customer."""
        app_id = (await self._caller(request)).app_id
        customer = await self._customers.find(app_id, self._customer(request, app_id))
        if customer is None:
            raise _no_customer()
        return answer(_show(customer))

    # --- aliases ---

    async def attach(self, request: web.Request) -> web.Response:
        """201 {"id", "created_at"}; 200 if the customer has the alias already; 409 if it has too many."""
        app_id, by = await self._caller(request)
        customer = self._customer(request, app_id)
        body = convert(await read_json(request), AliasBody)
        new = new_alias(self._clock, self._random)
        try:
            attached = await self._aliases.attach(
                app_id, customer, self._digests.of(app_id, body.alias), new, by
            )
        except TooManyAliases:
            raise too_many_aliases() from None
        if attached is None:
            raise _no_customer()
        return answer_attached(attached)

    async def list_aliases(self, request: web.Request) -> web.Response:
        """200 {"items": [{"id", "created_at"}, …]}, oldest first; which addresses they are nobody knows any more."""
        app_id = (await self._caller(request)).app_id
        aliases = await self._aliases.of_customer(app_id, self._customer(request, app_id))
        if aliases is None:
            raise _no_customer()
        return answer_aliases(aliases)

    async def remove(self, request: web.Request) -> web.Response:
        """204: the customer has the alias no more."""
        app_id, by = await self._caller(request)
        customer = self._customer(request, app_id)
        alias_id = uuid_in_path(request.match_info["alias_id"])
        if not await self._aliases.remove(app_id, customer, alias_id, self._clock.now(), by):
            raise no_alias()
        return web.Response(status=204)

    # --- who asks, and about whom ---

    async def _caller(self, request: web.Request) -> _CustomerCaller:
        token = await authenticate(request, "push", "manage")
        by = AliasActor(token.actor, token.publisher_id)
        named = request.query.get("app_id")
        if token.app_id is not None:
            if named not in (None, token.app_id):
                raise NotFound("There is no such app.")
            return _CustomerCaller(token.app_id, by)
        if named is None:
            raise MalformedRequest("With a manage token app_id must name the app.")
        assert token.publisher_id is not None  # every manage_ token is stored with its publisher
        if not await self._registry.owns(token.publisher_id, app_id_in_path(named)):
            raise NotFound("There is no such app.")
        return _CustomerCaller(named, by)

    def _customer(self, request: web.Request, app_id: str) -> str:
        """The customer of the path, if it is one of that app by its signature. Raises NotFound."""
        customer = request.match_info["customer_id"]
        if not self._identifiers.is_customer(app_id, customer):
            raise _no_customer()
        return customer


def _no_customer() -> NotFound:
    return NotFound("The app has no such customer.")


def _cursor(text: str) -> str:
    if _CURSOR.fullmatch(text) is None:
        raise NotFound()
    return text


def _show(customer: Customer) -> dict[str, Any]:
    return {
        "customer_id": customer.customer,
        "devices": [
            {"device_id": device, "copies": [_show_copy(copy) for copy in copies]}
            for device, copies in customer.devices.items()
        ],
    }


def _show_copy(copy: InstalledCopy) -> dict[str, Any]:
    return {
        "alongside": copy.alongside,
        "app_version": copy.app_version,
        "environment": copy.environment,
        "device_token": "active" if copy.kinds else "retired" if copy.known else "none",
        "kinds": copy.kinds,
        "last_seen": copy.last_seen,
    }
