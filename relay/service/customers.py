"""Customers of an app, as its publisher looks them up in the API and the console."""

from __future__ import annotations

from relay.core.email_aliases import AddressDigests
from relay.core.errors import NotFound
from relay.core.identifiers import Identifiers
from relay.core.ids import AppId
from relay.store.database import Database
from relay.store.installations.customers import Customer, CustomerRepository


class CustomerService:
    """Look-up of customers by `c_` identifier, `d_` identifier and alias."""

    def __init__(self, database: Database, identifiers: Identifiers, digests: AddressDigests) -> None:
        self._customers = CustomerRepository(database)
        self._identifiers = identifiers
        self._digests = digests

    def verify_customer(self, app_id: AppId, identifier: str) -> str:
        """Return `identifier` if its signature says that it is a customer of the app.

        Raises:
            NotFound: it is not.
        """
        if not self._identifiers.is_customer(app_id, identifier):
            raise no_customer()
        return identifier

    async def list_customers(self, app_id: AppId, after: str | None, limit: int) -> list[Customer]:
        """Return up to `limit` customers that have a copy of the app and follow the identifier `after`."""
        return await self._customers.list_customers(app_id, after or "", limit)

    async def find_customer(self, app_id: AppId, identifier: str) -> Customer:
        """Return the customer with a verified identifier.

        Raises:
            NotFound: the app has no such customer.
        """
        customer = await self._customers.find_customer(app_id, identifier)
        if customer is None:
            raise no_customer()
        return customer

    async def find_by_alias(
        self, app_id: AppId, address: str, after: str | None, limit: int
    ) -> list[Customer]:
        """Return up to `limit` customers that have the e-mail address and follow the identifier `after`.

        Raises:
            ValueError: `address` is not an e-mail address.
        """
        digest = self._digests.digest_address(app_id, address)
        return await self._customers.list_customers_by_alias(app_id, digest, after or "", limit)

    async def find_by_device(self, app_id: AppId, device: str) -> Customer | None:
        """Return the customer that has, or had, the device. None if the app knows no such device."""
        return await self._customers.find_customer_by_device(app_id, device)


def no_customer() -> NotFound:
    """Return the error for a customer that the app does not have."""
    return NotFound("The app has no such customer.")
