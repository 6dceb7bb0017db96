"""Which addresses a stranger's URL must not lead to."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.ip_addresses import is_public

PRIVATE = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fd12:3456::1",
    "fec0::1",
    "ff02::1",
    "2001:db8::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::a00:1",
    "2002:7f00:1::1",
    "2002:c0a8:101::1",
    "2001:0:7f00:1::1",
    "localhost",
    "127.1",
    "2130706433",
    "0x7f000001",
    "",
]
PUBLIC = ["8.8.8.8", "1.1.1.1", "172.32.0.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]


@pytest.mark.parametrize("address", PRIVATE)
def test_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    assert is_public(address)


@given(st.sampled_from(["10.0.0.0/8", "127.0.0.0/8", "192.168.0.0/16", "169.254.0.0/16"]), st.integers(0))
def test_no_way_of_writing_a_private_address_is_public(network: str, number: int) -> None:
    within = IPv4Network(network)
    address = IPv4Address(int(within.network_address) + number % within.num_addresses)
    assert not is_public(str(address))
    for prefix in ("::ffff:0:0/96", "64:ff9b::/96"):
        embedded = IPv6Address(int(IPv6Network(prefix).network_address) | int(address))
        assert not is_public(str(embedded))
        assert not is_public(embedded.exploded)
    assert not is_public(str(IPv6Address(0x2002 << 112 | int(address) << 80)))


@given(st.text())
def test_what_is_no_address_is_not_public(text: str) -> None:
    is_public(text)
