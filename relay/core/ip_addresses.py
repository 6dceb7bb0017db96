"""IP addresses: the client of a request behind proxies, and whether an address is public."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network
_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
"""Translated to the IPv4 address in their last four bytes (RFC 6052, RFC 8215)."""


def find_client_address(peer: str, forwarded_for: Sequence[str], trusted: Sequence[Network]) -> str:
    """The IP address of the client: of the first from our side that is none of the `trusted` proxies.

    `peer` is the other end of the connection, `forwarded_for` the values of the X-Forwarded-For headers in their order.
    Each proxy appends whom it got the request from, so they are read from the right, and only what a trusted proxy
    wrote is read: to the left of that anybody can write anything. Where a trusted one wrote something that is no IP
    address, the answer is `peer`. If all are trusted it is the leftmost. An IPv4 address in IPv6's clothes (RFC 4291,
    2.5.5.2) is taken for what it is. A peer that has no IP address is not trusted, and is the answer as it is.
    """
    address = _parsed(peer)
    if address is None:
        return peer
    client = address
    hops = [part.strip(" \t") for value in forwarded_for for part in value.split(",")]
    for said in filter(None, reversed(hops)):
        if not is_trusted(client, trusted):
            break
        hop = _parsed(said)
        # A zone (fe80::1%eth0) is a name of that machine's own, and may be any text.
        if hop is None or getattr(hop, "scope_id", None):
            return str(address)
        client = hop
    return str(client)


def is_trusted(address: str | IPv4Address | IPv6Address, trusted: Sequence[Network]) -> bool:
    """Whether the address is in one of the networks. What is no IP address is in none."""
    parsed = _parsed(address) if isinstance(address, str) else address
    return parsed is not None and any(parsed in network for network in trusted)


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Networks as settings name them, like 10.0.0.0/8; an address alone is a network of one. Raises ValueError."""
    return tuple(ip_network(text) for text in texts)


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def is_public(address: str) -> bool:
    """Whether that IP address is one of the Internet's: not private, loopback, link-local, multicast or reserved.

    An IPv6 address that stands for an IPv4 one is judged by both. What is no address is not public.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return _is_public(parsed) and all(map(_is_public, _embedded(parsed)))


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address) and (
        address.ipv4_mapped is not None or any(address in net for net in _NAT64)
    ):
        return True  # nobody's but the IPv4 address's
    return address.is_global and not (
        address.is_multicast or address.is_reserved or getattr(address, "is_site_local", False)
    )


def _embedded(address: IPv4Address | IPv6Address) -> list[IPv4Address]:
    """The IPv4 addresses that a packet to this one may come to."""
    if isinstance(address, IPv4Address):
        return []
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if any(address in net for net in _NAT64):
        found.append(IPv4Address(address.packed[-4:]))
    return [one for one in found if one is not None]
