"""The check of keys and certificates before they are stored."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from relay.core.apns_credentials import (
    Certificate,
    SecretRefused,
    certificate_expiry,
    check_certificate,
    check_p8,
)
from tests.api.pems import certificate, p8, rsa_key

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NOT_READABLE = "There is no PEM private key that can be read."
WRONG_KEY = "The key is not an elliptic-curve key on P-256, as Apple's .p8 files are."


def public_numbers(pem: str) -> object:
    key = load_pem_private_key(pem.encode(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key.public_key().public_numbers()


def test_a_p8_key_is_returned_as_clean_pem() -> None:
    given = p8()
    clean = check_p8(f"a comment before it\n{given}\nand one after it")
    assert clean == given


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (p8(ec.SECP384R1()), WRONG_KEY),
        (p8(ec.SECP256K1()), WRONG_KEY),
        (rsa_key(), WRONG_KEY),
        (p8(passphrase=b"secret"), "The private key is encrypted; give it without a passphrase."),
        ("", NOT_READABLE),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", NOT_READABLE),
        (certificate(NOW).partition("-----BEGIN EC")[0], NOT_READABLE),
    ],
)
def test_other_secrets_are_refused_as_a_key(text: str, reason: str) -> None:
    with pytest.raises(SecretRefused) as refused:
        check_p8(text)
    assert str(refused.value) == reason


def test_a_certificate_names_its_team_and_bundle() -> None:
    given = certificate(NOW, team="TEAM000001", bundle="com.example.chess")
    checked = check_certificate(given, NOW)
    assert (checked.team_id, checked.bundle_id) == ("TEAM000001", "com.example.chess")
    [leaf] = x509.load_pem_x509_certificates(checked.pem.encode())
    assert leaf == x509.load_pem_x509_certificate(given.encode())
    assert public_numbers(checked.pem) == public_numbers(given)
    assert "BEGIN PRIVATE KEY" in checked.pem, "PKCS#8, whatever was given"


def test_the_order_of_certificate_and_key_does_not_matter() -> None:
    given = certificate(NOW)
    pem, _, key = given.partition("-----BEGIN EC")
    assert check_certificate(f"-----BEGIN EC{key}{pem}", NOW) == check_certificate(given, NOW)


def test_a_chain_is_kept_and_its_first_certificate_counts() -> None:
    ours, issuer = certificate(NOW, team="TEAM000001"), certificate(NOW, team="TEAM000002")
    checked = check_certificate(ours + issuer.partition("-----BEGIN EC")[0], NOW)
    assert checked.team_id == "TEAM000001"
    assert len(x509.load_pem_x509_certificates(checked.pem.encode())) == 2


def test_a_subject_without_team_and_bundle_has_empty_ones() -> None:
    assert check_certificate(certificate(NOW), NOW)[1:] == Certificate("", "", "")[1:]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "There is no PEM certificate that can be read."),
        (p8(), "There is no PEM certificate that can be read."),
        (certificate(NOW).partition("-----BEGIN EC")[0], NOT_READABLE),
        (certificate(NOW, key=p8()), "The private key does not belong to the certificate."),
        (certificate(NOW, key=rsa_key()), "The private key does not belong to the certificate."),
        (certificate(NOW, days=-1), "The certificate has expired."),
        (certificate(NOW, days=0), "The certificate has expired."),
    ],
)
def test_other_secrets_are_refused_as_a_certificate(text: str, reason: str) -> None:
    with pytest.raises(SecretRefused) as refused:
        check_certificate(text, NOW)
    assert str(refused.value) == reason


def test_a_certificate_is_accepted_until_its_last_second() -> None:
    assert check_certificate(certificate(NOW, days=1), NOW + timedelta(days=1, seconds=-1))


def test_the_expiry_of_a_stored_certificate() -> None:
    assert certificate_expiry(certificate(NOW, days=3)) == NOW + timedelta(days=3)
    with pytest.raises(SecretRefused, match="no PEM certificate that can be read"):
        certificate_expiry("nothing of the kind")
