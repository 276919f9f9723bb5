"""What the console is given. `app/console.py` fills these in with the other rooms."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from mcpgw.core.entries import Verdict
from mcpgw.core.errors import GatewayError
from mcpgw.core.model import (
    Change,
    Identity,
    JsonObject,
)
from mcpgw.core.question import Place
from mcpgw.core.terms import Seats
from mcpgw.pipeline import Corridor
from mcpgw.ports import Approval, ApprovalState, Authenticator, Deed, Journal, ServerState, Sheet


class NotForYou(GatewayError):
    """It is not the person's to see or to decide, or there is no such thing."""


class Unclear(GatewayError):
    """What is kept is not what was bound, so it is not shown: somebody has to look at the store."""


class SeatsTaken(Protocol):
    """Some seats of the present level, and who sits there. `str` of it is for people."""

    @property
    def people(self) -> tuple[str, ...]: ...

    @property
    def needed(self) -> int: ...

    @property
    def seats(self) -> Seats: ...


class Standing(Protocol):
    @property
    def taken(self) -> Sequence[SeatsTaken]: ...

    @property
    def breakers(self) -> tuple[str, ...]:
        """Who broke the glass."""
        ...

    @property
    def void(self) -> tuple[str, ...]:
        """Whose approval does not count any more."""
        ...

    @property
    def tally(self) -> str:
        """The count in words: `1 of 2 approved`."""
        ...

    @property
    def silence_ns(self) -> int:
        """When the present level ends."""
        ...


class PeoplesDesk(Protocol):
    """The people's side of the desk. It alone decides who sees what and whose vote counts."""

    async def docket(self, viewer: Identity, states: Sequence[ApprovalState], limit: int) -> tuple[Approval, ...]: ...

    async def show(self, approval_id: str, viewer: Identity) -> Sheet:
        """Record the reading, then lay the approval out.

        Raises:
            NotForYou: it does not exist, or is not the viewer's to see.
            Unclear: what is kept is not what the digest binds.
            LedgerUnavailable: the reading could not be recorded.
        """
        ...

    async def vote(
        self, approval_id: str, voter: Identity, verdict: Verdict, comment: str, *, shown: str, break_glass: bool
    ) -> Approval:
        """Record the verdict of somebody who saw the sheet whose commitment is `shown`.

        Raises:
            NotForYou: the voter may not decide on it.
            ApprovalConflict: nothing is left to decide, or `shown` is not what is bound.
            ValueError: the comment is too long, or missing where one is required.
            LedgerUnavailable: the vote is not known to be durable.
        """
        ...

    def changes(self, sheet: Sheet, arguments: JsonObject) -> Sequence[Change]:
        """Return where these arguments differ from the exact ones of a sheet; nothing where they do not."""
        ...

    async def propose(self, approval_id: str, person: Identity, arguments: JsonObject, comment: str, *, shown: str) -> Approval:
        """Deny the call and propose other arguments, as somebody who saw the sheet whose commitment is `shown`.

        Raises: as `vote`; ValueError also where these arguments cannot be proposed.
        """
        ...

    def objection(self, viewer: Identity, approval: Approval) -> str:
        """Return why the viewer's vote would be refused, in a sentence for them; empty if it would count."""
        ...

    async def act(self, deed: Deed, approval_id: str, person: Identity, comment: str, happened: str) -> Approval:
        """Do anything but vote; `happened` is for `Deed.RESOLVE`.

        Raises:
            NotForYou: the person may not.
            ApprovalConflict: it is too late, or was done already.
            ValueError: the comment is too long, or missing where one is required; or `happened` says nothing.
            LedgerUnavailable: it is not known to be durable.
        """
        ...

    def deeds(self, viewer: Identity, approval: Approval) -> frozenset[Deed]:
        """Return what the viewer could do about it now."""
        ...

    async def open_items(self, viewer: Identity) -> tuple[Approval, ...]:
        """Return what is the viewer's to see, and has to be reviewed or resolved."""
        ...

    def standing(self, approval: Approval) -> Standing:
        """Return what the votes amount to now."""
        ...

    async def changed(self, timeout_s: float) -> None:
        """Return as soon as an approval may have changed, or after the timeout."""
        ...


class Record(Protocol):
    """A record as it stands in the log."""

    @property
    def seq(self) -> int: ...

    @property
    def leaf(self) -> bytes: ...

    @property
    def hash(self) -> bytes: ...

    @property
    def index(self) -> Mapping[str, str | int]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Records that match, the newest last."""

    records: Sequence[Record]
    rest: tuple[int, ...]
    """Before which record to go on; nothing where all were looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proved:
    """A record, its clean payloads as far as they are there, and the proof that it is in the log (C2SP tlog-proof)."""

    record: Record
    payloads: Mapping[str, str]
    gone: tuple[str, ...]
    """Slots of payloads that the record commits to and that are not there any more."""
    proof: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a package is to hold; an empty field asks for all."""

    since_ns: int
    until_ns: int
    """The first moment that is not asked for any more."""
    who: str = ""
    session: str = ""
    server: str = ""
    tool: str = ""
    reason: str


@dataclass(frozen=True, slots=True)
class Download:
    """A file as an answer."""

    name: str
    media: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Steps:
    """A page of a session, the oldest step first."""

    steps: Sequence[JsonObject]
    further: tuple[int, ...]
    """Behind which place to go on; nothing on the last page."""


class Evidence(Protocol):
    """The log, for auditors and their programs. A few are served at once, beside the gateway's own reading; the others wait.

    All raise `LedgerUnavailable` where the log cannot be read, or where too many wait.
    """

    @property
    def log(self) -> str:
        """The log's name."""
        ...

    async def find(self, place: Place, limit: int) -> Page:
        """Look through a bounded number of records: a page may hold few, or none, and not be the last."""
        ...

    async def proved(self, seq: int) -> Sequence[Proved]:
        """Return the record of that number, or nothing."""
        ...

    async def session(self, session: str, after: int, limit: int) -> Steps:
        """Return the oldest `limit` steps of a session behind that place; nothing where there is none.

        There may be a few more: what others did before the session had to do with it comes with the step that it is shown at.
        """
        ...

    async def checkpoint(self) -> str:
        """Return the newest signed checkpoint."""
        ...

    async def package(self, wanted: Wanted, requester: str) -> Download:
        """Record the export, then return the package.

        Raises:
            NotForYou: so much is not packed in one answer.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerView:
    """One upstream server, in words safe to show."""

    name: str
    state: ServerState
    problem: str = ""
    protocol_version: str = ""
    software: str = ""
    """Name and version as the server claims."""
    published: int = 0
    quarantined: tuple[str, ...] = ()
    """What it offers and is held back, and why."""
    drift: tuple[str, ...] = ()
    """Lines of the difference to what was accepted, hidden characters escaped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogView:
    servers: tuple[ServerView, ...]
    problems: tuple[str, ...]
    """What is wrong with the files, and what was refused publication."""


class Refused(GatewayError):
    """A request's head is refused, with an HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """Every door of the console."""

    authenticator: Authenticator
    """For API keys; asked again at every request."""
    corridor: Corridor
    """Where refusals are recorded."""
    journal: Journal
    desk: PeoplesDesk
    evidence: Evidence
    catalog: Callable[[], Awaitable[CatalogView]]
    problems: Callable[[], Mapping[str, str]]
    """Why the gateway is not ready, by part; empty while it is."""
    check_host: Callable[[Sequence[str]], None]
    """Raises `Refused` unless the `Host` values are one, and ours."""
    is_draining: Callable[[], bool]
    bearers: Authenticator
    """For the API's credentials, of every kind that the MCP doors take."""
    credential_of: Callable[[Mapping[str, Any]], str]
    """Return the bearer credential of an ASGI request, or an empty text. Raises `Refused` as the MCP doors do: a `Host` that is
    not ours, an `Origin` of others, more than one credential, or one in the URL."""
    challenge: Callable[[str], str]
    """What was wrong with a credential (empty: there was none) to the value of `WWW-Authenticate` (RFC 6750 section 3)."""
