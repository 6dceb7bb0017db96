"""Which network addresses are everybody's, and which are somebody's own: what a stranger's URL must not lead us to."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
"""Translated to the IPv4 address in their last four bytes (RFC 6052, RFC 8215)."""


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
