"""The customers of an app, found by identifier or address; one with its devices, and the copies side by side on each.

An address comes in the body of a request: what is in a URL stands in proxies' logs and browsers' histories.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aiohttp import web

from relay.console.publisher.app_lookup import OwnApps, path_of
from relay.console.renderer import Pages, faults_of, next_page, refuse
from relay.console.sessions import Visitor, form_as, publisher_page, read_form
from relay.core import email_aliases
from relay.core.clock import Clock, Random
from relay.core.email_aliases import AddressDigests
from relay.core.errors import Invalid, NotFound, RelayError
from relay.core.identifiers import Identifiers, parse
from relay.core.schema import uuid_in_path
from relay.http.pagination import page_request
from relay.service.aliases import AliasBody, new_alias, no_alias, too_many_aliases
from relay.store.accounts.registry import App
from relay.store.database import Database
from relay.store.installations.aliases import MOST, AliasActor, Aliases, TooManyAliases
from relay.store.installations.customers import Customer, Customers

_LIST = "apps/{app_id}/customers/"
_ONE = f"{_LIST}{{customer_id:c_[^/]+}}/"
"""A customer in the path. Its form keeps it apart from `search`."""
_CUSTOMERS = 50
"""How many a page shows."""


class CustomerPages:
    """`/console/apps/{app_id}/customers/`."""

    def __init__(
        self,
        pages: Pages,
        database: Database,
        identifiers: Identifiers,
        digests: AddressDigests,
        clock: Clock,
        random: Random,
    ) -> None:
        self._pages = pages
        self._own_apps = OwnApps(database)
        self._customers = Customers(database)
        self._aliases = Aliases(database)
        self._identifiers = identifiers
        self._digests = digests
        self._clock = clock
        self._random = random

    def routes(self) -> Iterable[web.RouteDef]:
        """All routes, each with its handler."""
        yield publisher_page("GET", _LIST, self.list_customers)
        yield publisher_page("POST", f"{_LIST}search/", self.search)
        yield publisher_page("GET", _ONE, self.show)
        yield publisher_page("POST", f"{_ONE}aliases/", self.attach)
        yield publisher_page("POST", f"{_ONE}aliases/{{alias_id}}/remove/", self.remove)

    # --- customers ---

    async def list_customers(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """The customers who have a copy of the app, in the order of their identifiers, which says nothing."""
        app = await self._own_apps.of(request, visitor)
        after = page_request(request, lambda text: self._customer(app, text)).after
        found = await self._customers.page(app.app_id, after or "", _CUSTOMERS + 1)
        customers, more = next_page(request, found, _CUSTOMERS, lambda customer: customer.customer)
        return self._list(request, app, customers, more=more, is_start=after is None)

    async def search(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
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
                digest = self._digests.of(app.app_id, sought)
            except ValueError:
                refuse("q", "This is no e-mail address.")
            return await self._customers.with_alias(app.app_id, digest, "", MOST)
        parsed = parse(sought)
        if parsed is None:
            refuse("q", "Search for a whole c_… or d_… identifier, or for an e-mail address.")
        customer = None
        if parsed.kind == "d":
            customer = await self._customers.with_device(app.app_id, sought)
        elif self._identifiers.is_customer(app.app_id, sought):
            customer = await self._customers.find(app.app_id, sought)
        return [customer] if customer else []

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

    async def show(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """A customer, its devices with their copies, and its addresses."""
        return await self._show(request, await self._own_apps.of(request, visitor))

    async def _show(
        self, request: web.Request, app: App, refused: RelayError | None = None, alias: str = ""
    ) -> web.StreamResponse:
        identifier = self._customer_in_path(request, app)
        customer = await self._customers.find(app.app_id, identifier)
        aliases = await self._aliases.of_customer(app.app_id, identifier)
        if customer is None or aliases is None:
            raise _no_customer()
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

    async def attach(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """Give the customer an address."""
        app = await self._own_apps.of(request, visitor)
        customer = self._customer_in_path(request, app)
        form = await read_form(request)
        try:
            digest = self._digests.of(app.app_id, form_as(form, AliasBody).alias)
            attached = await self._aliases.attach(
                app.app_id, customer, digest, new_alias(self._clock, self._random), _changer(visitor)
            )
        except TooManyAliases:
            return await self._show(request, app, too_many_aliases(), form.get("alias", ""))
        except Invalid as refused:
            return await self._show(request, app, refused, form.get("alias", ""))
        if attached is None:
            raise _no_customer()
        said = "The address was added." if attached.created else "The customer has that address already."
        return self._pages.redirect(request, path_of(app, f"customers/{customer}/"), said)

    async def remove(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """Take an address from the customer."""
        app = await self._own_apps.of(request, visitor)
        customer = self._customer_in_path(request, app)
        alias_id = uuid_in_path(request.match_info["alias_id"])
        if not await self._aliases.remove(
            app.app_id, customer, alias_id, self._clock.now(), _changer(visitor)
        ):
            raise no_alias()
        return self._pages.redirect(
            request, path_of(app, f"customers/{customer}/"), "The address was removed."
        )

    def _customer_in_path(self, request: web.Request, app: App) -> str:
        return self._customer(app, request.match_info["customer_id"])

    def _customer(self, app: App, identifier: str) -> str:
        """A customer identifier of that app, by its signature. Raises NotFound."""
        if not self._identifiers.is_customer(app.app_id, identifier):
            raise _no_customer()
        return identifier


def _changer(visitor: Visitor) -> AliasActor:
    return AliasActor(visitor.actor, visitor.publisher_id)


def _no_customer() -> NotFound:
    return NotFound("The app has no such customer.")
