"""Answers about aliases, for publishers and for copies."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aiohttp import web

from relay.http.requests import answer
from relay.store.installations.aliases import Alias, AttachedAlias


def answer_attached(attached: AttachedAlias) -> web.Response:
    """Answer 201 and the alias; 200 if the customer had it before."""
    return answer(_show_alias(attached.alias), 201 if attached.created else 200)


def answer_aliases(aliases: Iterable[Alias]) -> web.Response:
    """Answer 200 and all aliases of a customer."""
    return answer({"items": [_show_alias(alias) for alias in aliases]})


def _show_alias(alias: Alias) -> dict[str, Any]:
    return {"id": alias.alias_id, "created_at": alias.created_at}
