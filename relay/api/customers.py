"""`/v1.0/customers/`: the customers of an app, their devices, copies and aliases.

A push token is for the customers of its app. With a manage token, `?app_id=` names the app. No answer holds a device
token or an e-mail address.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from aiohttp import web

from relay.api.aliases import answer_aliases, answer_attached
from relay.api.callers import AppOwners
from relay.core.errors import MalformedRequest, NotFound
from relay.core.ids import AppId
from relay.core.schema import app_id_in_path, convert, uuid_in_path
from relay.http.authentication import authenticate
from relay.http.pagination import page_answer, page_request
from relay.http.requests import answer, read_json, route
from relay.service.aliases import AliasBody, AliasService
from relay.service.customers import CustomerService
from relay.store.accounts.api_tokens import ManageToken, PushToken
from relay.store.installations.aliases import AliasActor
from relay.store.installations.customers import Customer, CustomerInstallation

_PATH = r"/v1.0/customers/{customer_id:c_[^/]+}/"
"""The path of one customer. The form of its identifier tells it from `search`."""
_CURSOR = re.compile(r"c_[A-Za-z0-9_-]{44}", re.ASCII)


class _CustomerCaller(NamedTuple):
    app_id: AppId
    by: AliasActor


class CustomersApi:
    """Endpoints for the customers of an app and their aliases."""

    def __init__(self, owners: AppOwners, customers: CustomerService, aliases: AliasService) -> None:
        self._owners = owners
        self._customers = customers
        self._aliases = aliases

    def routes(self) -> Iterable[web.RouteDef]:
        """Return all routes with their handlers."""
        yield from route("GET", "/v1.0/customers/", self.list_customers)
        yield from route("POST", "/v1.0/customers/search/", self.search_customers)
        yield from route("GET", _PATH, self.show_customer)
        yield from route("POST", f"{_PATH}aliases/", self.attach_alias)
        yield from route("GET", f"{_PATH}aliases/", self.list_aliases)
        yield from route("DELETE", f"{_PATH}aliases/{{alias_id}}/", self.remove_alias)

    # --- customers ---

    async def list_customers(self, request: web.Request) -> web.Response:
        """`GET /v1.0/customers/`: 200 and a page of the customers with a copy of the app, by identifier."""
        app_id = (await self._caller(request)).app_id
        page = page_request(request, _cursor)
        customers = await self._customers.list_customers(app_id, page.after, page.one_more)
        return page_answer(page, customers, lambda customer: customer.customer, _show_customer)

    async def search_customers(self, request: web.Request) -> web.Response:
        """`POST /v1.0/customers/search/`: 200 and a page of the customers with an alias.

        The address is in the body, because URLs are written to the logs of proxies.
        """
        app_id = (await self._caller(request)).app_id
        page = page_request(request, _cursor)
        body = convert(await read_json(request), AliasBody)
        customers = await self._customers.find_by_alias(app_id, body.alias, page.after, page.one_more)
        return page_answer(page, customers, lambda customer: customer.customer, _show_customer)

    async def show_customer(self, request: web.Request) -> web.Response:
        """`GET /v1.0/customers/{customer_id}/`: 200 and the customer."""
        app_id = (await self._caller(request)).app_id
        customer = await self._customers.find_customer(app_id, self._customer_in_path(request, app_id))
        return answer(_show_customer(customer))

    # --- aliases ---

    async def attach_alias(self, request: web.Request) -> web.Response:
        """`POST /v1.0/customers/{customer_id}/aliases/`: 201 and the alias; 200 if the customer had it before."""
        app_id, by = await self._caller(request)
        customer = self._customer_in_path(request, app_id)
        body = convert(await read_json(request), AliasBody)
        return answer_attached(await self._aliases.attach_alias(app_id, customer, body, by))

    async def list_aliases(self, request: web.Request) -> web.Response:
        """`GET /v1.0/customers/{customer_id}/aliases/`: 200 and the aliases, oldest first, without the addresses."""
        app_id = (await self._caller(request)).app_id
        customer = self._customer_in_path(request, app_id)
        return answer_aliases(await self._aliases.list_aliases(app_id, customer))

    async def remove_alias(self, request: web.Request) -> web.Response:
        """`DELETE /v1.0/customers/{customer_id}/aliases/{alias_id}/`: 204, and the alias is removed."""
        app_id, by = await self._caller(request)
        customer = self._customer_in_path(request, app_id)
        alias_id = uuid_in_path(request.match_info["alias_id"])
        await self._aliases.remove_alias(app_id, customer, alias_id, by)
        return web.Response(status=204)

    # --- the caller, and the customer of the path ---

    async def _caller(self, request: web.Request) -> _CustomerCaller:
        token = await authenticate(request, PushToken, ManageToken)
        by = AliasActor(token.actor, token.publisher_id)
        app_id = request.query.get("app_id")
        if isinstance(token, PushToken):
            if app_id not in (None, token.app_id):
                raise NotFound("There is no such app.")
            return _CustomerCaller(token.app_id, by)
        if app_id is None:
            raise MalformedRequest("With a manage token app_id must name the app.")
        checked_id = app_id_in_path(app_id)
        await self._owners.check_owner(token, checked_id)
        return _CustomerCaller(checked_id, by)

    def _customer_in_path(self, request: web.Request, app_id: AppId) -> str:
        return self._customers.verify_customer(app_id, request.match_info["customer_id"])


def _cursor(text: str) -> str:
    if _CURSOR.fullmatch(text) is None:
        raise NotFound()
    return text


def _show_customer(customer: Customer) -> dict[str, Any]:
    return {
        "customer_id": customer.customer,
        "devices": [
            {"device_id": device, "copies": [_show_copy(copy) for copy in copies]}
            for device, copies in customer.devices.items()
        ],
    }


def _show_copy(copy: CustomerInstallation) -> dict[str, Any]:
    return {
        "alongside": copy.alongside,
        "app_version": copy.app_version,
        "environment": copy.environment,
        "device_token": "active" if copy.kinds else "retired" if copy.known else "none",
        "kinds": copy.kinds,
        "last_seen": copy.last_seen,
    }
