"""Tools shared by the parts that decide about requests: provider tokens, time, identifiers and counters."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass

from .checks import UUID_FORM, Peer, Request
from .inbox import Inbox, Notification
from .provider_tokens import ReceivedProviderToken, Verifier
from .registry import Environment, StandInRegistry
from .replies import REDACTED
from .statistics import Statistics


@dataclass(frozen=True, slots=True)
class DecisionTools:
    """What a decision about a request needs beside the request.

    Attributes:
        clock: epoch seconds.
        random_bytes: makes UUIDs.
        token_update_seconds: minimum time between two provider tokens of a key on a connection.
    """

    registry: StandInRegistry
    statistics: Statistics
    verifier: Verifier
    clock: Callable[[], float]
    random_bytes: Callable[[int], bytes]
    token_update_seconds: float

    def verify_token(self, request: Request, peer: Peer) -> ReceivedProviderToken | None:
        """Return the request's provider token if its signature holds; None beside a client certificate."""
        bearer = request.bearer
        return self.verifier.verify(bearer) if bearer is not None and peer.certificate is None else None

    def new_uuid(self) -> str:
        """Return a random UUID (version 4) as text."""
        return str(uuid.UUID(bytes=self.random_bytes(16), version=4))

    def stated_or_new_uuid(self, request: Request, header: str) -> str:
        """Return the value of `header` if it is a UUID, else a new UUID."""
        stated = request.headers.get(header, "")
        return stated if UUID_FORM.fullmatch(stated) else self.new_uuid()

    def deliver(
        self,
        inbox: Inbox,
        recipient: str,
        request: Request,
        peer: Peer,
        token: ReceivedProviderToken | None,
        environment: Environment,
        apns_id: str,
    ) -> None:
        """Store an accepted push for `recipient`, a device token or a channel, without its provider token."""
        if token is not None:
            team_id, key_id = token.team_id, token.key.key_id
        else:
            team_id, key_id = (peer.certificate.team_id if peer.certificate else ""), None
        headers = request.headers
        if "authorization" in headers:
            headers["authorization"] = REDACTED
        index, feed_index = inbox.next_index(recipient)
        time_ms = int(self.clock() * 1000)
        inbox.add(
            Notification(
                index,
                feed_index,
                recipient,
                environment,
                time_ms,
                apns_id,
                headers,
                request.body,
                team_id,
                key_id,
            )
        )
