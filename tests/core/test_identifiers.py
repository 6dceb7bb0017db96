"""The promises of identifiers: constancy, no collisions, no other app, no other customer, no change."""

from __future__ import annotations

import string

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from relay.core.identifiers import Identifiers, parse_identifier
from tests.core.mutations import changed

OLD, NEW = "an old key of thirty-two characters..", "a new key of thirty-two characters.."
IDENTIFIERS = Identifiers((OLD, NEW))
APP_IDS = st.text(string.ascii_letters + string.digits, min_size=1, max_size=64)
RANDOM = st.binary(min_size=16, max_size=16)


@given(APP_IDS, RANDOM, RANDOM)
def test_constancy_over_key_rotation(app_id: str, one: bytes, other: bytes) -> None:
    before = Identifiers((OLD,))
    customer = before.mint_customer(app_id, one)
    device = before.mint_device(app_id, customer, other)
    for rotated in (before, IDENTIFIERS, Identifiers((OLD, NEW, NEW + "again"))):
        assert rotated.is_customer(app_id, customer)
        assert rotated.is_device(app_id, customer, device)
    assert not Identifiers((NEW,)).is_customer(app_id, customer), "a dropped key is refused"
    assert not Identifiers((NEW,)).is_device(app_id, customer, device)


@given(APP_IDS, RANDOM, RANDOM)
def test_no_collisions(app_id: str, one: bytes, other: bytes) -> None:
    customer = IDENTIFIERS.mint_customer(app_id, one)
    assert (customer == IDENTIFIERS.mint_customer(app_id, other)) == (one == other)
    devices = [IDENTIFIERS.mint_device(app_id, customer, random) for random in (one, other)]
    assert (devices[0] == devices[1]) == (one == other)
    assert len({customer, *devices}) == 2 + (one != other)


@given(APP_IDS, APP_IDS, RANDOM, RANDOM)
def test_no_cross_app_acceptance(app_id: str, other_app: str, one: bytes, other: bytes) -> None:
    assume(app_id != other_app)
    customer = IDENTIFIERS.mint_customer(app_id, one)
    device = IDENTIFIERS.mint_device(app_id, customer, other)
    assert not IDENTIFIERS.is_customer(other_app, customer)
    assert not IDENTIFIERS.is_device(other_app, customer, device)
    assert not IDENTIFIERS.is_device(other_app, IDENTIFIERS.mint_customer(other_app, one), device)


@given(APP_IDS, RANDOM, RANDOM, RANDOM)
def test_a_device_only_under_its_customer(app_id: str, one: bytes, other: bytes, random: bytes) -> None:
    assume(one != other)
    customer, stranger = (IDENTIFIERS.mint_customer(app_id, value) for value in (one, other))
    device = IDENTIFIERS.mint_device(app_id, customer, random)
    assert IDENTIFIERS.is_device(app_id, customer, device)
    assert not IDENTIFIERS.is_device(app_id, stranger, device)


@given(APP_IDS, RANDOM, RANDOM)
def test_kinds_are_not_exchanged(app_id: str, one: bytes, other: bytes) -> None:
    customer = IDENTIFIERS.mint_customer(app_id, one)
    device = IDENTIFIERS.mint_device(app_id, customer, other)
    assert not IDENTIFIERS.is_customer(app_id, device)
    assert not IDENTIFIERS.is_customer(app_id, "c" + device[1:])
    assert not IDENTIFIERS.is_device(app_id, customer, customer)
    assert not IDENTIFIERS.is_device(app_id, customer, "d" + customer[1:])


@settings(max_examples=300)
@given(st.data(), APP_IDS, RANDOM, RANDOM)
def test_no_single_change_is_accepted(data: st.DataObject, app_id: str, one: bytes, other: bytes) -> None:
    customer = IDENTIFIERS.mint_customer(app_id, one)
    device = IDENTIFIERS.mint_device(app_id, customer, other)
    assert not IDENTIFIERS.is_customer(app_id, data.draw(changed(customer)))
    assert not IDENTIFIERS.is_device(app_id, customer, data.draw(changed(device)))


def test_no_other_spelling_of_any_character_is_accepted() -> None:
    customer = IDENTIFIERS.mint_customer("chess", bytes(range(16)))
    device = IDENTIFIERS.mint_device("chess", customer, bytes(16))
    for place in range(len(customer)):
        for character in string.ascii_letters + string.digits + "-_=":
            if customer[place] != character:
                text = customer[:place] + character + customer[place + 1 :]
                assert not IDENTIFIERS.is_customer("chess", text)
            if device[place] != character:
                text = device[:place] + character + device[place + 1 :]
                assert not IDENTIFIERS.is_device("chess", customer, text)


@given(st.one_of(st.text(), st.text().map(lambda text: "c_" + text)))
def test_anything_else_is_refused(text: str) -> None:
    assert not IDENTIFIERS.is_customer("chess", text)
    assert parse_identifier(text) is None or len(text) == 46


def test_an_identifier_holds_no_part_of_the_app_or_the_customer() -> None:
    random = bytes(range(16))
    here, there = (IDENTIFIERS.mint_customer(app_id, random) for app_id in ("chess", "poker"))
    assert here[-20:] != there[-20:]
    with pytest.raises(ValueError, match="16 random bytes"):
        IDENTIFIERS.mint_customer("chess", b"short")
    with pytest.raises(ValueError, match="not a customer"):
        IDENTIFIERS.is_device("chess", "c_nonsense", IDENTIFIERS.mint_device("chess", here, random))


def test_identifiers_are_those_that_publishers_have() -> None:
    """Another signature would refuse every identifier that is in use."""
    identifiers = Identifiers(("a key of at least thirty-two characters",))
    customer = identifiers.mint_customer("chess", bytes(range(16)))
    device = identifiers.mint_device("chess", customer, bytes(range(16, 32)))
    assert customer == "c_AAECAwQFBgcICQoLDA0ODz2_7iZBF61EUpi5ksq5pKUv"
    assert device == "d_EBESExQVFhcYGRobHB0eH_o-vvULV6aQu90e6PnZ5fFh"
