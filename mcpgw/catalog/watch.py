"""Live reload: edits in the catalog's folder come into force without a restart."""

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import TypeAlias

import anyio
import anyio.to_thread
from watchfiles import awatch

from mcpgw.catalog.load import Catalog, load_catalog
from mcpgw.catalog.lock import LOCK_NAME
from mcpgw.catalog.problems import CatalogError
from mcpgw.catalog.registry import Registry

logger = logging.getLogger(__name__)

_DEBOUNCE_MS = 200
"""An editor and `git pull` write in bursts; what is half written would only be refused and read again."""
_LOOK_MS = 1_000
"""Also looked at without notice, because network and bind mounts give none; bounds the wait at shutdown as well."""

_Stamp: TypeAlias = tuple[tuple[str, int, int, int], ...]


async def watch(registry: Registry) -> None:
    """Keep the registry at what the folder says, until cancelled. Invalid edits are refused, and read again when they change.

    An edit is in force about a quarter of a second after it was written. What changed before the watch began counts too.
    """
    stamp: _Stamp = ()  # no folder has this stamp, so the first look reads
    async with aclosing(_looks(registry.catalog_dir)) as looks:
        async for _ in looks:
            now = await anyio.to_thread.run_sync(_stamp, registry.catalog_dir)
            if now != stamp:
                stamp = now
                await _reload(registry)


async def _looks(catalog_dir: Path) -> AsyncGenerator[None, None]:
    """Yield whenever it is time to look: on notice, and every `_LOOK_MS`."""
    try:
        notices = awatch(catalog_dir, debounce=_DEBOUNCE_MS, rust_timeout=_LOOK_MS, yield_on_timeout=True, recursive=False)
        async for _ in notices:
            yield
    except OSError as error:
        # The host may have no inotify instances left (fs.inotify.max_user_instances), or the folder may be gone for now.
        logger.warning("no notice of edits in %s (%s); looking every %d ms", catalog_dir.name, error, _LOOK_MS)
    while True:
        yield
        await anyio.sleep(_LOOK_MS / 1000)


async def _reload(registry: Registry) -> None:
    read = await anyio.to_thread.run_sync(_read, registry.catalog_dir)
    if isinstance(read, CatalogError):
        registry.refuse(read)
    else:
        registry.adopt(read)
        logger.info("catalog %s: %d servers in force", registry.snapshot.hash[:12], len(registry.servers))


def _read(catalog_dir: Path) -> Catalog | CatalogError:
    try:
        return load_catalog(catalog_dir)
    except CatalogError as error:
        return error


def _stamp(catalog_dir: Path) -> _Stamp:
    """Name, size, time and inode of each file that counts: differs after every edit, also by rename or symbolic link."""
    files = sorted([*catalog_dir.glob("*.toml"), catalog_dir / LOCK_NAME])
    return tuple(_stamp_of(path) for path in files)


def _stamp_of(path: Path) -> tuple[str, int, int, int]:
    try:
        status = path.stat()
    except OSError:
        return (path.name, 0, 0, 0)  # it is going or came unreadable: reading it will say so
    return (path.name, status.st_size, status.st_mtime_ns, status.st_ino)
