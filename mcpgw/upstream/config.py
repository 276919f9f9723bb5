"""How an upstream is reached, and how much it may take: plain values that `app.py` builds from the catalog.

References to secrets are resolved already, so no value that could hold one stands in a repr.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from mcpgw.core.answers import Question

_SHREDDING_CHARS = 6
"""Shorter values are not looked for in stderr: replacing them would shred ordinary words, and show what they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StdioServer:
    """A child process that speaks JSON-RPC, one message per line, on stdin and stdout."""

    fingerprint: str
    """What the catalog calls this way to reach the server; a permit for another one is refused."""
    command: str
    args: tuple[str, ...] = field(default=(), repr=False)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: str = ""
    """Working directory; empty for the gateway's own."""
    inherit_env: tuple[str, ...] = ()
    """Names of further variables of the gateway's environment that the child may see."""
    memory_mb: int = 0
    """Limit of each process's writable data, in MiB; 0 for none, as with the two below."""
    open_files: int = 0
    cpu_s: int = 0
    questions: frozenset[Question] = frozenset()
    """What the server may ask the callers of some of its tools."""
    confidential: tuple[str, ...] = field(default=(), repr=False)
    """Parts of `args` that must not be shown; the values of `env` never are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpServer:
    """A Streamable HTTP endpoint, of either era."""

    fingerprint: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    private: bool = False
    """Its name may resolve to an address in a private network. Where the URL itself writes one out, that needs no leave."""
    questions: frozenset[Question] = frozenset()
    """As for `StdioServer`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SseServer:
    """An HTTP+SSE endpoint of protocol 2024-11-05: a stream for answers, and a POST endpoint that the stream names."""

    fingerprint: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    private: bool = False
    """As for `HttpServer`."""
    questions: frozenset[Question] = frozenset()
    """As for `StdioServer`."""


ServerConfig: TypeAlias = StdioServer | HttpServer | SseServer


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an upstream may take. Seconds end in `_s`."""

    reply_bytes: int = 20_000_000
    """Longest message, body or event. A longer one ends the call (HTTP) or the connection (stdio, SSE)."""
    starting_s: float = 10.0
    """How long a call waits for a server whose first attempt to connect is under way."""
    connect_s: float = 10.0
    """To open a TCP and TLS connection."""
    probe_s: float = 10.0
    """To answer `server/discover`; a legacy server may ignore it, so silence means `initialize`."""
    handshake_s: float = 60.0
    """To answer `initialize`: a package runner may download first."""
    post_s: float = 30.0
    """To take a message that is not answered on its own response: every request on HTTP+SSE, a cancellation on HTTP."""
    page_s: float = 30.0
    """To answer one page of a list."""
    list_pages: int = 1_000
    list_items: int = 10_000
    list_bytes: int = 64_000_000
    """All pages of one list together."""
    refresh_s: float = 300.0
    """Lists are read again at least this often, so that a server replaced behind its URL is noticed."""
    refresh_least_s: float = 30.0
    """A server that says that its lists keep for less is not asked more often."""
    backoff_first_s: float = 0.5
    backoff_ceiling_s: float = 60.0
    stable_s: float = 10.0
    """A connection that lasted this long was good: the next backoff starts over."""
    stop_s: float = 2.0
    """Patience at each step of ending a child: stdin closed, SIGTERM, SIGKILL."""
    drain_s: float = 5.0
    """How long calls under way may finish when their server is removed or replaced."""
    personal_children: int = 16
    """Sessions of a stdio server that are somebody's own: each is a child process beside the shared one."""
    personal_sessions: int = 256
    """The same of an HTTP or SSE server, where each is a session or a stream."""
    personal_idle_s: float = 180.0
    """How long such a session is kept for its identity's next call."""
    stream_idle_s: float = 300.0
    """Silence after which a stream that only carries notifications is opened anew."""


def confidential(config: ServerConfig) -> tuple[str, ...]:
    """Return every value that the child's output must not show, the longest first so that no rest of one survives."""
    if not isinstance(config, StdioServer):
        return ()
    values = [*config.confidential, *config.env.values()]
    values += [password for value in values for password in _passwords(value)]
    lines = {line for value in values for line in (value, *value.splitlines())}  # a key in PEM form has many
    return tuple(sorted((line for line in lines if len(line) >= _SHREDDING_CHARS), key=len, reverse=True))


def _passwords(value: str) -> list[str]:
    """Return what is secret inside a value by itself: `--key=SECRET`, `Bearer SECRET`, `postgres://user:SECRET@host/`."""
    after = [value.partition(mark)[2] for mark in ("=", " ")]
    before_host, at, _ = value.rpartition("@")
    return [part for part in (*after, before_host.rpartition(":")[2] if at else "") if part]
