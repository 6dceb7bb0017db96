"""Callers of the services, as the API and the console authenticate them."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from relay.store.operations.audit import Actor


class PublisherCaller(NamedTuple):
    """A publisher, the API token with which it acts, and its name in the audit log."""

    publisher_id: UUID
    token_id: UUID
    actor: Actor
