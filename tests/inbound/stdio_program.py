"""A stdio gateway over in-memory doors, as a program: what the tests start as a real process."""

import logging
import sys

import anyio

from mcpgw.core.model import Identity
from mcpgw.inbound.stdio import serve_stdio
from tests.inbound.doors import World, identity


async def main() -> None:
    world = World()

    async def identify() -> Identity:
        print("a stray print of some library")
        return identity("alice")

    await serve_stdio(world.server(), identify)
    print("stdout is the program's own again")
    logging.info("%d outcomes", len(world.outcomes()))


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stderr, level=logging.INFO)
    anyio.run(main)
