"""Checks of the connections to Apple and of the credentials, with Apple's own verdict if wanted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from uuid import uuid4

from relay.apns.connection import Timing
from relay.apns.errors import CannotSendError
from relay.apns.pool import Endpoint
from relay.apns.probe import ConnectionFacts, probe, signed_provider_token
from relay.cli.doctor.findings import Finding, bad, good, warning
from relay.core.accounts import CredentialKind, CredentialState, Environment
from relay.core.apns_credentials import SecretRefused, certificate_expiry
from relay.core.clock import Clock
from relay.core.delivery.reasons import ReasonAction, decide
from relay.core.delivery.sending import Answer, Credential, Fate
from relay.core.ids import CredentialId
from relay.settings import Settings, endpoint
from relay.store.accounts.credentials import CredentialDescription, Credentials

_MAX_PARALLEL_CONNECTIONS = 4
"""Apple treats many connections at a time as an attack."""
_CERTIFICATE_WARNING_DAYS = 30
_NO_TOPIC = "com.example.push-relay.doctor"
"""The topic for keys of a whole team. It belongs to no app: Apple checks the key first."""
_LET_IN = {
    ReasonAction.DELIVERED,
    ReasonAction.RETIRE_BAD_TOKEN,
    ReasonAction.RETIRE_UNREGISTERED,
    ReasonAction.RETIRE_WRONG_TOPIC,
}
_OF_TOPIC = {"TopicDisallowed", "BadTopic", "MissingTopic", "TopicMismatch"}


class AppleCheck:
    """Checks that open connections as a relay with these settings does, and close them again.

    With `ask`, Apple is asked about each credential, with a push to no device.
    """

    def __init__(self, settings: Settings, clock: Clock, *, ask: bool) -> None:
        self._settings = settings
        self._clock = clock
        self._ask = ask
        self._timing = Timing(connect=settings.apns.connect_timeout, response=settings.apns.response_timeout)

    async def examine_stored(self, credentials: Credentials) -> AsyncIterator[Finding]:
        """Yield findings for each stored credential or, where none is stored, for each environment."""
        stored = [described async for described in _all_descriptions(credentials)]
        if not stored:
            yield warning("credentials", "there are none: pushes wait until push-relay credentials add")
            for environment in Environment:
                yield await self._examine_network(environment)
            return
        sealed = await credentials.find_of_teams(
            [(one.team_id, Environment(one.environment)) for one in stored]
        )
        usable = {one.credential_id: credentials.unseal(one) for one in sealed}
        places = asyncio.Semaphore(_MAX_PARALLEL_CONNECTIONS)

        async def examine(described: CredentialDescription) -> list[Finding]:
            async with places:
                return [
                    finding
                    async for finding in self._examine_description(
                        described, usable.get(CredentialId(described.credential_id))
                    )
                ]

        for findings in await asyncio.gather(*map(examine, stored)):
            for finding in findings:
                yield finding

    async def examine_credential(self, credential: Credential, check: str) -> AsyncIterator[Finding]:
        """Check whether the credential signs, connects and, if Apple is to be asked, is accepted."""
        try:
            text, seen, state = self._examine_secret(credential)
        except CannotSendError as error:
            yield bad(check, f"its key cannot be used ({error.reason}): replace it")
            return
        except SecretRefused as error:
            yield bad(check, str(error))
            return
        yield state(check, text, **seen)
        try:
            async with self._probe(credential) as opened:
                yield _connected(check, opened.facts, self._clock.now())
                if self._ask:
                    yield _judged(
                        check,
                        await opened.push_to_no_device(credential.bundle_id or _NO_TOPIC, uuid4()),
                        credential,
                    )
        except CannotSendError as error:
            yield self._not_connected(check, credential.environment, error)

    async def _examine_description(
        self, described: CredentialDescription, credential: Credential | None
    ) -> AsyncIterator[Finding]:
        check = f"credential {described.credential_id}"
        if described.state == CredentialState.SUSPENDED:
            since = f"{described.state_since:%Y-%m-%d %H:%M} UTC"
            text = (
                f"suspended since {since}: {described.state_reason}. What needs it waits: "
                "push-relay credentials rotate, or resume"
            )
            yield bad(check, text, reason=described.state_reason, since=described.state_since)
        if credential is None:
            yield bad(check, "no key in keys.credentials decrypts it: was a key removed too early?")
            return
        async for finding in self.examine_credential(credential, check):
            yield finding

    def _examine_secret(self, credential: Credential) -> tuple[str, dict[str, Any], Any]:
        """Return the text, the facts and the kind of the finding about the key or certificate itself.

        Raises:
            CannotSendError: the key cannot sign.
            SecretRefused: the certificate cannot be read.
        """
        whose = f"{credential.environment}, team {credential.team_id}, {credential.bundle_id or 'all topics'}"
        seen: dict[str, Any] = {"environment": credential.environment, "team_id": credential.team_id}
        if credential.kind != CredentialKind.CERTIFICATE:
            signed_provider_token(credential, lambda: self._clock.now().timestamp())
            return f"{whose}: key {credential.key_id} signs a JWT", seen | {"key_id": credential.key_id}, good
        end = certificate_expiry(credential.secret)
        days = (end - self._clock.now()).days
        seen["ends"] = end
        if days < 0:
            return f"{whose}: its certificate expired on {end:%Y-%m-%d}", seen, bad
        text = f"{whose}: its certificate holds until {end:%Y-%m-%d}, {days} days"
        return text, seen, warning if days < _CERTIFICATE_WARNING_DAYS else good

    async def _examine_network(self, environment: Environment) -> Finding:
        check = f"apns {environment}"
        try:
            async with self._probe(None, environment) as opened:
                return _connected(check, opened.facts, self._clock.now())
        except CannotSendError as error:
            return self._not_connected(check, environment, error)

    def _probe(self, credential: Credential | None, environment: Environment | None = None) -> Any:
        environment = environment or (credential and credential.environment) or Environment.PRODUCTION
        place = endpoint(self._settings.apns, environment)
        return probe(
            Endpoint(place.host, place.port, place.ca_file),
            credential,
            timing=self._timing,
            clock=lambda: self._clock.now().timestamp(),
        )

    def _not_connected(self, check: str, environment: Environment, error: CannotSendError) -> Finding:
        place = endpoint(self._settings.apns, environment)
        return bad(check, f"no connection to {place.host}:{place.port}: {error.reason}", reason=error.reason)


async def _all_descriptions(credentials: Credentials) -> AsyncIterator[CredentialDescription]:
    after = 0
    while page := await credentials.page(after, 100):
        for described in page:
            yield described
        after = page[-1].credential_id


def _connected(check: str, seen: ConnectionFacts, now: datetime) -> Finding:
    streams = f"{seen.streams} streams" if seen.streams is not None else "no number of streams yet"
    text = (
        f"connected to {seen.address} in {seen.milliseconds} ms: {seen.tls}, ALPN {seen.alpn}, certificate of "
        f"{seen.subject} by {seen.issuer}, SETTINGS grant {streams}"
    )
    facts = {name: getattr(seen, name) for name in ConnectionFacts.__slots__}
    if (seen.certificate_ends - now).days < 3:
        return warning(check, f"{text}; its certificate ends {seen.certificate_ends:%Y-%m-%d}", **facts)
    return good(check, text, **facts)


def _judged(check: str, answer: Answer, credential: Credential) -> Finding:
    """Return the finding that Apple's answer to a push to no device implies for the credential."""
    said = f"{answer.status} {answer.reason}".strip()
    seen = {"status": answer.status, "reason": answer.reason}
    if answer.fate is not Fate.ANSWERED:
        return bad(check, f"Apple did not answer: {answer.reason}", **seen)
    action = decide(answer)
    if action in _LET_IN:
        return good(check, f"Apple accepts it (it says {said} of a device that does not exist)", **seen)
    if answer.reason in _OF_TOPIC:
        if credential.bundle_id:
            return bad(check, f"Apple says {said}: it may not send to {credential.bundle_id}", **seen)
        return good(check, f"Apple accepts it (it says {said} of a topic that does not exist)", **seen)
    if action is ReasonAction.SUSPEND or answer.status == 403:
        return bad(check, f"Apple refuses it: {said}", **seen)
    return warning(check, f"Apple says {said}, which tells nothing of it: try again later", **seen)
