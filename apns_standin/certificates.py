"""Certificate authority of the stand-in: its server certificate and the push certificates that Apple would issue.

One authority has both roles: clients trust it, and it issues push certificates. As in Apple's certificates, the
subject of a push certificate holds the app's bundle identifier as UID and the team as OU. A certificate for a single
environment has Apple's extension for that environment.
"""

from __future__ import annotations

import ipaddress
import ssl
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from .errors import InvalidError
from .registry import Environment, check_bundle_id, check_environment, check_team_id

SERVER_NAMES: Final = ("localhost",)
SERVER_ADDRESSES: Final = ("127.0.0.1", "::1")

# Apple's extensions of a certificate for one environment: "APNs development" and "APNs production".
_ENVIRONMENT_OID: Final[dict[Environment, ObjectIdentifier]] = {
    "sandbox": ObjectIdentifier("1.2.840.113635.100.6.3.1"),
    "production": ObjectIdentifier("1.2.840.113635.100.6.3.2"),
}
_DER_NULL: Final = b"\x05\x00"

# Fixed dates, so that certificates depend on no clock and TLS works with a simulated clock.
_NOT_BEFORE: Final = datetime(2020, 1, 1, tzinfo=UTC)
_NOT_AFTER: Final = datetime(2049, 12, 31, tzinfo=UTC)


class ClientCertificate(msgspec.Struct, frozen=True):
    """Fields of a push certificate. `environment` None means both environments."""

    bundle_id: str
    team_id: str
    environment: Environment | None


class Authority:
    """A certificate authority: a new one, or an earlier one from its two PEM texts."""

    def __init__(self, certificate_pem: str | None = None, key_pem: str | None = None) -> None:
        if certificate_pem is None or key_pem is None:
            self._key = ec.generate_private_key(ec.SECP256R1())
            self._certificate = _self_signed(self._key)
        else:
            self._key = _private_key(key_pem)
            try:
                self._certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
            except ValueError as error:
                raise InvalidError("the authority's certificate is not PEM") from error

    @property
    def pem(self) -> str:
        """The certificate (PEM) that clients must trust."""
        return _certificate_pem(self._certificate)

    @property
    def key_pem(self) -> str:
        """The authority's private key (PEM). Only the state file may hold it."""
        return _key_pem(self._key)

    def server_context(self) -> ssl.SSLContext:
        """Return a new server context: TLS 1.2 or newer, ALPN h2, optional client certificates of this authority."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.DNSName(name) for name in SERVER_NAMES]
        names += [x509.IPAddress(ipaddress.ip_address(address)) for address in SERVER_ADDRESSES]
        certificate = self._issue(
            key,
            [x509.NameAttribute(NameOID.COMMON_NAME, "APNs stand-in")],
            ExtendedKeyUsageOID.SERVER_AUTH,
            [(x509.SubjectAlternativeName(names), False)],
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["h2"])
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(cadata=self.pem)
        # The ssl module loads a key from a file only.
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "server.pem")
            file.touch(mode=0o600)
            file.write_text(_certificate_pem(certificate) + _key_pem(key))
            context.load_cert_chain(file)
        return context

    def issue_client_certificate(
        self, team_id: str, bundle_id: str, environment: Environment | None = None
    ) -> str:
        """Return a push certificate and its key as one PEM text. Raises InvalidError."""
        check_team_id(team_id)
        check_bundle_id(bundle_id)
        if environment is not None:
            check_environment(environment)
        if len(bundle_id) > 64 - len("Apple Push Services: "):
            common_name = "Apple Push Services"  # X.509 allows 64 characters
        else:
            common_name = f"Apple Push Services: {bundle_id}"
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._issue(
            key,
            [
                x509.NameAttribute(NameOID.USER_ID, bundle_id),
                x509.NameAttribute(NameOID.COMMON_NAME, common_name),
                x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, team_id),
            ],
            ExtendedKeyUsageOID.CLIENT_AUTH,
            [
                (x509.UnrecognizedExtension(oid, _DER_NULL), False)
                for name, oid in _ENVIRONMENT_OID.items()
                if environment in (None, name)
            ],
        )
        return _certificate_pem(certificate) + _key_pem(key)

    def _issue(
        self,
        key: ec.EllipticCurvePrivateKey,
        subject: list[x509.NameAttribute[str]],
        usage: ObjectIdentifier,
        extensions: list[tuple[x509.ExtensionType, bool]],
    ) -> x509.Certificate:
        issuer = self._certificate
        identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
        builder = (
            _builder(x509.Name(subject), issuer.subject, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(authority, critical=False)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self._key, hashes.SHA256())


def read_client_certificate(der: bytes) -> ClientCertificate | None:
    """Return the fields of a verified client certificate; None if it is no push certificate."""
    certificate = x509.load_der_x509_certificate(der)
    bundle_ids = certificate.subject.get_attributes_for_oid(NameOID.USER_ID)
    teams = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
    if not bundle_ids or not teams:
        return None
    present = {extension.oid for extension in certificate.extensions}
    environments = [name for name, oid in _ENVIRONMENT_OID.items() if oid in present]
    return ClientCertificate(
        str(bundle_ids[0].value), str(teams[0].value), environments[0] if len(environments) == 1 else None
    )


def _self_signed(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "APNs stand-in CA")])
    return (
        _builder(name, name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(_NOT_AFTER)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _private_key(pem: str) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError) as error:
        raise InvalidError("the authority's key is not PEM") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise InvalidError("the authority's key is not an elliptic curve key")
    return key


def _certificate_pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
