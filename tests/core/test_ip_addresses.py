"""Whose request it is, behind proxies and behind liars."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.ip_addresses import find_client_address

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
def test_whose_request_it_is(peer: str, forwarded_for: list[str], client: str) -> None:
    assert find_client_address(peer, forwarded_for, TRUSTED) == client


@given(strangers, headers)
def test_a_stranger_is_who_the_connection_says(peer: str, forwarded_for: list[str]) -> None:
    assert find_client_address(peer, forwarded_for, TRUSTED) == peer


@given(addresses, headers)
def test_nobody_is_trusted_who_is_not_listed(peer: str, forwarded_for: list[str]) -> None:
    assert find_client_address(peer, forwarded_for, ()) == find_client_address(peer, (), TRUSTED)


@given(proxies, headers, strangers, st.lists(proxies, max_size=4))
def test_nothing_that_a_client_sends_hides_it(
    peer: str, sent: list[str], client: str, via: list[str]
) -> None:
    appended = ", ".join([client, *via])
    assert find_client_address(peer, [*sent, appended], TRUSTED) == client
    joined = ",".join([*sent, appended])  # as most proxies do it
    assert find_client_address(peer, [joined], TRUSTED) == client


@given(proxies, headers)
def test_the_answer_is_always_an_address(peer: str, forwarded_for: list[str]) -> None:
    assert "%" not in str(ip_address(find_client_address(peer, forwarded_for, [ip_network("0.0.0.0/0")])))
