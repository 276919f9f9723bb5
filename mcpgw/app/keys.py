"""Reading the gateway's own binary keys."""

from pathlib import Path

from mcpgw.core.errors import ConfigError


def read_key(path: Path) -> bytes:
    """Read a binary key.

    Raises:
        ConfigError: it is missing or unreadable.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        hint = "`mcpgw init` makes the keys of a folder. A key that was lost cannot be made again: restore it."
        raise ConfigError(f"the key cannot be read: {error.strerror}", where=str(path), hint=hint) from error
