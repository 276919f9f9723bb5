"""Published URIs: how the resources of two servers stay apart, and how a URI that was published leads back.

A URI is published with its server's name before it, within the scheme: `file:///a` of `bank` is `mcpgw+bank+file:///a`, so that
it stays a URI whose relative references resolve as before. A `ui://` URI keeps its scheme, by which hosts of MCP Apps know it:
`ui://view/main` of `bank` is `ui://bank/view/main`. Pure, linear, and total: every text has exactly one published form for each
server, and no two have the same. Templates are published alike, so that expanding a published one gives a published URI.
"""

from dataclasses import dataclass
from typing import Final

from mcpgw.core.naming import is_server_name

MAX_URI: Final = 2_048
"""Characters of a published URI. Every URI that is asked for is judged and recorded; those in use are far shorter."""

_MARK: Final = "mcpgw+"
_APPS: Final = "ui://"
"""The scheme of MCP Apps (SEP-1865), which hosts compare as it is written."""


@dataclass(frozen=True, slots=True)
class UpstreamUri:
    """What a published URI leads back to. `server` is empty where the text was published for none."""

    server: str = ""
    uri: str = ""


def published_uri(server: str, uri: str) -> str:
    """Return the URI, or URI template, under which clients know what `server` calls `uri`."""
    if uri.startswith(_APPS):
        return f"{_APPS}{server}/{uri.removeprefix(_APPS)}"
    # A scheme holds no underscore (RFC 3986 section 3.1), and no server's name a dot.
    return f"{_MARK}{server.replace('_', '.')}+{uri}"


def upstream_uri(published: str) -> UpstreamUri:
    """Return what was published so. Whatever is not exactly a published form leads to no server."""
    if published.startswith(_APPS):
        server, _, rest = published.removeprefix(_APPS).partition("/")
        found = UpstreamUri(server, f"{_APPS}{rest}")
    else:
        server, _, uri = published.removeprefix(_MARK).partition("+")
        found = UpstreamUri(server.replace(".", "_"), uri)
    is_exact = is_server_name(found.server) and published_uri(found.server, found.uri) == published
    return found if is_exact else UpstreamUri()


def is_publishable(published: str) -> bool:
    """Tell whether a published URI can be carried: not too long, and no character in it hides, breaks a line, or is none."""
    return len(published) <= MAX_URI and published.isprintable()
