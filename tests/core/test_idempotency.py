"""The header Idempotency-Key: its forms, its digests and sealed answers."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given
from hypothesis import strategies as st

from relay.core.errors import MalformedRequest
from relay.core.idempotency import IDEMPOTENCY_HEADER, KEY_KEPT_FOR, IdempotencyDigests, IdempotencyKey

TOKEN, OTHER_TOKEN = UUID(int=1), UUID(int=2)
DIGESTS = IdempotencyDigests("a key of this test, long enough for it")
printable = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=255)


def key(value: str, token: UUID = TOKEN, body: bytes = b"{}") -> IdempotencyKey:
    return DIGESTS.read_key([value], token, body)


def test_quotes_may_be_left_out() -> None:
    for text in ("8e03978e-40d5-43dd-bc93-6894a57f9324", "k", "order:1/2+3=", "x" * 255):
        assert key(text) == key(f'"{text}"') == key(f'  "{text}"\t')


def test_a_key_belongs_to_its_token() -> None:
    assert key("k").digest != key("k", OTHER_TOKEN).digest
    assert key("k").digest != key("K").digest


def test_a_body_is_known_again() -> None:
    assert key("k", body=b"{}") == key("k", body=b"{}")
    assert key("k", body=b"{ }").digest == key("k").digest
    assert key("k", body=b"{ }").fingerprint != key("k").fingerprint


def test_only_a_repeated_request_to_this_relay_opens_a_sealed_answer() -> None:
    body, answer, push_id = (
        b'{"destinations": {"ada@example.com": []}}',
        b"about ada@example.com",
        UUID(int=3),
    )
    ours, theirs = key("k", body=body), IdempotencyDigests("another").read_key(["k"], TOKEN, body)
    assert {ours.digest, ours.fingerprint}.isdisjoint({theirs.digest, theirs.fingerprint})
    sealed = ours.seal(answer, push_id)
    assert b"ada" not in sealed
    assert key("k", body=body).open(sealed, push_id) == answer
    for other in (theirs, key("K", body=body), key("k", body=body + b" "), key("k", OTHER_TOKEN, body)):
        with pytest.raises(InvalidTag):
            other.open(sealed, push_id)


@given(printable, printable)
def test_every_printable_text_can_be_quoted_and_keys_differ(text: str, other: str) -> None:
    def quoted(plain: str) -> IdempotencyKey:
        return key('"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"')

    assert (quoted(text) == quoted(other)) is (text == other)


@pytest.mark.parametrize(
    "value",
    [
        "",
        '""',
        '"',
        '"a',
        'a"',
        "a b",
        "a,b",
        "a;b",
        "a\\b",
        '"a\\b"',
        '"a";x=1',
        "é",
        '"é"',
        "x" * 256,
        '"\x00"',
    ],
)
def test_other_forms_of_the_header_are_refused(value: str) -> None:
    with pytest.raises(MalformedRequest):
        DIGESTS.read_key([value], TOKEN, b"{}")


def test_two_keys_are_refused() -> None:
    with pytest.raises(MalformedRequest):
        DIGESTS.read_key(["a", "a"], TOKEN, b"{}")


def test_the_name_of_the_header_and_how_long_a_key_is_kept() -> None:
    assert ("Idempotency-Key", timedelta(hours=24)) == (IDEMPOTENCY_HEADER, KEY_KEPT_FOR)


def test_digests_are_those_of_keys_that_are_stored() -> None:
    """A changed digest would lose every key that is kept."""
    stored = key('"a \\"key\\""', body=b"{}")
    assert stored.digest.hex() == "804948fc5a02cb14590de88c92bbfc7b5489fe50e35e6c0cd6203ed884f7af9b"
    assert stored.fingerprint.hex() == "71e9af14ad4c21cc15d564725ba3372591ad2c8a7d0654200f078ddf3262cff3"
    assert (len(stored.digest), len(stored.fingerprint), len(stored.secret)) == (32, 32, 32)
