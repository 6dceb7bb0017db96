"""The credentials, read again when what is known of them is older than a second."""

from __future__ import annotations

from datetime import datetime, timedelta

from relay.core.channels import ChannelTopic
from relay.core.clock import Clock
from relay.core.delivery.reasons import metric_label
from relay.core.delivery.sending import Credential
from relay.core.errors import RelayError
from relay.store.accounts.credentials import Credentials, CredentialSnapshot
from relay.telemetry.logs import get_logger
from relay.telemetry.metrics import SUSPENSIONS

_log = get_logger(__name__)
_AGE = timedelta(seconds=1)


class CredentialCache:
    """The credentials for all that send; read once for all of them."""

    def __init__(self, credentials: Credentials, clock: Clock) -> None:
        self._credentials = credentials
        self._clock = clock
        self._book = CredentialSnapshot((), ())
        self._read_at: datetime | None = None

    async def read(self) -> CredentialSnapshot:
        """All of them, read again if need be: the same object as before if not. Raises Unavailable."""
        now = self._clock.now()
        if self._read_at is None or now - self._read_at > _AGE:
            self._book, self._read_at = await self._credentials.load(), now
        return self._book

    def find(self, topic: ChannelTopic) -> Credential | None:
        """The credential for that topic, if there is one that is not suspended."""
        found = self._book.find(*topic)
        return None if found is None or self._book.is_suspended(found.credential_id) else found

    def is_suspended(self, topic: ChannelTopic) -> bool:
        """Whether there is one, and it is suspended."""
        found = self._book.find(*topic)
        return found is not None and self._book.is_suspended(found.credential_id)

    async def suspend(self, credential: Credential, reason: str, sent_at: datetime) -> None:
        """Apple refuses this credential; what it refused was sent at `sent_at`."""
        _log.error(
            "a credential is suspended: Apple refuses it. Its pushes are kept; replace or resume it",
            credential_id=credential.credential_id,
            team_id=credential.team_id,
            reason=reason,
        )
        try:
            suspended = await self._credentials.suspend(
                credential.credential_id,
                reason,
                self._clock.now(),
                version=credential.version,
                sent_at=sent_at,
            )
            if suspended:
                SUSPENSIONS.labels(metric_label(reason)).inc()
        except RelayError:
            _log.warning("the suspension could not be stored; the next answer brings it again")
        self._read_at = None
