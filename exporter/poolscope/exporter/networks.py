"""The networks that clients are counted by."""

from __future__ import annotations

import ipaddress
from typing import Final

IPV6_PREFIX: Final = 64
"""Bits of an IPv6 address that name a network; one client has all of its addresses."""

LOCAL: Final = "unix"
"""The network of clients that have no address, as on a unix socket."""


def network_of(peername: object) -> str:
    """Return what the address of a client, as `getpeername` gives it, is counted by."""
    if not isinstance(peername, tuple) or not peername:
        return LOCAL
    try:
        address = ipaddress.ip_address(str(peername[0]).partition("%")[0])
    except ValueError:
        return LOCAL
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return str(ipaddress.ip_network((address, IPV6_PREFIX), strict=False))
        address = address.ipv4_mapped
    return str(address)
