"""E-mail addresses: their normal form and their digests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.email_aliases import AddressDigests, looks_like_address, normalise_address

KEY = "a key of at least thirty-two characters"
DIGESTS = AddressDigests(KEY)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("Ada@Example.COM", "ada@example.com"),
        ("  ada@example.com ", "ada@example.com"),
        ("jose\u0301@example.com", "jos\u00e9@example.com"),
        ("JOS\u00c9@example.com", "jose\u0301@example.com"),
        ("用户@例子.广告", "用户@例子.广告"),
    ],
)
def test_all_spellings_of_an_address_have_one_digest(text: str, same: str) -> None:
    assert normalise_address(text) == normalise_address(same)
    assert DIGESTS.digest_address("chess", text) == DIGESTS.digest_address("chess", same)
    assert len(DIGESTS.digest_address("chess", text)) == 32


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "ada",
        "ada@",
        "@example.com",
        "ada@example@com",
        "a da@example.com",
        "ada@example.com\n",
        "ada\x00@example.com",
        "\ud800@example.com",
        "a" * 250 + "@b.c" + " ",
    ],
)
def test_anything_else_is_refused_without_being_quoted(text: str) -> None:
    with pytest.raises(ValueError, match=r"^not an e-mail address$"):
        DIGESTS.digest_address("chess", text)


def test_an_identifier_is_never_taken_for_an_address() -> None:
    assert looks_like_address("ada@example.com")
    assert not looks_like_address("c_AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAh")


def test_apps_and_keys_have_digests_of_their_own() -> None:
    address = "ada@example.com"
    digests = {
        DIGESTS.digest_address("chess", address),
        DIGESTS.digest_address("go", address),
        AddressDigests(KEY + "!").digest_address("chess", address),
    }
    assert len(digests) == 3
    assert all(address.encode() not in digest for digest in digests)


@given(st.text(max_size=20), st.text(max_size=20))
def test_the_normal_form_is_stable(before: str, after: str) -> None:
    try:
        once = normalise_address(f"{before}@{after}")
    except ValueError:
        return
    if len(once) <= 254:
        assert normalise_address(once) == once
        assert normalise_address(f" {once} ") == once


def test_a_digest_is_that_of_aliases_that_are_stored() -> None:
    """Another digest would lose every alias."""
    digests = AddressDigests("a key of at least thirty-two characters")
    digest = digests.digest_address("chess", "ada@example.com")
    assert digest.hex() == "dc2429a6cc79789c6705e969abb62136dffd3f71705518acf6f4dd6cd5566f87"
