"""The way out of the house: sockets for the gateway's own HTTP clients, which lead only where they may.

The address is judged where the socket is made, after the name was resolved and for each address anew: the one that was judged
is the one that is connected to, whatever the name resolves to a moment later (DNS rebinding), and whatever wrote it (a
catalog, an issuer's metadata, a decimal number).
"""

import errno
import socket
from collections.abc import Callable
from typing import Any, TypeAlias

from mcpgw.core.addresses import Reach, reach_of

AddressInfo: TypeAlias = tuple[Any, ...]
"""What `getaddrinfo` returns of one address: family, type, protocol, canonical name, socket address."""


class AddressRefused(OSError):
    """The address leads where this connection may not. `reach` says where; the address itself is not quoted."""

    def __init__(self, reach: Reach) -> None:
        super().__init__(errno.EACCES, _WORDS[reach])
        self.reach = reach


_WORDS = {
    Reach.PRIVATE: "the address is in a private network",
    Reach.FORBIDDEN: "the address is link-local, of a cloud's metadata, or reserved",
}


def sockets(most: Reach) -> Callable[[AddressInfo], socket.socket]:
    """Return a factory of sockets (aiohttp's `socket_factory`) for addresses that lead no farther than `most`.

    Raises (the factory):
        AddressRefused: another address; nothing was connected.
    """

    def make(info: AddressInfo) -> socket.socket:
        family, kind, protocol, _, address = info
        reach = reach_of(address[0])
        if reach > most:
            raise AddressRefused(reach)
        return socket.socket(family, kind, protocol)

    return make
