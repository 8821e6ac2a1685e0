"""Which network addresses a step may reach. A name is resolved once, judged, and that very address is connected to.

By default link-local addresses and the metadata services of clouds are denied and everything else is allowed; the
policy ``public`` allows only addresses of the public internet.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from typing import Literal

from ..errors import Permanent

Policy = Literal["default", "public"]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

#: Never reached under any policy: where clouds hand out credentials, beside the link-local ranges.
METADATA = frozenset(
    map(ipaddress.ip_address, ("169.254.169.254", "fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16"))
)
#: IPv4 within IPv6 where the module ``ipaddress`` does not tell: NAT64 (RFC 6052, 8215) and IPv4-compatible.
NAT64 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))
COMPATIBLE = ipaddress.IPv6Network("::/96")


def denied(address: str, policy: Policy) -> str | None:
    """Why an address may not be reached; None when it may."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return f"{address} is no address"
    for meant in meanings(parsed):
        if meant in METADATA or meant.is_link_local:
            return f"{address} is a link-local or metadata address, which no step may reach"
        if meant.is_multicast:
            return f"{address} is a multicast address"
        if policy == "public" and (not meant.is_global or meant.is_reserved):
            return f"{address} is no public address, and only those are allowed here (`addresses: public`)"
    return None


def meanings(address: Address) -> Iterable[Address]:
    """The address and every IPv4 address it stands for."""
    yield address
    if isinstance(address, ipaddress.IPv4Address):
        return
    number = int(address)
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if any(address in network for network in NAT64) or (address in COMPATIBLE and number > 1):
        yield ipaddress.IPv4Address(number & 0xFFFFFFFF)


async def resolve(host: str, port: int, policy: Policy) -> list[str]:
    """The addresses of a host, all of them allowed; ``Permanent`` (``address_denied``) when any is not.

    Raises ``OSError`` when the name cannot be resolved.
    """
    import asyncio

    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for address in addresses:
        if reason := denied(address, policy):
            raise Permanent("address_denied", f"{host}: {reason}")
    return addresses
