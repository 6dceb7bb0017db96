"""Provider tokens: when they are renewed, and when they must not be."""

from __future__ import annotations

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from relay.apns.errors import CannotSendError, credential_errors
from relay.apns.provider_token import ProviderToken
from tests.apns.clients import new_key

START = 2_700.0 * 629_630
"""A full multiple of 45 minutes."""
MINUTE = 60.0


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


def make(clock: Clock, key: str | None = None) -> ProviderToken:
    return ProviderToken(key or new_key(), "KEY0000000", "TEAM000000", clock)


def test_token() -> None:
    key = new_key()
    header = make(Clock(), key).get_header()
    kind, _, token = header.partition(" ")
    private = load_pem_private_key(key.encode(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert kind == "bearer"
    assert jwt.get_unverified_header(token) == {"alg": "ES256", "kid": "KEY0000000", "typ": "JWT"}
    assert jwt.decode(token, public, ["ES256"]) == {"iss": "TEAM000000", "iat": int(START)}


@pytest.mark.parametrize("minutes", [0, 10, 44.9])
def test_all_nodes_have_equal_tokens_of_a_key(minutes: float) -> None:
    """Independent of when a node started: otherwise Apple would see a change with each connection."""
    clock, key = Clock(), new_key()
    first = make(clock, key)
    headers = {first.get_header()}
    clock.now += minutes * MINUTE
    headers |= {first.get_header(), make(clock, key).get_header()}
    assert len(headers) == 1
    clock.now = START + 45 * MINUTE
    assert first.get_header() == make(clock, key).get_header() not in headers
    assert make(clock).get_header() != first.get_header()


@pytest.mark.parametrize(("minutes", "same"), [(0, True), (44.9, True), (45, False), (600, False)])
def test_renewed_at_45_minutes(minutes: float, same: bool) -> None:
    clock = Clock()
    provider = make(clock)
    first = provider.get_header()
    clock.now += minutes * MINUTE
    assert (provider.get_header() == first) is same


@pytest.mark.parametrize("minutes", [0, 5, 19.9])
def test_expired_too_soon_is_an_error(minutes: float) -> None:
    clock = Clock()
    provider = make(clock)
    first = provider.get_header()
    clock.now += minutes * MINUTE
    provider.invalidate(first)
    with pytest.raises(CannotSendError, match="ProviderTokenExpired"):
        provider.get_header()
    clock.now = START + 20 * MINUTE
    assert provider.get_header() != first


def test_expired_after_20_minutes_is_renewed_once() -> None:
    clock = Clock()
    provider = make(clock)
    first = provider.get_header()
    clock.now += 25 * MINUTE
    provider.invalidate(first)
    second = provider.get_header()
    assert second != first
    provider.invalidate(first)  # a late answer to the former token
    assert provider.get_header() == second


def test_nodes_that_renew_early_issue_equal_tokens() -> None:
    made, key = set(), new_key()
    for seconds in (0, 7, 61):
        clock = Clock()
        provider = make(clock, key)
        provider.invalidate(provider.get_header())
        clock.now += 25 * MINUTE + seconds
        made.add(provider.get_header())
    assert len(made) == 1


def test_a_young_token_called_expired_is_tried_again_after_a_pause_that_grows() -> None:
    """It cannot have expired, so the fault passes. A wait until it is old enough would stop a key for 20 minutes."""
    clock = Clock()
    provider = make(clock)
    first = provider.get_header()
    pauses = []
    for _ in range(8):
        provider.invalidate(first)
        provider.invalidate(first)  # every other push in flight has this answer too
        pause = 0
        while not _given(provider):
            clock.now += 1
            pause += 1
        assert provider.get_header() == first
        pauses.append(pause)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    clock.now += 5 * MINUTE
    provider.invalidate(first)
    clock.now += 1
    assert provider.get_header() == first, "that was long ago"


@pytest.mark.parametrize(("seconds", "pause"), [(119, 2), (120, 1)])
def test_the_pause_doubles_only_soon_after_the_last(seconds: int, pause: int) -> None:
    clock = Clock()
    provider = make(clock)
    first = provider.get_header()
    provider.invalidate(first)
    clock.now += 1  # the pause ends
    assert provider.get_header() == first
    clock.now += seconds
    provider.invalidate(first)
    clock.now += pause - 0.5
    assert not _given(provider)
    clock.now += 0.5
    assert _given(provider)


@pytest.mark.parametrize(("early", "replaced_by"), [(25, 45), (30, 75)])
def test_a_token_that_was_renewed_early_is_replaced_at_45_minutes(early: int, replaced_by: int) -> None:
    """By that of the last full multiple, if that is at least 20 minutes younger; else by one of this moment."""
    clock = Clock()
    provider = make(clock)
    provider.get_header()
    clock.now += early * MINUTE
    provider.invalidate(provider.get_header())
    issued = [_issued_at(provider)]
    clock.now += 45 * MINUTE - 1
    issued.append(_issued_at(provider))
    clock.now += 1
    issued.append(_issued_at(provider))
    assert [round((at - START) / MINUTE) for at in issued] == [early, early, replaced_by]


def _issued_at(provider: ProviderToken) -> float:
    token = provider.get_header().removeprefix("bearer ")
    return float(jwt.decode(token, options={"verify_signature": False})["iat"])


def _given(provider: ProviderToken) -> bool:
    try:
        provider.get_header()
    except CannotSendError:
        return False
    return True


def test_held() -> None:
    """TooManyProviderTokenUpdates: the present token stays for 20 more minutes."""
    clock = Clock()
    provider = make(clock)
    first = provider.get_header()
    clock.now += 40 * MINUTE
    provider.hold()
    clock.now += 19 * MINUTE
    assert provider.get_header() == first
    clock.now += 2 * MINUTE
    assert provider.get_header() != first


def test_held_young() -> None:
    clock = Clock()
    provider = make(clock)
    first = provider.get_header()
    provider.hold()
    clock.now += 44 * MINUTE
    assert provider.get_header() == first
    clock.now += 2 * MINUTE
    assert provider.get_header() != first


def test_clock_set_back() -> None:
    clock = Clock()
    provider = make(clock)
    first = provider.get_header()
    clock.now -= 3_600
    assert provider.get_header() != first


def _pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.mark.parametrize(
    "key",
    [
        "garbage",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
        _pem(rsa.generate_private_key(65_537, 2_048)),
        _pem(ec.generate_private_key(ec.SECP384R1())),
    ],
    ids=["no PEM", "no key", "RSA", "P-384"],
)
def test_not_a_p256_key(key: str) -> None:
    with pytest.raises(CannotSendError) as caught:
        make(Clock(), key)
    assert caught.value.reason == "BadCredential"
    assert caught.value.__cause__ is None


def test_repr_has_no_secret() -> None:
    provider = make(Clock())
    provider.get_header()
    assert repr(provider) == "<ProviderToken of key KEY0000000>"


def test_a_machine_without_room_for_a_file_is_no_fault_of_the_credential() -> None:
    with pytest.raises(CannotSendError) as caught, credential_errors():
        raise OSError(28, "No space left on device")
    assert caught.value.reason == "NoFile"


def test_a_provider_is_restricted_while_apple_wants_no_new_token() -> None:
    clock = Clock()
    provider = make(clock)
    header = provider.get_header()
    assert not provider.is_restricted
    provider.hold()
    clock.now += 19 * MINUTE
    assert provider.is_restricted
    clock.now += 2 * MINUTE
    assert not provider.is_restricted
    provider.invalidate(header)
    assert provider.is_restricted
