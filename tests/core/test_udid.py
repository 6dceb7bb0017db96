"""UDIDs: their normal form and their digests."""

from __future__ import annotations

import pytest

from relay.core.udid import UdidDigests, normalise_udid

KEY = "a key of at least thirty-two characters"


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("00008030-001C2D223A80802E", "00008030001c2d223a80802e"),
        ("00008030001c2d223a80802e", "00008030001C2D223A80802E"),
        ("A" * 40, "a" * 40),
        ("1B7D4F0A-2C3E-4D5F-8A9B-0C1D2E3F4A5B", "1b7d4f0a-2c3e-4d5f-8a9b-0c1d2e3f4a5b"),
    ],
)
def test_all_spellings_of_a_udid_have_one_digest(text: str, same: str) -> None:
    digests = UdidDigests(KEY)
    assert normalise_udid(text) == normalise_udid(same)
    assert digests.digest_udid(text) == digests.digest_udid(same)
    assert len(digests.digest_udid(text)) == 32


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a" * 39,
        "a" * 41,
        "g" * 40,
        "a" * 24 + "\n",
        " " + "a" * 24,
        "00008030-001c2d22-3a80802e",
        "00008030001c2d22-3a80802e",
        "1b7d4f0a2c3e4d5f8a9b0c1d2e3f4a5b",
        "٠" * 40,
        "\x00" * 40,
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a UDID"):
        UdidDigests(KEY).digest_udid(text)


def test_a_digest_depends_on_the_key() -> None:
    udid = "a" * 40
    assert UdidDigests(KEY).digest_udid(udid) != UdidDigests(KEY + "!").digest_udid(udid)
    assert udid.encode() not in UdidDigests(KEY).digest_udid(udid)


def test_a_digest_is_that_of_devices_that_are_stored() -> None:
    """Another digest would lose every device."""
    assert (
        UdidDigests(KEY).digest_udid("a" * 40).hex()
        == "dbd225462d1a71b8df7c8e8676c46bc6ec215baabd5621f4d28b3bee8d3445fa"
    )
