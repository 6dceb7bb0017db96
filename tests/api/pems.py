"""Keys and certificates, generated for each test."""

from __future__ import annotations

from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID


def p8(curve: ec.EllipticCurve | None = None, passphrase: bytes | None = None) -> str:
    key = ec.generate_private_key(curve or ec.SECP256R1())
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode()


def rsa_key() -> str:
    key = rsa.generate_private_key(65537, 2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def certificate(now: datetime, *, team: str = "", bundle: str = "", days: int = 30, key: str = "") -> str:
    """Return a self-signed certificate and its key (or `key` instead) as one PEM."""
    own_key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.NameAttribute(NameOID.COMMON_NAME, "Apple Push Services")]
    names += [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, team)] if team else []
    names += [x509.NameAttribute(NameOID.USER_ID, bundle)] if bundle else []
    signed = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(names))
        .issuer_name(x509.Name(names))
        .public_key(own_key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=60))
        .not_valid_after(now + timedelta(days=days))
        .sign(own_key, SHA256())
    )
    own_pem = own_key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
    return signed.public_bytes(Encoding.PEM).decode() + (key or own_pem)
