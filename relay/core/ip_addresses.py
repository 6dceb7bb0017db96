"""IP addresses: the client of a request behind proxies, and whether an address is public."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network
_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
"""Translated to the IPv4 address in their last four bytes (RFC 6052, RFC 8215)."""


def find_client_address(peer: str, forwarded_for: Sequence[str], trusted: Sequence[Network]) -> str:
    """Return the IP address of the client: the nearest one that is none of the `trusted` proxies.

    `peer` is the other end of the connection, `forwarded_for` the values of the X-Forwarded-For headers in their order.
    Each proxy appends the address that it got the request from. So addresses are read from the right, and only those
    that a trusted proxy wrote: everything further left can be forged. If a trusted proxy wrote something that is no IP
    address, the result is `peer`. If all addresses are trusted, the result is the leftmost. An IPv4-mapped IPv6 address
    (RFC 4291, 2.5.5.2) counts as the IPv4 address. A peer without an IP address is not trusted, and is returned as is.
    """
    address = _parse(peer)
    if address is None:
        return peer
    client = address
    hops = [part.strip(" \t") for value in forwarded_for for part in value.split(",")]
    for hop_text in filter(None, reversed(hops)):
        if not is_trusted(client, trusted):
            break
        hop = _parse(hop_text)
        # A zone (fe80::1%eth0) has a meaning on that machine only, and may be any text.
        if hop is None or getattr(hop, "scope_id", None):
            return str(address)
        client = hop
    return str(client)


def is_trusted(address: str | IPv4Address | IPv6Address, trusted: Sequence[Network]) -> bool:
    """Tell whether an address is in one of the networks. A text that is no IP address is in none."""
    parsed = _parse(address) if isinstance(address, str) else address
    return parsed is not None and any(parsed in network for network in trusted)


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Parse networks such as 10.0.0.0/8; a single address is a network of one. Raises ValueError."""
    return tuple(ip_network(text) for text in texts)


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def is_public(address: str) -> bool:
    """Tell whether an IP address is public: not private, loopback, link-local, multicast or reserved.

    An IPv6 address with an embedded IPv4 address is public only if both are. A text that is no address is not public.
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
        return True  # only the embedded IPv4 address matters
    return address.is_global and not (
        address.is_multicast or address.is_reserved or getattr(address, "is_site_local", False)
    )


def _embedded(address: IPv4Address | IPv6Address) -> list[IPv4Address]:
    """Return the IPv4 addresses that a packet to this address may reach."""
    if isinstance(address, IPv4Address):
        return []
    embedded = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if any(address in net for net in _NAT64):
        embedded.append(IPv4Address(address.packed[-4:]))
    return [inner for inner in embedded if inner is not None]
