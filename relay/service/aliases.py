"""Aliases of a customer, as its publisher and the customer's own copies manage them."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import msgspec

from relay.core.clock import Clock, Random
from relay.core.email_aliases import AddressDigests
from relay.core.errors import Conflict, Fault, NotFound
from relay.core.ids import AppId, new_uuid7
from relay.core.schema import Address
from relay.service.customers import no_customer
from relay.store.database import Database
from relay.store.installations.aliases import (
    MAX_ALIASES,
    Alias,
    AliasActor,
    AliasRepository,
    AttachedAlias,
    TooManyAliases,
)


class AliasBody(msgspec.Struct, forbid_unknown_fields=True):
    """An e-mail address to attach, or to search for."""

    alias: Address


class AliasService:
    """Attachment, listing and removal of aliases. A customer is named by its `c_` identifier.

    The actor `by` is None for a copy that acts for its own customer. Such a change is not in the audit log.
    """

    def __init__(self, database: Database, digests: AddressDigests, clock: Clock, random: Random) -> None:
        self._aliases = AliasRepository(database)
        self._digests = digests
        self._clock = clock
        self._random = random

    async def attach_alias(
        self, app_id: AppId, customer: str, body: AliasBody, by: AliasActor | None
    ) -> AttachedAlias:
        """Attach an address to a customer. Returns the existing alias if the customer has it already.

        Raises:
            NotFound: the app has no such customer.
            Conflict: the customer has too many aliases, or too many customers have this one.
        """
        now = self._clock.now()
        alias = Alias(new_uuid7(now, self._random), now)
        digest = self._digests.digest_address(app_id, body.alias)
        try:
            attached = await self._aliases.attach_alias(app_id, customer, digest, alias, by)
        except TooManyAliases:
            detail = f"The customer has {MAX_ALIASES} aliases, or {MAX_ALIASES} customers have this one."
            raise Conflict(faults=[Fault("too_many", "/alias", detail)]) from None
        if attached is None:
            raise no_customer()
        return attached

    async def list_aliases(self, app_id: AppId, customer: str) -> Sequence[Alias]:
        """Return all aliases of a customer, oldest first, without the addresses.

        Raises:
            NotFound: the app has no such customer.
        """
        aliases = await self._aliases.list_aliases(app_id, customer)
        if aliases is None:
            raise no_customer()
        return aliases

    async def remove_alias(self, app_id: AppId, customer: str, alias_id: UUID, by: AliasActor | None) -> None:
        """Remove an alias of a customer.

        Raises:
            NotFound: the customer has no such alias.
        """
        if not await self._aliases.remove_alias(app_id, customer, alias_id, self._clock.now(), by):
            raise NotFound("The customer has no such alias.")

    async def may_copies_attach(self, app_id: AppId) -> bool:
        """Return whether copies of the app may change the aliases of their customer."""
        return await self._aliases.may_installations_attach(app_id)
