"""Whose request it is, when proxies stand between: what X-Forwarded-For says, as far as it can be believed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network


def client_address(peer: str, forwarded_for: Sequence[str], trusted: Sequence[Network]) -> str:
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


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Networks as settings name them, like 10.0.0.0/8; an address alone is a network of one. Raises ValueError."""
    return tuple(ip_network(text) for text in texts)


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
