"""What the upstream servers offer now, asked for one command."""

import os
from collections.abc import Sequence

import anyio

from mcpgw import __version__
from mcpgw.app import network
from mcpgw.catalog.problems import CatalogError
from mcpgw.catalog.registry import Registry
from mcpgw.ports import Definitions, ServerState, ServerStatus
from mcpgw.settings import Settings
from mcpgw.upstream import UpstreamPool

_PROBE_S = 30.0
"""How long a server may take to say what it offers: a package runner may download first."""


def probe(settings: Settings, servers: Sequence[str]) -> dict[str, Definitions | str]:
    """Ask the named servers of the catalog (all, if none is named) what they offer now; a text says why one did not answer."""
    return anyio.run(_probe, settings, servers)


async def _probe(settings: Settings, servers: Sequence[str]) -> dict[str, Definitions | str]:
    entries = Registry(settings.catalog_dir).servers
    asked = [name for name in entries if not servers or name in servers]
    found: dict[str, Definitions | str] = {}
    done = anyio.Event()

    def answer(name: str, what: Definitions | str) -> None:
        found.setdefault(name, what)
        if len(found) == len(asked):
            done.set()

    async def on_definitions(name: str, definitions: Definitions) -> None:
        answer(name, definitions)

    async def on_status(status: ServerStatus) -> None:
        if status.state is ServerState.DOWN:
            answer(status.name, status.problem)

    async with UpstreamPool(on_definitions=on_definitions, on_status=on_status, version=__version__) as pool:
        configs = {}
        for name in asked:
            try:
                configs[name] = network.server(entries[name], settings.folder, os.environ)
            except CatalogError as error:
                answer(name, str(error))
        pool.configure(configs)
        with anyio.move_on_after(_PROBE_S):
            if asked:
                await done.wait()
    return {name: found.get(name, f"It did not say what it offers within {_PROBE_S:.0f} s.") for name in asked}
