"""The customers of an app, found by identifier or address; one with its devices, and the copies side by side on each.

An address comes in the body of a request: what is in a URL stands in proxies' logs and browsers' histories.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aiohttp import web

from relay.console.publisher.app_lookup import OwnApps, path_of
from relay.console.renderer import Pages, faults_of, next_page, refuse
from relay.console.sessions import PublisherVisitor, form_as, publisher_page, read_form
from relay.core import email_aliases
from relay.core.errors import Conflict, Invalid, NotFound, RelayError
from relay.core.identifiers import parse
from relay.core.schema import uuid_in_path
from relay.http.pagination import page_request
from relay.service.aliases import AliasBody, AliasService
from relay.service.customers import CustomerService
from relay.store.accounts.apps import App
from relay.store.database import Database
from relay.store.installations.aliases import MOST, AliasActor
from relay.store.installations.customers import Customer

_LIST = "apps/{app_id}/customers/"
_ONE = f"{_LIST}{{customer_id:c_[^/]+}}/"
"""A customer in the path. Its form keeps it apart from `search`."""
_CUSTOMERS = 50
"""How many a page shows."""


class CustomerPages:
    """`/console/apps/{app_id}/customers/`."""

    def __init__(
        self, pages: Pages, database: Database, customers: CustomerService, aliases: AliasService
    ) -> None:
        self._pages = pages
        self._own_apps = OwnApps(database)
        self._customers = customers
        self._aliases = aliases

    def routes(self) -> Iterable[web.RouteDef]:
        """All routes, each with its handler."""
        yield publisher_page("GET", _LIST, self.list_customers)
        yield publisher_page("POST", f"{_LIST}search/", self.search)
        yield publisher_page("GET", _ONE, self.show)
        yield publisher_page("POST", f"{_ONE}aliases/", self.attach)
        yield publisher_page("POST", f"{_ONE}aliases/{{alias_id}}/remove/", self.remove)

    # --- customers ---

    async def list_customers(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """The customers who have a copy of the app, in the order of their identifiers, which says nothing."""
        app = await self._own_apps.of(request, visitor)
        after = page_request(request, lambda text: self._customers.verify_customer(app.app_id, text)).after
        found = await self._customers.list_customers(app.app_id, after, _CUSTOMERS + 1)
        customers, more = next_page(request, found, _CUSTOMERS, lambda customer: customer.customer)
        return self._list(request, app, customers, more=more, is_start=after is None)

    async def search(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """By c_ or d_: to that customer's page. By address: to it, or the list of all that have it."""
        app = await self._own_apps.of(request, visitor)
        form = await read_form(request)
        sought = form.get("q", "").strip()
        try:
            found = await self._find(app, sought)
        except Invalid as error:
            return self._list(request, app, (), sought=sought, refused=error)
        if len(found) != 1:
            return self._list(request, app, found, sought=sought)
        anchor = f"#{sought}" if sought in found[0].devices else ""
        return self._pages.redirect(request, path_of(app, f"customers/{found[0].customer}/{anchor}"))

    async def _find(self, app: App, sought: str) -> Sequence[Customer]:
        """The customers that are meant. Raises Invalid for what is neither identifier nor address."""
        if email_aliases.is_meant(sought):
            try:
                return await self._customers.find_by_alias(app.app_id, sought, None, MOST)
            except ValueError:
                refuse("q", "This is no e-mail address.")
        parsed = parse(sought)
        if parsed is None:
            refuse("q", "Search for a whole c_… or d_… identifier, or for an e-mail address.")
        if parsed.kind == "d":
            customer = await self._customers.find_by_device(app.app_id, sought)
            return [customer] if customer else []
        try:
            customer_id = self._customers.verify_customer(app.app_id, sought)
            return [await self._customers.find_customer(app.app_id, customer_id)]
        except NotFound:
            return []

    def _list(
        self,
        request: web.Request,
        app: App,
        customers: Sequence[Customer],
        *,
        sought: str = "",
        more: str = "",
        is_start: bool = True,
        refused: Invalid | None = None,
    ) -> web.StreamResponse:
        return self._pages.render(
            request,
            "customers.html",
            refused.status if refused else 200,
            section="customers",
            shown_app=app,
            customers=customers,
            sought=sought,
            more=more,
            is_start=is_start,
            faults=faults_of(refused) if refused else {},
        )

    async def show(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """A customer, its devices with their copies, and its addresses."""
        return await self._show(request, await self._own_apps.of(request, visitor))

    async def _show(
        self, request: web.Request, app: App, refused: RelayError | None = None, alias: str = ""
    ) -> web.StreamResponse:
        identifier = self._customer_in_path(request, app)
        customer = await self._customers.find_customer(app.app_id, identifier)
        aliases = await self._aliases.list_aliases(app.app_id, identifier)
        return self._pages.render(
            request,
            "customer.html",
            refused.status if refused else 200,
            section="customers",
            shown_app=app,
            customer=customer,
            aliases=aliases,
            most_aliases=MOST,
            alias=alias,
            faults=faults_of(refused) if refused else {},
        )

    # --- their addresses ---

    async def attach(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """Give the customer an address."""
        app = await self._own_apps.of(request, visitor)
        customer = self._customer_in_path(request, app)
        form = await read_form(request)
        try:
            body = form_as(form, AliasBody)
            attached = await self._aliases.attach_alias(app.app_id, customer, body, _changer(visitor))
        except (Invalid, Conflict) as refused:
            return await self._show(request, app, refused, form.get("alias", ""))
        said = "The address was added." if attached.created else "The customer has that address already."
        return self._pages.redirect(request, path_of(app, f"customers/{customer}/"), said)

    async def remove(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """Take an address from the customer."""
        app = await self._own_apps.of(request, visitor)
        customer = self._customer_in_path(request, app)
        alias_id = uuid_in_path(request.match_info["alias_id"])
        await self._aliases.remove_alias(app.app_id, customer, alias_id, _changer(visitor))
        return self._pages.redirect(
            request, path_of(app, f"customers/{customer}/"), "The address was removed."
        )

    def _customer_in_path(self, request: web.Request, app: App) -> str:
        return self._customers.verify_customer(app.app_id, request.match_info["customer_id"])


def _changer(visitor: PublisherVisitor) -> AliasActor:
    return AliasActor(visitor.actor, visitor.publisher_id)
