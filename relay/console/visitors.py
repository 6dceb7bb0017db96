"""The signed-in user of a request."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from relay.core.ids import PublisherId
from relay.store.accounts.api_tokens import ManageToken, OperatorToken
from relay.store.operations.audit import Actor


@dataclass(frozen=True, slots=True, repr=False)
class Visitor:
    """A signed-in publisher or operator. `csrf_token` is the value that the forms of this session carry."""

    token: ManageToken | OperatorToken
    csrf_token: str

    @property
    def is_operator(self) -> bool:
        """True for an operator, False for a publisher."""
        return isinstance(self.token, OperatorToken)

    @property
    def actor(self) -> Actor:
        """The visitor as the audit log records it."""
        return self.token.actor


@dataclass(frozen=True, slots=True, repr=False)
class OperatorVisitor(Visitor):
    """A signed-in operator."""

    token: OperatorToken


@dataclass(frozen=True, slots=True, repr=False)
class PublisherVisitor(Visitor):
    """A signed-in publisher."""

    token: ManageToken

    @property
    def publisher_id(self) -> PublisherId:
        """The id of the publisher."""
        return self.token.publisher_id


_VISITOR = web.RequestKey("visitor", Visitor)


def set_visitor(request: web.Request, visitor: Visitor) -> None:
    """Remember the visitor of a request."""
    request[_VISITOR] = visitor


def visitor_of(request: web.Request) -> Visitor | None:
    """Return the visitor of a request, or None if it has no session."""
    return request.get(_VISITOR)
