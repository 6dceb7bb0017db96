"""Install tokens: their claims, their signature and the rotation of keys."""

from __future__ import annotations

import string
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from relay.core.install_tokens import InstallClaims, InstallTokens
from tests.core.mutations import changed

OLD, NEW = "an old key of thirty-two characters..", "a new key of thirty-two characters.."
TOKENS = InstallTokens((OLD, NEW))
APP_IDS = st.text(string.ascii_letters + string.digits, min_size=1, max_size=64)
CLAIMS = st.builds(InstallClaims, APP_IDS, st.uuids(), st.integers(1, 2**63 - 1))
EXAMPLE = InstallClaims("chess", UUID("1b7d4f0a-2c3e-4d5f-8a9b-0c1d2e3f4a5b"), 7)


@given(CLAIMS)
def test_a_token_holds_its_claims_and_is_constant(claims: InstallClaims) -> None:
    token = TOKENS.sign_claims(claims)
    assert TOKENS.verify_token(token) == claims
    assert InstallTokens((OLD, NEW)).sign_claims(claims) == token


@given(CLAIMS, CLAIMS)
def test_no_two_installations_share_a_token(one: InstallClaims, other: InstallClaims) -> None:
    assert (TOKENS.sign_claims(one) == TOKENS.sign_claims(other)) == (one == other)


@given(CLAIMS)
def test_tokens_survive_key_rotation_until_the_key_is_dropped(claims: InstallClaims) -> None:
    token = InstallTokens((OLD,)).sign_claims(claims)
    assert TOKENS.verify_token(token) == claims
    assert InstallTokens((NEW,)).verify_token(token) is None
    assert InstallTokens((OLD,)).verify_token(TOKENS.sign_claims(claims)) is None, "the newest key signs"


@settings(max_examples=300)
@given(st.data(), CLAIMS)
def test_no_single_change_is_accepted(data: st.DataObject, claims: InstallClaims) -> None:
    assert TOKENS.verify_token(data.draw(changed(TOKENS.sign_claims(claims)))) is None


def test_no_other_spelling_of_any_character_is_accepted() -> None:
    """Every place, every character: base64url has spare bits at its end."""
    token = TOKENS.sign_claims(EXAMPLE)
    for place, right in enumerate(token):
        for character in string.ascii_letters + string.digits + "-_.=":
            if character != right:
                assert TOKENS.verify_token(token[:place] + character + token[place + 1 :]) is None


@given(st.one_of(st.text(), st.text().map(lambda text: "install_" + text)))
def test_anything_else_is_refused(text: str) -> None:
    assert TOKENS.verify_token(text) is None


def test_a_signature_of_another_purpose_is_refused() -> None:
    from itsdangerous import Signer

    text = TOKENS.sign_claims(EXAMPLE).removeprefix("install_").partition(".")[0]
    assert TOKENS.verify_token("install_" + Signer(NEW, salt="another").sign(text).decode()) is None
    assert TOKENS.verify_token("install_" + "A" * 5000 + "." + "A" * 43) is None


def test_a_token_is_that_of_installations_that_have_one() -> None:
    """Another form would lock every installed copy out."""
    token = InstallTokens(("a key of at least thirty-two characters",)).sign_claims(
        InstallClaims("chess", UUID(int=7), 258)
    )
    assert (
        token == "install_AAAAAAAAAQIAAAAAAAAAAAAAAAAAAAAHY2hlc3M.dKOLpKQ9REUtydESbtggBte3eWKxEbVfCg7UlZ5rZII"
    )
