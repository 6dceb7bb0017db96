"""The customers of an app, and one customer with devices, copies and e-mail addresses.

A search for an address is a POST: a URL would leave the address in the logs of proxies and in browsers' histories.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aiohttp import web

from relay.console.forms import convert_form, faults_by_field, read_form, refuse_field
from relay.console.paging import split_page
from relay.console.paths import app_path
from relay.console.publisher.app_lookup import AppLookup
from relay.console.resources import PageResources
from relay.console.routes import publisher_route
from relay.console.visitors import PublisherVisitor
from relay.core import email_aliases
from relay.core.errors import Conflict, Invalid, NotFound, RelayError
from relay.core.identifiers import parse_identifier
from relay.core.schema import uuid_in_path
from relay.http.pagination import page_request
from relay.service.aliases import AliasBody, AliasService
from relay.service.customers import CustomerService
from relay.store.accounts.apps import App
from relay.store.installations.aliases import MAX_ALIASES, AliasActor
from relay.store.installations.customers import Customer

_LIST = "apps/{app_id}/customers/"
_CUSTOMER = f"{_LIST}{{customer_id:c_[^/]+}}/"
"""The path of one customer. The prefix c_ keeps it apart from `search/`."""
_CUSTOMERS_PER_PAGE = 50


class CustomerPages:
    """`/console/apps/{app_id}/customers/`."""

    def __init__(self, resources: PageResources, customers: CustomerService, aliases: AliasService) -> None:
        self._renderer = resources.renderer
        self._app_lookup = AppLookup(resources.database)
        self._customers = customers
        self._aliases = aliases

    def routes(self) -> Iterable[web.RouteDef]:
        """Return the routes with their handlers."""
        yield publisher_route("GET", _LIST, self.list_customers)
        yield publisher_route("POST", f"{_LIST}search/", self.search_customers)
        yield publisher_route("GET", _CUSTOMER, self.show_customer)
        yield publisher_route("POST", f"{_CUSTOMER}aliases/", self.attach_alias)
        yield publisher_route("POST", f"{_CUSTOMER}aliases/{{alias_id}}/remove/", self.remove_alias)

    # --- customers ---

    async def list_customers(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """List the customers who have a copy of the app, by identifier."""
        app = await self._app_lookup.get_app(request, visitor)
        after = page_request(request, lambda text: self._customers.verify_customer(app.app_id, text)).after
        items = await self._customers.list_customers(app.app_id, after, _CUSTOMERS_PER_PAGE + 1)
        customers, next_query = split_page(
            request, items, _CUSTOMERS_PER_PAGE, lambda customer: customer.customer
        )
        return self._render_list(request, app, customers, next_query=next_query, is_start=after is None)

    async def search_customers(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """Redirect to the customer that the search term names. List the customers if several have the address."""
        app = await self._app_lookup.get_app(request, visitor)
        form = await read_form(request)
        term = form.get("q", "").strip()
        try:
            customers = await self._search(app, term)
        except Invalid as error:
            return self._render_list(request, app, (), term=term, refusal=error)
        if len(customers) != 1:
            return self._render_list(request, app, customers, term=term)
        [customer] = customers
        anchor = f"#{term}" if term in customer.devices else ""
        return self._renderer.redirect(
            request, app_path(app.app_id, f"customers/{customer.customer}/{anchor}")
        )

    async def _search(self, app: App, term: str) -> Sequence[Customer]:
        """Return the customers that `term` names: an address, or a c_ or d_ identifier.

        Raises: Invalid if it is none of these.
        """
        if email_aliases.looks_like_address(term):
            try:
                return await self._customers.find_by_alias(app.app_id, term, None, MAX_ALIASES)
            except ValueError:
                refuse_field("q", "This is not a valid e-mail address.")
        identifier = parse_identifier(term)
        if identifier is None:
            refuse_field("q", "Search for a complete c_… or d_… identifier, or for an e-mail address.")
        if identifier.kind == "d":
            customer = await self._customers.find_by_device(app.app_id, term)
            return [customer] if customer else []
        try:
            customer_id = self._customers.verify_customer(app.app_id, term)
            return [await self._customers.find_customer(app.app_id, customer_id)]
        except NotFound:
            return []

    def _render_list(
        self,
        request: web.Request,
        app: App,
        customers: Sequence[Customer],
        *,
        term: str = "",
        next_query: str = "",
        is_start: bool = True,
        refusal: Invalid | None = None,
    ) -> web.StreamResponse:
        return self._renderer.render_page(
            request,
            "customers.html",
            refusal.status if refusal else 200,
            section="customers",
            shown_app=app,
            customers=customers,
            term=term,
            next_query=next_query,
            is_start=is_start,
            faults=faults_by_field(refusal) if refusal else {},
        )

    async def show_customer(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """Show a customer with devices, copies and addresses."""
        return await self._render_customer(request, await self._app_lookup.get_app(request, visitor))

    async def _render_customer(
        self, request: web.Request, app: App, refusal: RelayError | None = None, typed_alias: str = ""
    ) -> web.StreamResponse:
        customer_id = self._customer_in_path(request, app)
        customer = await self._customers.find_customer(app.app_id, customer_id)
        aliases = await self._aliases.list_aliases(app.app_id, customer_id)
        return self._renderer.render_page(
            request,
            "customer.html",
            refusal.status if refusal else 200,
            section="customers",
            shown_app=app,
            customer=customer,
            aliases=aliases,
            max_aliases=MAX_ALIASES,
            typed_alias=typed_alias,
            faults=faults_by_field(refusal) if refusal else {},
        )

    # --- addresses ---

    async def attach_alias(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """Give the customer an e-mail address."""
        app = await self._app_lookup.get_app(request, visitor)
        customer = self._customer_in_path(request, app)
        form = await read_form(request)
        try:
            body = convert_form(form, AliasBody)
            attached = await self._aliases.attach_alias(app.app_id, customer, body, _alias_actor(visitor))
        except (Invalid, Conflict) as refusal:
            return await self._render_customer(request, app, refusal, form.get("alias", ""))
        message = "The address was added." if attached.created else "The customer already has this address."
        return self._renderer.redirect(request, app_path(app.app_id, f"customers/{customer}/"), message)

    async def remove_alias(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """Remove an e-mail address of the customer."""
        app = await self._app_lookup.get_app(request, visitor)
        customer = self._customer_in_path(request, app)
        alias_id = uuid_in_path(request.match_info["alias_id"])
        await self._aliases.remove_alias(app.app_id, customer, alias_id, _alias_actor(visitor))
        return self._renderer.redirect(
            request, app_path(app.app_id, f"customers/{customer}/"), "The address was removed."
        )

    def _customer_in_path(self, request: web.Request, app: App) -> str:
        return self._customers.verify_customer(app.app_id, request.match_info["customer_id"])


def _alias_actor(visitor: PublisherVisitor) -> AliasActor:
    return AliasActor(visitor.actor, visitor.publisher_id)
