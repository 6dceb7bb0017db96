"""What the two ways to a customer's aliases share: a publisher's, and that of the customer's own copies."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from aiohttp import web

from relay.core.clock import Clock, Random
from relay.core.errors import Conflict, Fault, NotFound
from relay.core.ids import new_id
from relay.core.schema import Address
from relay.http.requests import answer
from relay.store.installations.aliases import MOST, Alias, Attached


class AliasBody(msgspec.Struct, forbid_unknown_fields=True):
    """An address, to be attached or to be looked for."""

    alias: Address


def new_alias(clock: Clock, random: Random) -> Alias:
    """An alias that is made now."""
    now = clock.now()
    return Alias(new_id(now, random), now)


def answer_attached(attached: Attached) -> web.Response:
    """201 and the alias; 200 if the customer had it before."""
    return answer(_show(attached.alias), 201 if attached.created else 200)


def answer_aliases(aliases: Iterable[Alias]) -> web.Response:
    """200 and all aliases of a customer."""
    return answer({"items": [_show(alias) for alias in aliases]})


def too_many_aliases() -> Conflict:
    """There are as many as there may be."""
    detail = f"The customer has {MOST} aliases, or {MOST} customers have this one."
    return Conflict(faults=[Fault("too_many", "/alias", detail)])


def no_alias() -> NotFound:
    """There is none with that id, or it is another customer's."""
    return NotFound("The customer has no such alias.")


def _show(alias: Alias) -> dict[str, Any]:
    return {"id": alias.alias_id, "created_at": alias.created_at}
