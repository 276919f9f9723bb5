"""Published names: what real hosts accept, how two servers' tools stay apart, and which names are too alike."""

import re
import unicodedata

SEPARATOR = "__"
"""Between server and tool. MCP hosts rewrite dots and slashes; two underscores survive everywhere."""

OWN_SERVER = "mcpgw"
"""The server of the gateway's own tools: no upstream may have its name."""

FIND_TOOLS = f"{OWN_SERVER}{SEPARATOR}find_tools"
CALL_TOOL = f"{OWN_SERVER}{SEPARATOR}call_tool"
"""Published names of the own tools that stand for all others, where a client should not carry all definitions."""

MAX_LENGTH = 64
"""Hosts reject or cut longer names (VS Code and the OpenAI API: 64 characters)."""

COMFORTABLE_LENGTH = 40
"""Hosts add their own prefix; Cursor counts server plus tool against 60."""

_PUBLISHED = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_SERVER = re.compile(r"[a-z0-9](?:[a-z0-9-]|_(?!_)){0,30}")
_LOOKALIKES = str.maketrans({"0": "o", "1": "l", "i": "l", "2": "z", "5": "s", "8": "b", "-": None, "_": None})
_LOOKALIKE_PAIRS = (("rn", "m"), ("vv", "w"), ("cl", "d"))
"""The part of Unicode's confusables (UTS 39) that published names can hold: ASCII letters, digits and separators."""


def is_published_name(name: str) -> bool:
    """Tell whether every host we know accepts this tool name as it is."""
    return _PUBLISHED.fullmatch(name) is not None


def is_server_name(name: str) -> bool:
    """Tell whether a server may be called so: lower case, no `__`, at most 31 characters, nothing like the gateway's own."""
    return skeleton(name) != skeleton(OWN_SERVER) and not name.endswith("_") and _SERVER.fullmatch(name) is not None


def published_name(server: str, tool: str) -> str:
    """Join a server's name and its tool's into a published one, replacing what hosts refuse by `_`.

    The result may be too long or collide with another: the catalog refuses that with an error that names both.
    """
    plain = unicodedata.normalize("NFKC", tool)
    return f"{server}{SEPARATOR}{re.sub(r'[^a-zA-Z0-9_-]', '_', plain)}"


def skeleton(name: str) -> str:
    """Fold what a hurried reader cannot tell apart (case, `0`/`o`, `1`/`l`/`i`, `rn`/`m`, separators): equal is confusable."""
    folded = name.lower().translate(_LOOKALIKES)
    for pair, letter in _LOOKALIKE_PAIRS:
        folded = folded.replace(pair, letter)
    return folded
