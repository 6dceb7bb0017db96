"""Customers of an app with their devices and installations, and whether a push would reach these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from relay.core.accounts import Environment
from relay.store import sql
from relay.store.database import Database

_SQL = sql.load(__package__, "customers.sql")


@dataclass(frozen=True, slots=True)
class CustomerInstallation:
    """An installation on a device of a customer.

    `kinds` are the kinds of its active device tokens; `known` is the number of device tokens that are stored of it, the
    retired ones included.
    """

    alongside: str
    app_version: str
    environment: Environment | None
    known: int
    kinds: Sequence[str]
    last_seen: datetime | None


@dataclass(slots=True)
class Customer:
    """A customer with its installations by device, both under the identifiers that the publisher knows."""

    customer: str
    devices: dict[str, list[CustomerInstallation]] = field(default_factory=dict)


class CustomerRepository:
    """The customers of all apps."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_customers(self, app_id: str, after: str, limit: int) -> list[Customer]:
        """Return up to `limit` customers with an installation of the app, whose identifiers follow `after`."""
        return await self._read(app_id, "list", after, limit)

    async def find_customer(self, app_id: str, customer: str) -> Customer | None:
        """Return a customer, without devices if all its installations are retired; None if the app has no such one."""
        return next(iter(await self._read(app_id, "find", customer)), None)

    async def list_customers_by_alias(
        self, app_id: str, digest: bytes, after: str, limit: int
    ) -> list[Customer]:
        """Return up to `limit` customers that have the alias with this digest, whose identifiers follow `after`."""
        return await self._read(app_id, "list_by_alias", after, limit, digest)

    async def find_customer_by_device(self, app_id: str, device: str) -> Customer | None:
        """Return the customer that the device belongs or belonged to, or None if the app does not know the device."""
        return next(iter(await self._read(app_id, "find_by_device", device)), None)

    async def _read(self, app_id: str, statement: str, *arguments: object) -> list[Customer]:
        """Return the customers that a statement finds, in its order, with their installations."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_SQL[statement], app_id, *arguments)
            customers = {row["subject"]: Customer(row["value"]) for row in rows}
            for row in await connection.fetch(_SQL["list_installations"], app_id, list(customers)):
                customers[row["customer_id"]].devices.setdefault(row["device"], []).append(
                    CustomerInstallation(
                        row["alongside"],
                        row["app_version"],
                        None if row["environment"] is None else Environment(row["environment"]),
                        row["known"],
                        row["kinds"] or (),
                        row["last_seen"],
                    )
                )
        return list(customers.values())
