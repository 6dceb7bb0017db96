"""The probe against the APNs stand-in: facts about a connection, and the answer to each credential."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from apns_standin import ApnsStandIn
from relay.apns.connection import Timing
from relay.apns.errors import CannotSendError
from relay.apns.pool import Endpoint
from relay.apns.probe import _certificate_name, probe, signed_provider_token
from relay.core.accounts import CredentialKind, Environment
from relay.core.delivery.sending import Credential, Fate
from tests.apns.clients import new_key
from tests.factories import make_credential

TEAM, BUNDLE = "TEAM000001", "com.example.app"
TIMING = Timing(connect=30, response=30)


@pytest.fixture
async def apns(tmp_path: Path) -> AsyncIterator[ApnsStandIn]:
    async with ApnsStandIn(ca_file=tmp_path / "ca.pem") as apns:
        yield apns


def endpoint_of(apns: ApnsStandIn) -> Endpoint:
    return Endpoint("localhost", apns.listeners["sandbox"].port, str(apns.ca_file))


def key_of(apns: ApnsStandIn) -> Credential:
    key = apns.issue_key(TEAM)
    return make_credential(secret=key.p8, team_id=TEAM, key_id=key.key_id, environment=Environment.SANDBOX)


def certificate_of(apns: ApnsStandIn) -> Credential:
    return make_credential(
        secret=apns.issue_certificate(TEAM, BUNDLE, "sandbox"),
        kind=CredentialKind.CERTIFICATE,
        environment=Environment.SANDBOX,
        bundle_id=BUNDLE,
    )


async def test_the_facts_of_a_connection(apns: ApnsStandIn) -> None:
    async with probe(endpoint_of(apns), None, timing=TIMING, clock=time.time) as opened:
        facts = opened.facts
    assert facts.address in ("127.0.0.1", "::1")
    assert (facts.tls, facts.alpn) == ("TLSv1.3", "h2")
    assert (facts.subject, facts.issuer) == ("APNs stand-in", "APNs stand-in CA")
    assert facts.certificate_ends == datetime(2049, 12, 31, tzinfo=UTC)
    assert facts.streams == 1000
    assert 0 < facts.milliseconds < 30_000


async def test_a_good_credential_is_accepted(apns: ApnsStandIn) -> None:
    for accepted in (key_of(apns), certificate_of(apns)):
        async with probe(endpoint_of(apns), accepted, timing=TIMING, clock=time.time) as opened:
            answer = await opened.push_to_no_device(BUNDLE, uuid4())
        assert (answer.fate, answer.status, answer.reason) == (Fate.ANSWERED, 400, "BadDeviceToken")
    assert apns.statistics()["accepted"] == 0


async def test_an_unknown_key_is_refused(apns: ApnsStandIn) -> None:
    unknown = replace(key_of(apns), secret=new_key())
    async with probe(endpoint_of(apns), unknown, timing=TIMING, clock=time.time) as opened:
        answer = await opened.push_to_no_device(BUNDLE, uuid4())
    assert (answer.status, answer.reason) == (403, "InvalidProviderToken")


async def test_no_connection_is_a_reason(apns: ApnsStandIn, tmp_path: Path) -> None:
    good = endpoint_of(apns)
    rows = [
        (Endpoint("127.0.0.1", 1, good.ca_file), None, "ConnectFailed"),
        (Endpoint(good.host, good.port, str(tmp_path / "missing")), None, "ConnectFailed"),
        (Endpoint(good.host, good.port), None, "TlsFailed"),
        (good, make_credential(secret="no key"), "BadCredential"),
        (good, make_credential(secret="no certificate", kind=CredentialKind.CERTIFICATE), "BadCredential"),
    ]
    for endpoint, secret, reason in rows:
        with pytest.raises(CannotSendError) as refused:
            async with probe(endpoint, secret, timing=TIMING, clock=time.time):
                pass
        assert refused.value.reason == reason, (endpoint, reason)


async def test_the_end_of_a_probe_does_not_wait_longer_than_drain(apns: ApnsStandIn) -> None:
    """`timing.drain` bounds the wait for the end of the connection."""
    timing = replace(TIMING, drain=0.0)
    async with probe(endpoint_of(apns), None, timing=timing, clock=time.time) as opened:
        assert opened.facts.alpn == "h2"


def test_a_key_is_tried_when_its_provider_token_is_made() -> None:
    provider = signed_provider_token(make_credential(secret=new_key()), lambda: 1_700_000_000.0)
    assert provider.get_header().startswith("bearer ")
    with pytest.raises(CannotSendError):
        signed_provider_token(make_credential(secret="no key"), time.time)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            ((("organizationName", "Apple Inc."),), (("commonName", "api.push.apple.com"),)),
            "api.push.apple.com",
        ),
        (((("countryName", "US"),), (("organizationName", "Apple Inc."),)), "Apple Inc."),
        ((), ""),
    ],
)
def test_a_distinguished_name_by_its_common_name_or_organization(name: object, text: str) -> None:
    assert _certificate_name(name) == text
