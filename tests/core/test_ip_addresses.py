"""The client of a request behind proxies, and whether an address is public."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.ip_addresses import find_client_address, is_public, is_trusted, parse_networks

TRUSTED = (IPv4Network("10.0.0.0/8"), IPv6Network("fd00::/8"))
addresses = st.ip_addresses().map(str)
strangers = addresses.filter(lambda text: not any(ip_address(text) in network for network in TRUSTED)).filter(
    lambda text: getattr(ip_address(text), "ipv4_mapped", None) is None
)
proxies = st.one_of(
    st.ip_addresses(network=TRUSTED[0]).map(str),
    st.ip_addresses(network=TRUSTED[1]).map(str),
    st.ip_addresses(network=TRUSTED[0]).map(lambda address: f"::ffff:{address}"),
)
headers = st.lists(st.text())


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "client"),
    [
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.7"], "192.0.2.7"),
        ("10.0.0.1", ["1.1.1.1, 192.0.2.7"], "192.0.2.7"),
        ("10.0.0.1", ["192.0.2.7, 10.0.0.2"], "192.0.2.7"),
        ("10.0.0.1", ["192.0.2.7", "10.0.0.2"], "192.0.2.7"),
        ("10.0.0.1", ["nonsense, 192.0.2.7"], "192.0.2.7"),
        ("10.0.0.1", ["192.0.2.7, nonsense"], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.7, nonsense, 10.0.0.2"], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.7:4711"], "10.0.0.1"),
        ("10.0.0.1", ["2001:db8::1%\nan entry of its own"], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.7, , "], "192.0.2.7"),
        ("10.0.0.1", ["10.0.0.3,10.0.0.2"], "10.0.0.3"),
        ("::ffff:10.0.0.1", ["192.0.2.7"], "192.0.2.7"),
        ("fd00::1", ["2001:DB8::0001"], "2001:db8::1"),
        ("192.0.2.1", ["192.0.2.7"], "192.0.2.1"),
        ("::ffff:192.0.2.1", [], "192.0.2.1"),
        ("", ["192.0.2.7"], ""),
    ],
)
def test_the_client_of_a_request(peer: str, forwarded_for: list[str], client: str) -> None:
    assert find_client_address(peer, forwarded_for, TRUSTED) == client


@given(strangers, headers)
def test_headers_of_an_untrusted_peer_are_ignored(peer: str, forwarded_for: list[str]) -> None:
    assert find_client_address(peer, forwarded_for, TRUSTED) == peer


@given(addresses, headers)
def test_without_trusted_networks_headers_are_ignored(peer: str, forwarded_for: list[str]) -> None:
    assert find_client_address(peer, forwarded_for, ()) == find_client_address(peer, (), TRUSTED)


@given(proxies, headers, strangers, st.lists(proxies, max_size=4))
def test_a_client_cannot_hide_its_address(peer: str, sent: list[str], client: str, via: list[str]) -> None:
    appended = ", ".join([client, *via])
    assert find_client_address(peer, [*sent, appended], TRUSTED) == client
    joined = ",".join([*sent, appended])  # as most proxies do it
    assert find_client_address(peer, [joined], TRUSTED) == client


@given(proxies, headers)
def test_the_answer_is_always_an_address(peer: str, forwarded_for: list[str]) -> None:
    assert "%" not in str(ip_address(find_client_address(peer, forwarded_for, [ip_network("0.0.0.0/0")])))


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
    assert is_public(address) is False


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    assert is_public(address) is True


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
def test_other_texts_are_not_public(text: str) -> None:
    is_public(text)


def test_networks_are_read_from_settings() -> None:
    assert parse_networks(["10.0.0.0/8", "fd00::1"]) == (
        IPv4Network("10.0.0.0/8"),
        IPv6Network("fd00::1/128"),
    )
    with pytest.raises(ValueError, match="host bits"):
        parse_networks(["10.0.0.1/8"])


@pytest.mark.parametrize(
    ("address", "trusted"),
    [("10.1.2.3", True), ("::ffff:10.1.2.3", True), ("fd00::1", True), ("11.0.0.1", False), ("unix:", False)],
)
def test_an_address_is_trusted_if_a_network_holds_it(address: str, trusted: bool) -> None:
    assert is_trusted(address, TRUSTED) is trusted
