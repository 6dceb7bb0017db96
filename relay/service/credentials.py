"""Credentials for APNs, as the operator manages them in the API and the console.

A credential is a .p8 key with its ids, or a certificate, whose subject holds them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from relay.core.accounts import CredentialKind, Environment
from relay.core.apns_credentials import SecretRefused, check_certificate, check_p8
from relay.core.clock import Clock
from relay.core.errors import Fault, Invalid, NotFound
from relay.core.schema import BundleId, KeyId, Pem, TeamId
from relay.store.accounts.credentials import BY_OPERATOR, CredentialDescription, Credentials, NewCredential
from relay.store.operations.audit import Actor


class CredentialBody(msgspec.Struct, forbid_unknown_fields=True):
    """The fields of a new credential."""

    environment: Environment
    team_id: TeamId | None = None
    bundle_id: BundleId | None = None
    key_id: KeyId | None = None
    p8: Pem | None = None
    certificate: Pem | None = None


class CredentialService:
    """Storage, listing, suspension and removal of credentials.

    `on_due` is called when batches that waited for a credential become due.
    """

    def __init__(self, credentials: Credentials, clock: Clock, on_due: Callable[[], None]) -> None:
        self._credentials = credentials
        self._clock = clock
        self._on_due = on_due

    async def put_credential(self, body: CredentialBody, actor: Actor) -> CredentialDescription:
        """Store a credential, active. It replaces the one of its team, environment and bundle id.

        Raises:
            Invalid: `body` is not a usable key or certificate.
        """
        now = self._clock.now()
        stored = await self._credentials.put(check_credential(body, now), now, actor)
        self._on_due()
        return stored

    async def list_credentials(self, after: int | None, limit: int) -> list[CredentialDescription]:
        """Return up to `limit` credentials that follow `after`, oldest first, without secrets."""
        return await self._credentials.page(after or 0, limit)

    async def resume_credential(self, credential_id: int, actor: Actor) -> None:
        """Make a credential active. The batches that waited for it are due.

        Raises:
            NotFound: there is no such credential.
        """
        if not await self._credentials.resume(credential_id, self._clock.now(), actor):
            raise _no_credential()
        self._on_due()

    async def suspend_credential(self, credential_id: int, actor: Actor) -> None:
        """Suspend a credential. Its batches wait until it is resumed or replaced.

        Raises:
            NotFound: there is no such credential.
        """
        suspended = await self._credentials.suspend(
            credential_id, BY_OPERATOR, self._clock.now(), actor=actor
        )
        if not suspended and not await self._credentials.exists(credential_id):
            raise _no_credential()

    async def remove_credential(self, credential_id: int, actor: Actor) -> None:
        """Delete a credential.

        Raises:
            NotFound: there is no such credential.
        """
        if not await self._credentials.remove(credential_id, self._clock.now(), actor):
            raise _no_credential()
        self._on_due()


def _no_credential() -> NotFound:
    return NotFound("There is no such credential.")


def check_credential(body: CredentialBody, now: datetime) -> NewCredential:
    """Return the credential to store.

    Raises:
        Invalid: a field is missing, or the key or certificate cannot be used.
    """
    if (body.p8 is None) == (body.certificate is None):
        raise Invalid(faults=[Fault("invalid", "", "Give either p8 with key_id, or certificate.")])
    return _token_credential(body) if body.p8 is not None else _certificate_credential(body, now)


def _token_credential(body: CredentialBody) -> NewCredential:
    missing = [name for name in ("team_id", "key_id") if getattr(body, name) is None]
    if missing:
        raise Invalid(
            faults=[Fault("missing_field", f"/{name}", f"A p8 key needs its {name}.") for name in missing]
        )
    try:
        secret = check_p8(body.p8 or "")
    except SecretRefused as error:
        raise Invalid(faults=[Fault("invalid_value", "/p8", str(error))]) from None
    return NewCredential(
        team_id=body.team_id or "",
        environment=Environment(body.environment),
        bundle_id=body.bundle_id or "",
        kind=CredentialKind.TOKEN,
        key_id=body.key_id or "",
        secret=secret,
    )


def _read_subject_field(name: str, field_type: Any, given: str | None, subject: str) -> str:
    """Return the field `name`: as `given` in the request or, without that, as the certificate's `subject` has it.

    Raises:
        Invalid: the two contradict each other, there is neither, or the value does not have `field_type`.
    """
    if given is not None and subject and given != subject:
        raise Invalid(
            faults=[Fault("invalid_value", f"/{name}", "The certificate's subject says otherwise.")]
        )
    try:
        return str(msgspec.convert(given or subject, field_type))
    except msgspec.ValidationError:
        detail = "The certificate's subject does not say it."
        raise Invalid(faults=[Fault("missing_field", f"/{name}", detail)]) from None


def _certificate_credential(body: CredentialBody, now: datetime) -> NewCredential:
    if body.key_id is not None:
        raise Invalid(faults=[Fault("invalid", "/key_id", "A certificate has no key id.")])
    try:
        certificate = check_certificate(body.certificate or "", now)
    except SecretRefused as error:
        raise Invalid(faults=[Fault("invalid_value", "/certificate", str(error))]) from None
    return NewCredential(
        team_id=_read_subject_field("team_id", TeamId, body.team_id, certificate.team_id),
        environment=Environment(body.environment),
        bundle_id=_read_subject_field("bundle_id", BundleId, body.bundle_id, certificate.bundle_id),
        kind=CredentialKind.CERTIFICATE,
        key_id="",
        secret=certificate.pem,
    )
