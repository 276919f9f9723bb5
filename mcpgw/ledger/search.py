"""Answering an auditor's question from the log, the newest records first.

    (1) globs become the names that the log has, so that indexes find their records
    (2) a time becomes a range of sequence numbers
    (3) the range is looked through window by window: the database narrows by columns, and by texts that a leaf must hold
    (4) what is left is judged here: groups, rules, masked types, the text of clean payloads

There is no index of the text: what is erased from a payload is erased, and nothing of it stands anywhere else.

Rule, masked type, decision and text of one call stand in several records: why it was permitted in its intent, what came of it
in its outcome. Where several of these are asked for, the records of one call have to have them between them, and the record
that has the first of them, in this order, is what is found.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mcpgw.core.question import NEWEST, Question
from mcpgw.ledger.record import Members, parse, unpack
from mcpgw.ledger.store import Named, Query, Reading, StoredPayload, StoredRecord

TEXT_SLOTS = ("arguments.clean", "answer", "comment", "question", "result.clean")
"""Payloads whose text is looked through."""
_FIRST_WINDOW, _LARGEST_WINDOW = 4_096, 65_536
"""Records that are looked through at once. They grow while little is found."""
_MOST_NAMES = 500
"""Names that a glob is resolved to; beyond, each record's own name is compared."""
_BATCH = 500
"""Records that are read at once to be judged: bounds memory."""
_POLL_S = 0.2


@dataclass(slots=True)
class Found:
    records: list[StoredRecord] = field(default_factory=list)
    """The newest last."""
    rest: tuple[int, ...] = ()
    """Before which record to go on; nothing where all were looked at."""


def find(store: Reading, question: Question, *, before: int = NEWEST, limit: int, effort: int = NEWEST) -> Found:
    """Return the newest `limit` records that match, among those before `before`.

    At most about `effort` records are looked through; a page may then hold fewer than `limit`, or none, and not be the last.
    A record that cannot be read does not match what only its leaf could tell.

    Raises:
        LedgerUnavailable: the log cannot be read.
    """
    found = Found()
    for query in _narrowed(store, question):
        end = min(before, query.before_seq)
        start = query.after_seq + 1
        window = _FIRST_WINDOW
        while start < end and len(found.records) < limit and effort > 0:
            low = max(start, end - min(window, effort))
            within = replace(query, after_seq=low - 1, before_seq=end)
            taken, reached = _window(store, question, within, limit - len(found.records))
            found.records = [*reversed(taken), *found.records]
            effort -= end - reached
            end, window = reached, min(2 * window, _LARGEST_WINDOW)
        found.rest = (end,) if start < end else ()
    return found


def follow(store: Reading, question: Question, *, limit: int) -> Iterator[StoredRecord]:
    """Yield what matches, the oldest first, beginning with the newest `limit`; then wait for more, without end.

    Raises:
        LedgerUnavailable: the log cannot be read.
    """
    size = store.size()
    yield from find(store, question, before=size, limit=limit).records
    while True:
        now = store.size()
        if now > size:
            yield from find(store, question, before=now, limit=now - size, effort=now - size).records
            size = now
        else:
            time.sleep(_POLL_S)


def _window(store: Reading, question: Question, query: Query, wanted: int) -> tuple[list[StoredRecord], int]:
    """Return what matches in the query's range, the newest first, and the least number that was looked at."""
    judge = _Judge(store, question)
    size = _BATCH if judge.has_doubts else wanted
    taken: list[StoredRecord] = []
    end = query.before_seq
    while True:
        batch = store.search(replace(query, before_seq=end, limit=size))
        for record in judge.judged(batch[::-1]):
            taken.append(record)
            if len(taken) == wanted:
                return taken, record.seq
        if len(batch) < size:
            return taken, query.after_seq + 1
        end = batch[0].seq


# --- (1), (2): what the database is asked --------------------------------------------------------------------------------


def _narrowed(store: Reading, question: Question) -> Iterator[Query]:
    """Yield the query whose answers are to be judged; nothing where no record can match."""
    start, end = store.extent(question.since_ns, question.until_ns) if _asks_for_time(question) else (0, store.size())
    query = Query(
        call_id=question.call,
        approval_id=question.approval,
        server=question.server,
        since_ns=question.since_ns,
        until_ns=question.until_ns,
        after_seq=start - 1,
        before_seq=end,
        holding=tuple(_as_in_leaf(text) for text in (question.group, *_leading(question)) if text),
    )
    if question.decision and not (question.rule or question.masked):
        query = replace(query, decision=question.decision)
    for resolve in (_who, _tools, _kinds, _session):
        for narrower in resolve(store, question, query):
            query = narrower
            break
        else:
            return
    yield query


def _asks_for_time(question: Question) -> bool:
    return (question.since_ns, question.until_ns) != (Question().since_ns, Question().until_ns)


def _leading(question: Question) -> tuple[str, ...]:
    """Return what the record itself must hold, of what a call's records hold between them."""
    return (question.rule or question.masked,)


def _as_in_leaf(text: str) -> bytes:
    return json.dumps(text, ensure_ascii=False).encode()


def _who(store: Reading, question: Question, query: Query) -> Iterator[Query]:
    if not question.who:
        yield query
    elif names := store.names(Named.PRINCIPAL, [question.who, f"*#{question.who}"], _MOST_NAMES):
        yield replace(query, principals=tuple(names)) if len(names) < _MOST_NAMES else replace(query, who=question.who)


def _tools(store: Reading, question: Question, query: Query) -> Iterator[Query]:
    if not question.tool:
        yield query
    elif names := store.names(Named.TARGET, [question.tool], _MOST_NAMES):
        yield replace(query, targets=tuple(names)) if len(names) < _MOST_NAMES else replace(query, tool=question.tool)


def _kinds(store: Reading, question: Question, query: Query) -> Iterator[Query]:
    if not question.kind:
        yield query
    elif names := store.names(Named.KIND, [question.kind], _MOST_NAMES):
        yield replace(query, kinds=tuple(names))


def _session(store: Reading, question: Question, query: Query) -> Iterator[Query]:
    """Look between a session's ends, among its caller's records and those that the gateway writes in nobody's name."""
    yield query if not question.session else within_session(store, question.session, query)


def within_session(store: Reading, session: str, query: Query) -> Query:
    """Return the query, asked of that session alone."""
    query = replace(query, session=session)
    for opened in store.search(Query(session=session, kinds=("session.opened",), limit=1)):
        ends = [one.seq + 1 for one in store.search(Query(session=session, kinds=("session.closed",), limit=1))]
        among = (str(opened.index["principal"]), "gateway")
        query = replace(
            query,
            after_seq=max(query.after_seq, opened.seq - 1),
            before_seq=min(query.before_seq, *ends, NEWEST),
            principals=query.principals or among,
        )
    return query


# --- (4): what is left ---------------------------------------------------------------------------------------------------

_Test = Callable[[StoredRecord], bool]


class _Judge:
    def __init__(self, store: Reading, question: Question) -> None:
        self._store = store
        self._group = question.group
        self._needle = _needle(question.text)
        tests: Mapping[str, tuple[str, _Test]] = {
            "rule": (question.rule, lambda record: question.rule in _rules(_members(record))),
            "masked": (question.masked, lambda record: question.masked in _masked(_members(record))),
            "decision": (question.decision, lambda record: question.decision in _results(record)),
            "text": (question.text, lambda record: self._says(record)),
        }
        self._tests = [test for asked, test in tests.values() if asked]
        self._payloads: dict[int, list[StoredPayload]] = {}

    @property
    def has_doubts(self) -> bool:
        """Whether the database's answers may not match."""
        return bool(self._group or self._tests)

    def judged(self, records: Sequence[StoredRecord]) -> Iterator[StoredRecord]:
        """Yield those that match, in their order."""
        if self._needle and len(self._tests) == 1 and records:
            self._load(records)  # each one's text is looked at, so they are read together
        return (record for record in records if self._matches(record))

    def _matches(self, record: StoredRecord) -> bool:
        if self._group and self._group not in _members(record).get("who", {}).get("groups", ()):
            return False
        if not self._tests:
            return True
        first, *others = self._tests
        if not first(record):
            return False
        left = [test for test in others if not test(record)]
        if not left:
            return True
        call = str(record.index["call_id"])
        siblings = self._store.search(Query(call_id=call)) if call else ()
        return all(any(test(one) for one in siblings) for test in left)

    def _says(self, record: StoredRecord) -> bool:
        if record.seq not in self._payloads:
            self._load([record])
        return any(self._needle in _text(payload) for payload in self._payloads[record.seq] if payload.slot in TEXT_SLOTS)

    def _load(self, records: Sequence[StoredRecord]) -> None:
        """Read the payloads of records that stand close together at once."""
        self._payloads = {record.seq: [] for record in records}
        seqs = sorted(self._payloads)
        for first, last in stretches(seqs):
            for payload in self._store.payloads(first, last + 1):
                if payload.seq in self._payloads:
                    self._payloads[payload.seq].append(payload)


def _text(payload: StoredPayload) -> str:
    try:
        return unpack(payload.packed).decode().casefold()
    except ValueError:
        return ""  # damaged: `mcpgw verify` says so


def stretches(seqs: Sequence[int], gap: int = 50) -> Iterator[tuple[int, int]]:
    """Yield first and last of stretches with small gaps, which are read at once."""
    first = last = seqs[0]
    for seq in seqs[1:]:
        if seq - last > gap:
            yield first, last
            first = seq
        last = seq
    yield first, last


def _needle(text: str) -> str:
    """Return the text as payloads have it, which are JSON, and in one case."""
    return json.dumps(text, ensure_ascii=False)[1:-1].casefold()


def _members(record: StoredRecord) -> Members:
    try:
        return parse(record.leaf)
    except ValueError:
        return {}


def _rules(members: Members) -> Sequence[str]:
    return [str(rule) for rule in members.get("decision", {}).get("rules", ())]


def _masked(members: Members) -> set[str]:
    return {str(line[0]) for manifest in members.get("masking", {}).values() for line in manifest["masked"]}


def _results(record: StoredRecord) -> Sequence[object]:
    return [record.index[name] for name in ("decision", "outcome", "code")]
