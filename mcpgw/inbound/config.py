"""What the inbound room is told. Plain values: `app.py` fills them from the settings."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from mcpgw.core.model import Identity, Patience
from mcpgw.inbound.presentation import ALL, Presentation

LOOPBACK_HOSTS: Final = ("127.0.0.1:*", "localhost:*", "[::1]:*")

WAITING_CLIENTS: Final[Mapping[str, float]] = MappingProxyType(
    {
        "claude-code": 45.0,  # idle limit of minutes; held 150 s when measured
        "visual studio code": 45.0,  # no limit
        "visual studio code - insiders": 45.0,
        "cursor": 45.0,  # five minutes
        "cursor-vscode": 45.0,
        "claude-ai": 45.0,  # 60 s in all
    }
)
"""Seconds that a client of that `clientInfo.name` (lower case) is known to wait for an answer, with room to spare."""

IMPATIENT_CLIENTS: Final = frozenset({"mcp"})
"""Names of clients that give up at their limit whether they are told of progress or not: `mcp`, the Python SDK's default, is
kept by the OpenAI Agents SDK, which gives up after 5 s."""


class Nobody:
    """A request without a credential is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PatienceTable:
    """How long a held call may keep its client waiting before the client is told to come back. Seconds."""

    unknown_s: float = 4.0
    """For a client that we do not know and that did not ask for progress: below the shortest limit seen (5 s)."""
    progress_s: float = 45.0
    """For a client that we do not know but that asked for progress, and so sees that the call is alive."""
    by_client: Mapping[str, float] = field(default_factory=lambda: WAITING_CLIENTS)
    heartbeat_s: float = 10.0

    def of(self, client_name: str, *, wants_progress: bool) -> Patience:
        """Return the patience of a client by what it says it is; a wrong claim costs only the claimant."""
        name = client_name.lower()
        unknown = self.progress_s if wants_progress and name not in IMPATIENT_CLIENTS else self.unknown_s
        return Patience(budget_s=self.by_client.get(name, unknown), heartbeat_s=self.heartbeat_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundConfig:
    """Limits and names of the gateway's own MCP server. Every limit is a refusal with a reason, never a silent cut."""

    version: str
    name: str = "mcpgw"
    instructions: str = ""
    public_url: str = ""
    """Where people reach this gateway, without a trailing slash; empty where no page is served."""
    receipts: bool = True
    """Whether answers carry receipts of their records."""
    allowed_hosts: tuple[str, ...] = LOOPBACK_HOSTS
    """`Host` values that are answered: `name`, `name:port` or `name:*` (any port). Anything else may be DNS rebinding."""
    allowed_origins: tuple[str, ...] = ()
    """`Origin` values that may call: `scheme://name`, `scheme://name:port` or `scheme://name:*`. No `Origin` is allowed."""
    unsafe_allow_anonymous: Identity | Nobody = field(default_factory=Nobody)
    """Whom a request without any credential acts as. `app.py` refuses it unless the listener is on loopback."""
    max_body_bytes: int = 1_048_576
    max_depth: int = 64
    """Nesting of objects and arrays in one message."""
    body_timeout_s: float = 30.0
    """From the end of the head to the end of the body."""
    call_timeout_s: float = 600.0
    """Of one call in all, waiting for people included. Each target's own limit is usually shorter."""
    answer_timeout_s: float = 300.0
    """How long a server's question waits for its caller."""
    max_parked: int = 1_000
    """Calls under way of clients that answer questions between requests (2026-07-28)."""
    max_parked_per_identity: int = 50
    """The same for one identity, whatever clients it comes with."""
    page_size: int = 1_000
    """Entries of one page of a list, about 0.8 MB of tools. Each page is a round trip, and some hosts read the first alone."""
    list_ttl_ms: int = 60_000
    """How long a 2026-07-28 client may keep a list without asking again; a change is announced at once."""
    max_sessions: int = 1_000
    """Open sessions of Streamable HTTP; as many again of HTTP+SSE, `subscriptions/listen` and subscriptions to resources."""
    max_sessions_per_identity: int = 100
    """The same for one identity, whatever clients it comes with."""
    session_idle_s: float = 1_800.0
    recheck_s: float = 30.0
    """How often the credential behind a standing stream is checked again, so that a revoked one loses it."""
    patience: PatienceTable = field(default_factory=PatienceTable)
    max_unattended: int = 500
    """Held calls that are waited for in their clients' place, where their rule lets them run unattended."""
    max_unattended_per_identity: int = 50
    """The same for one identity, whatever clients it comes with."""
    presentations: frozenset[Presentation] = ALL
    """How held calls may be presented. `pending` always may."""
    state_key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    """Seals what a client holds between two rounds of a held call. Processes that answer for one another share it."""
    state_lifetime_s: float = 86_400.0
    """How long a client may take from one round to the next; the approval's own deadline is usually sooner."""
    cursor_key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    """Authenticates list cursors. Processes that answer for one another share it."""
