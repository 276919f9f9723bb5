"""Where an IP address leads: to the internet, into the house, or where no connection of ours has any business.

An IPv6 address may carry an IPv4 address that a router or the kernel unpacks (mapped, NAT64, 6to4, Teredo, ISATAP); where that
leads is judged too.
"""

import ipaddress
from collections.abc import Iterator
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address, IPv6Network

_NAT64 = IPv6Network("64:ff9b::/96")
"""RFC 6052 section 2.1."""
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")
"""RFC 8215. A house translates by prefixes of its own choice in it, so the IPv4 address can stand in four places."""
_PLACES = ((6, 7, 9, 10), (7, 9, 10, 11), (9, 10, 11, 12))
"""Of an IPv4 address behind a prefix of 48, 56 or 64 bits, the byte before the last ones left out (RFC 6052 section 2.2)."""
_ISATAP = (0x00005EFE, 0x02005EFE)
"""RFC 5214 section 6.1: the 32 bits before the IPv4 address."""
_METADATA = frozenset(
    map(
        ipaddress.ip_address,
        ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"),
    )
)
"""Where clouds hand credentials to whoever asks, beside 169.254.0.0/16 (Alibaba, Azure, Oracle, AWS, Google)."""


class Reach(IntEnum):
    """How far into the house an address leads; a greater one needs a greater permission."""

    PUBLIC = 0
    PRIVATE = 1
    """Loopback, private and shared networks, addresses for documentation."""
    FORBIDDEN = 2
    """Link-local, cloud metadata, multicast, broadcast, unspecified and reserved addresses."""


def reach_of(address: str) -> Reach:
    """Judge one address in its numeric form, as the resolver and the kernel write it. What is none is forbidden."""
    try:
        return _reach(ipaddress.ip_address(address))
    except ValueError:
        return Reach.FORBIDDEN


def is_written_out(host: str) -> bool:
    """Tell whether a URL's host says by itself where it leads: `localhost`, or an address in its usual form.

    `2130706433`, `0x7f.1` and `127.1` are none, though a resolver takes them for 127.0.0.1.
    """
    if host == "localhost":
        return True
    try:
        ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def _reach(address: IPv4Address | IPv6Address) -> Reach:
    if isinstance(address, IPv4Address):
        return _own(address)
    if address.ipv4_mapped is not None:
        return _own(address.ipv4_mapped)
    if address in _NAT64:
        return _own(_last_32_bits(address))
    if address in _LOCAL_NAT64:
        return max([_own(_last_32_bits(address)), *map(_own, _behind_prefixes(address))])
    return max([_own(address), *map(_own, _carried(address))])


def _carried(address: IPv6Address) -> Iterator[IPv4Address]:
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if int(address) >> 32 & 0xFFFFFFFF in _ISATAP:
        yield _last_32_bits(address)


def _behind_prefixes(address: IPv6Address) -> Iterator[IPv4Address]:
    """Yield what the address may mean; where the first byte is zero, another prefix is in use."""
    for places in _PLACES:
        meant = IPv4Address(bytes(address.packed[place] for place in places))
        if meant.packed[0]:
            yield meant


def _last_32_bits(address: IPv6Address) -> IPv4Address:
    return IPv4Address(int(address) & 0xFFFFFFFF)


def _own(address: IPv4Address | IPv6Address) -> Reach:
    if address.is_loopback:
        return Reach.PRIVATE
    if address in _METADATA or address.is_link_local or address.is_multicast or address.is_unspecified or address.is_reserved:
        return Reach.FORBIDDEN
    if isinstance(address, IPv4Address) and address.packed[0] == 0:
        return Reach.FORBIDDEN  # "this network" (RFC 1122); Linux connects to itself
    if isinstance(address, IPv6Address) and address.is_site_local:
        return Reach.PRIVATE  # fec0::/10, which Python takes for global; deprecated (RFC 3879), and still routed in some houses
    return Reach.PUBLIC if address.is_global else Reach.PRIVATE
