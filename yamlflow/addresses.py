"""Which network addresses steps may reach. Pure: names are resolved elsewhere, once, and that very address is judged here.

By default link-local addresses and the metadata services of clouds are denied and everything else is allowed; with
``public`` only addresses of the public internet are allowed. Whoever runs the worker may allow and deny networks.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, replace

from .errors import UserError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Where clouds hand out credentials, beside the link-local ranges.
METADATA = frozenset(
    map(ipaddress.ip_address, ("169.254.169.254", "fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16"))
)
#: IPv4 within IPv6 where the module ``ipaddress`` does not tell: NAT64 (RFC 6052, 8215), translated (RFC 2765) and
#: compatible.
NAT64 = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "::ffff:0:0:0/96")))
COMPATIBLE = ipaddress.IPv6Network("::/96")
#: All of IPv6 that is assigned to the public internet so far.
UNICAST = ipaddress.IPv6Network("2000::/3")
EXPECTED = "write default or public, and networks to allow (+10.1.0.0/16) or to deny (-10.1.2.3), with commas between"


@dataclass(frozen=True, kw_only=True)
class Reach:
    """What may be reached: what is denied by name comes first, then what is allowed by name, then the general rule."""

    #: Only addresses of the public internet, or all but link-local and metadata addresses.
    public: bool = False
    allowed: tuple[Network, ...] = ()
    denied: tuple[Network, ...] = ()

    def refusal(self, address: str) -> str | None:
        """Why an address may not be reached; None when it may."""
        try:
            parsed = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return f"{address} is no address"
        if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        for meant in meanings(parsed):
            if _within(meant, self.denied):
                return f"{address} is denied by whoever runs the worker"
            if not _within(meant, self.allowed) and (reason := self._unusual(meant)):
                return f"{address} {reason}"
        return None

    def _unusual(self, address: Address) -> str | None:
        if address in METADATA or address.is_link_local:
            return "is a link-local or metadata address, which no step may reach"
        if address.is_multicast:
            return "is a multicast address"
        if self.public and not _is_public(address):
            return "is no public address, and only those are allowed here (`addresses: public`)"
        return None


#: All but link-local and metadata addresses.
DEFAULT = Reach()
#: Only the public internet.
PUBLIC = Reach(public=True)


@functools.cache
def reach(text: str) -> Reach:
    """What a setting like ``public,+10.1.0.0/16,-10.1.2.3`` means. ``UserError`` for one that means nothing."""
    found = DEFAULT
    for part in filter(None, (part.strip() for part in text.split(","))):
        if part in ("default", "public"):
            found = replace(found, public=part == "public")
            continue
        try:
            network = ipaddress.ip_network(part[1:].strip(), strict=False)
        except ValueError:
            network = None
        if network is None or part[0] not in "+-":
            raise UserError(f'"{part}" says nothing about addresses; {EXPECTED}')
        if part[0] == "+":
            found = replace(found, allowed=(*found.allowed, network))
        else:
            found = replace(found, denied=(*found.denied, network))
    return found


def meanings(address: Address) -> Iterable[Address]:
    """The address and every IPv4 address it stands for."""
    yield address
    if isinstance(address, ipaddress.IPv4Address):
        return
    number = int(address)
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if any(address in network for network in NAT64) or (address in COMPATIBLE and number > 1):
        yield ipaddress.IPv4Address(number & 0xFFFFFFFF)


def _within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and address not in UNICAST:
        return False
    return address.is_global and not address.is_reserved
