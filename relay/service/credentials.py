"""A credential as a caller gives it: a .p8 key with its ids, or a certificate whose subject says the same."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from relay.core.accounts import Environment
from relay.core.apns_credentials import SecretRefused, check_certificate, check_p8
from relay.core.errors import Fault, Invalid
from relay.core.schema import BundleId, EnvironmentName, KeyId, Pem, TeamId
from relay.store.accounts.credentials import NewCredential


class CredentialBody(msgspec.Struct, forbid_unknown_fields=True):
    """The fields as they are sent."""

    environment: EnvironmentName
    team_id: TeamId | None = None
    bundle_id: BundleId | None = None
    key_id: KeyId | None = None
    p8: Pem | None = None
    certificate: Pem | None = None


def checked_credential(body: CredentialBody, now: datetime) -> NewCredential:
    """What is to be stored. Raises Invalid naming the field."""
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
        kind="token",
        key_id=body.key_id or "",
        secret=secret,
    )


def _from_subject(name: str, form: Any, given: str | None, subject: str) -> str:
    """What the request or, without it, the certificate's subject says. Both may, and then alike."""
    if given is not None and subject and given != subject:
        raise Invalid(
            faults=[Fault("invalid_value", f"/{name}", "The certificate's subject says otherwise.")]
        )
    try:
        return str(msgspec.convert(given or subject, form))
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
        team_id=_from_subject("team_id", TeamId, body.team_id, certificate.team_id),
        environment=Environment(body.environment),
        bundle_id=_from_subject("bundle_id", BundleId, body.bundle_id, certificate.bundle_id),
        kind="certificate",
        key_id="",
        secret=certificate.pem,
    )
