"""Checks of the secrets that authenticate to APNs: a .p8 key, or a certificate with its key.

A .p8 is an elliptic-curve key on P-256 (Apple, "Establishing a token-based connection to APNs": ES256). A
push certificate names in its subject the bundle identifier (UID) and the team (OU).
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID


class SecretRefused(ValueError):
    """A secret that cannot be used. The message says why and holds no part of the secret."""


class Certificate(NamedTuple):
    """A push certificate: PEM of certificate and key, and team and bundle of its subject ("" where it has none)."""

    pem: str
    team_id: str
    bundle_id: str


def check_p8(text: str) -> str:
    """Return the key of a .p8 file as clean PEM. Raises SecretRefused."""
    key = _private_key(text)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise SecretRefused("The key is not an elliptic-curve key on P-256, as Apple's .p8 files are.")
    return _pem(key)


def check_certificate(text: str, now: datetime) -> Certificate:
    """Check a certificate with its unencrypted private key, given in one PEM. Raises SecretRefused."""
    try:
        chain = x509.load_pem_x509_certificates(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise SecretRefused("There is no PEM certificate that can be read.") from None
    key = _private_key(text)
    leaf = chain[0]
    if _public(leaf.public_key()) != _public(key.public_key()):
        raise SecretRefused("The private key does not belong to the certificate.")
    if leaf.not_valid_after_utc <= now:
        raise SecretRefused("The certificate has expired.")
    pem = "".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in chain) + _pem(key)
    return Certificate(
        pem, _of_subject(leaf, NameOID.ORGANIZATIONAL_UNIT_NAME), _of_subject(leaf, NameOID.USER_ID)
    )


def certificate_expiry(pem: str) -> datetime:
    """Return the end of a stored certificate's validity, in UTC. Raises SecretRefused."""
    try:
        return x509.load_pem_x509_certificate(pem.encode()).not_valid_after_utc
    except (ValueError, UnsupportedAlgorithm):
        raise SecretRefused("There is no PEM certificate that can be read.") from None


def _private_key(text: str) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(text.encode(), password=None)
    except TypeError:
        raise SecretRefused("The private key is encrypted; give it without a passphrase.") from None
    except (ValueError, UnsupportedAlgorithm):
        raise SecretRefused("There is no PEM private key that can be read.") from None


def _pem(key: PrivateKeyTypes) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _public(key: object) -> bytes:
    der: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]
    return der


def _of_subject(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> str:
    values = certificate.subject.get_attributes_for_oid(oid)
    return str(values[0].value) if values else ""
