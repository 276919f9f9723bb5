"""Which records belong into a package: those that were asked for, and those without which nobody could tell what is missing."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from mcpgw.core.errors import LedgerUnavailable
from mcpgw.ledger.erasure import Erasures
from mcpgw.ledger.evidence import FOLDERS
from mcpgw.ledger.record import Members, parse
from mcpgw.ledger.search import stretches
from mcpgw.ledger.spans import SPAN
from mcpgw.ledger.store import Query, Reading, StoredCheckpoint, StoredPayload, StoredRecord
from mcpgw.ledger.vault import SEALED_SLOTS

_ALL = 2**62
"""More records than any log has."""
_CHANGES = ("settings.changed", "policy.activated", "identity.changed", "catalog.changed", "catalog.accepted")
_IN_NOBODYS_NAME = ("session.closed", "call.indeterminate")
"""Records of a session that the gateway writes by itself: a search for the caller does not find them."""
_ENDS = {"call.outcome", "call.indeterminate"}
_LOOK_BACK = 500
"""Changes of one kind that are looked at to find what was in force when the range began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked for. Empty means all."""

    since_ns: int = 0
    until_ns: int = 2**63 - 1
    """The first moment that is not asked for any more."""
    who: str = ""
    """A principal (issuer#subject), a subject, or a glob over principals."""
    session: str = ""
    server: str = ""
    tool: str = ""
    """A glob over published names."""
    raw: bool = False
    """With the sealed raw payloads of what is found, which are age files."""

    @property
    def is_all(self) -> bool:
        return not (self.who or self.session or self.server or self.tool)

    @property
    def is_by_caller(self) -> bool:
        """Whether sessions and summaries can show that nothing is missing: they count callers, not tools."""
        return bool(self.who or self.session) and not (self.server or self.tool)


@dataclass(slots=True)
class Found:
    """What a package is made of, in the order of the log."""

    start: int
    end: int
    """The range: records with `start <= seq < end`."""
    head: StoredCheckpoint
    records: dict[int, tuple[StoredRecord, Members]] = field(default_factory=dict)
    payloads: list[StoredPayload] = field(default_factory=list)
    identities: tuple[str, ...] = ()
    """Principals of whose calls in the range none may be missing."""
    sessions: tuple[str, ...] = ()
    """Sessions that are in it as a whole, as far as they were recorded."""

    @property
    def known(self) -> list[int]:
        """The places of all leaves that the package tells a hash of."""
        return sorted({*range(self.start, self.end), *self.records})


def collect(store: Reading, asked: Asked) -> Found:
    """Read from the log what was asked for and what belongs to it. To be used inside a `snapshot`.

    Raises:
        LedgerUnavailable: the log is empty, damaged, or cannot be read.
    """
    for newest in store.newest_checkpoint():
        try:
            return _Collector(store, asked, newest).all()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            what = f"a record cannot be read: {type(error).__name__}"
            raise LedgerUnavailable(what, hint="Run `mcpgw verify`: it says which.") from error
    raise LedgerUnavailable("the log has no checkpoint yet: nothing was recorded")


class _Collector:
    def __init__(self, store: Reading, asked: Asked, newest: StoredCheckpoint) -> None:
        start = next(iter(store.first_since(0, asked.since_ns)), newest.size)
        end = next(iter(store.first_since(start, asked.until_ns)), newest.size)
        self._store = store
        self._asked = asked
        self._newest = newest
        self._found = Found(min(start, newest.size), min(end, newest.size), newest)

    def all(self) -> Found:
        found = self._found
        self._matching()
        if self._asked.is_by_caller:
            self._callers()
        self._rest_of_calls()
        self._approvals()
        self._changes()
        self._erased()
        found.records = dict(sorted(found.records.items()))
        found.payloads = [*self._payloads()]
        least = max([found.end, *(seq + 1 for seq in found.records)])
        found.head = next(iter(self._store.checkpoints(max(0, least - 1), self._newest.size)), self._newest)
        return found

    def _matching(self) -> None:
        found, asked = self._found, self._asked
        if asked.is_all:
            for start in range(found.start, found.end, SPAN):
                self._take(self._store.records(start, min(SPAN, found.end - start)))
            return
        query = Query(who=asked.who, tool=asked.tool, session=asked.session)
        within = replace(query, after_seq=found.start - 1, before_seq=found.end)
        self._take(
            self._search(within),
            lambda record, members: asked.server in ("", record.index["server"]) and asked.session in ("", _session(members)),
        )

    def _callers(self) -> None:
        """Add whole sessions, and everything that counts the same callers once more."""
        found, asked = self._found, self._asked
        within = Query(after_seq=found.start - 1, before_seq=found.end)
        sessions = {_session(members) for _, members in found.records.values()} - {""}
        for kind in _IN_NOBODYS_NAME:
            self._take(self._search(replace(within, kind=kind)), lambda _, members: _session(members) in sessions)
        for session in sorted(sessions):
            mine = [members for _, members in found.records.values() if _session(members) == session]
            if min(members["session"]["seq"] for members in mine):
                self._session(session, Query(session=session, before_seq=found.start))
            if not any(members["kind"] == "session.closed" for members in mine):
                self._session(session, Query(session=session, after_seq=found.end - 1))
        found.sessions = tuple(sorted(sessions))
        if not asked.who:
            return
        called = {str(record.index["principal"]) for record, members in found.records.values() if _is_of_caller(members)}
        found.identities = tuple(sorted(called))
        self._take(
            self._search(replace(within, kind="refusals.counted")),
            lambda _, members: any(line["who"] in called for line in members["facts"]["counts"]),
        )
        self._take(
            self._search(Query(kind="summary.daily", after_seq=found.start)),
            lambda _, members: found.start <= members["facts"]["from"] and members["facts"]["to"] <= found.end,
        )

    def _session(self, session: str, query: Query) -> None:
        self._take(self._search(query), lambda _, members: _session(members) == session)

    def _rest_of_calls(self) -> None:
        """Add what became of calls whose end is not among what matches: recovery closes them in nobody's name."""
        kinds: dict[str, set[str]] = {}
        for _, members in self._found.records.values():
            if "call" in members:
                kinds.setdefault(members["call"], set()).add(members["kind"])
        for call, seen in kinds.items():
            if "call.intent" in seen and not seen & _ENDS:
                self._take(self._search(Query(call_id=call)))

    def _approvals(self) -> None:
        """Add all records of the approvals that are told of, and of those whose proposals they took up."""
        seen: set[str] = set()
        while named := {name for _, one in self._found.records.values() for name in _approvals_in(one)} - seen:
            for approval_id in sorted(named):
                self._take(self._search(Query(approval_id=approval_id)))
            seen |= named

    def _changes(self) -> None:
        """Add what changed in the range, and of each aspect what was in force when it began, or the first record shown was."""
        found = self._found
        first = min([found.start, *found.records])
        for kind in _CHANGES:
            self._take(self._search(Query(kind=kind, after_seq=first - 1, before_seq=found.end)))
            newest: dict[str, StoredRecord] = {}
            for record in self._search(Query(kind=kind, before_seq=first, limit=_LOOK_BACK)):
                aspect = parse(record.leaf).get("facts", {}).get("aspect", "")
                if aspect in FOLDERS:
                    newest[aspect] = record
            self._take(newest.values())

    def _erased(self) -> None:
        """Add the records that say what was erased of those that are shown."""
        erasing = {record.seq: record for record in self._store.erasing() if record.seq < self._newest.size}
        erasures = Erasures(erasing.values())
        shown = [(seq, members.get("payloads", {})) for seq, (_, members) in self._found.records.items()]
        named = {erasures.by(seq, slot) for seq, slots in shown for slot in slots} - {-1}
        self._take(erasing[seq] for seq in sorted(named))

    def _payloads(self) -> Iterator[StoredPayload]:
        wanted = self._found.records
        seqs = list(wanted)
        for at in range(0, len(seqs), SPAN):
            part = seqs[at : at + SPAN]
            for first, last in stretches(part):
                for payload in self._store.payloads(first, last + 1):
                    if payload.seq in wanted and not self._is_withheld(payload):
                        yield payload

    def _is_withheld(self, payload: StoredPayload) -> bool:
        if payload.slot in SEALED_SLOTS:
            return not self._asked.raw
        return self._is_of_others(payload)

    def _is_of_others(self, payload: StoredPayload) -> bool:
        """Tell whether it names all callers of a day. Where the record commits to its salt by itself, one caller can be counted
        without."""
        payloads = self._found.records[payload.seq][1]["payloads"]
        return payload.slot == "identities" and "salt" in payloads and not self._asked.is_all

    def _search(self, query: Query) -> Sequence[StoredRecord]:
        limit = query.limit if query.limit == _LOOK_BACK else _ALL
        return self._store.search(replace(query, before_seq=min(query.before_seq, self._newest.size), limit=limit))

    def _take(
        self,
        records: Iterable[StoredRecord],
        wanted: Callable[[StoredRecord, Members], bool] = lambda record, members: True,
    ) -> None:
        for record in records:
            if record.seq not in self._found.records:
                members = parse(record.leaf)
                if wanted(record, members):
                    self._found.records[record.seq] = (record, members)


def _session(members: Members) -> str:
    return str(members.get("session", {}).get("id", ""))


def _approvals_in(members: Members) -> Iterator[str]:
    approval = members.get("approval", {})
    return (approval[name] for name in ("id", "accepts") if name in approval)


def _is_of_caller(members: Members) -> bool:
    return "who" in members and members["kind"].startswith(("call.", "session."))
