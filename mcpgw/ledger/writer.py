"""Appending: many callers, one writer thread, one transaction for all that wait.

    (1) take everything that waits, and lock the store: other processes wait for their turn
    (2) read the head, and build on it only if our key signed it; if the key was rotated meanwhile, take the new one
    (3) for each caller: check the approval that the entry needs, number the record in the log and in its session, insert
    (4) sign and store the checkpoint over the new tree
    (5) commit: the one moment in which all of it becomes durable
    (6) answer

What (3) refuses is refused before anything of that entry was written, so it concerns that entry alone. Any other error undoes
the batch, and every caller in it hears that the ledger is unavailable. If (5) fails, the store is read again before anybody
hears.
"""

import asyncio
import logging
import queue
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mcpgw.core.errors import ApprovalConflict, GatewayError, LedgerUnavailable
from mcpgw.core.model import Intent, Outcome
from mcpgw.ledger.approvals import advanced, use_number
from mcpgw.ledger.checkpoint import Checkpoint, InvalidNote, Signer, open_checkpoint, signatures_of
from mcpgw.ledger.describe import Indeterminate, Recordable, SessionOpened, of_use
from mcpgw.ledger.keys import LogKeys
from mcpgw.ledger.record import Draft, Record, Unrecordable, seal
from mcpgw.ledger.sessions import SessionRow, Sessions, calls_of, session_for
from mcpgw.ledger.store import CommitUnknown, Connect, Head, OpenCall, Store, Transaction
from mcpgw.ledger.stored_tree import fill
from mcpgw.ledger.tree import Frontier

logger = logging.getLogger(__name__)

MAX_BATCH = 256
"""Callers in one transaction: bounds how long other processes wait for their turn."""


class Batch:
    """The transaction under way. Work done on it is durable together or not at all."""

    def __init__(
        self,
        tx: Transaction,
        head: Head,
        *,
        log: str,
        node: str,
        sessions: Sessions,
        describe: Callable[[Recordable], Draft],
        clock: Callable[[], int],
    ) -> None:
        self.tx = tx
        self.sessions = sessions
        self.records: list[Record] = []
        self.intents: list[OpenCall] = []
        self.approvals_changed = False
        self.note = ""
        """The signed checkpoint over what was appended, once it is finished."""
        self._head = head
        self._frontier = head.frontier
        self._log = log
        self._node = node
        self._describe = describe
        self._clock = clock

    def append(self, entry: Recordable, draft: Draft) -> Record:
        """Give the entry its place in the log and in its session, with everything that it changes.

        Raises:
            ApprovalConflict: the entry's approval is not in the state that it needs. Nothing of the entry was written.
            Unrecordable: the entry cannot be a leaf. Nothing of it was written.
        """
        time_ns = self._clock()
        for number in use_number(entry, self.tx):
            draft = of_use(draft, number)
        drafts, session = self._numbered(entry, draft, time_ns)
        records = [
            seal(one, log=self._log, seq=seq, time_ns=time_ns) for seq, one in enumerate(drafts, start=self._frontier.size)
        ]
        record = records[-1]
        rows = advanced(entry, record, self.tx)
        for one in records:
            self.tx.insert(one)
            self._frontier = self._frontier.appended(one.hash)
        for row in rows:
            self.tx.save_approval(row)
            self.approvals_changed = True
        for numbered in session:
            self.sessions.put(numbered)
        self._track(entry, record)
        self.records += records
        return record

    def close_session(self, row: SessionRow) -> None:
        """Write the session's last record."""
        closing = row.closing()
        self.append(closing, self._describe(closing))
        self.sessions.drop(row.key)

    def _numbered(self, entry: Recordable, draft: Draft, time_ns: int) -> tuple[Sequence[Draft], Sequence[SessionRow]]:
        """Return what is to be written, the session's opening first where it has none yet, and the session afterwards."""
        for row in session_for(entry, self.sessions, time_ns):
            drafts: list[Draft] = []
            session = row
            for call in calls_of(entry) if row.records == 0 else ():
                opening = session.numbered(self._describe(SessionOpened(call=call)))
                drafts.append(opening)
                session = session.after(opening, time_ns)
            drafts.append(session.numbered(draft))
            return drafts, [session.after(draft, time_ns)]
        return [draft], []

    def finish(self, signer: Signer, *successors: Signer) -> Head:
        """Sign and store the checkpoint over everything appended, and the tiles that are full now; return the new head.

        A key's successor signs the last checkpoint of the key with it.
        """
        if not self.records:
            return self._head
        fill(self.tx, self._head.frontier.size, self._frontier.size)
        text = Checkpoint(self._log, self._frontier.size, self._frontier.root()).text()
        self.note = signer.sign(text) + "".join(successor.line(text) for successor in successors)
        head = Head(self._frontier, self.note)
        self.tx.save_head(head)
        self.sessions.save()
        return head

    def _track(self, entry: Recordable, record: Record) -> None:
        """Remember intents that have no outcome, for whoever starts after this process has died."""
        match entry:
            case Intent(shown=shown, allow=allow):
                approval_id = allow.approval.id if allow.approval is not None else ""
                call = OpenCall(shown.call.id, record.seq, self._node, approval_id)
                self.tx.open_call(call)
                self.intents.append(call)
            case Outcome(intent=intent):
                self.tx.close_call(intent.entry.shown.call.id)
            case Indeterminate(call_id=call_id):
                self.tx.close_call(call_id)


Work = Callable[[Batch], Any]
Recover = Callable[[Batch, Sequence[OpenCall]], None]
"""Records those intents as indeterminate."""


@dataclass(slots=True, eq=False)
class Ticket:
    """One caller's place in the queue. The writer thread fills in `result` or `error`; the caller's loop reads them."""

    work: Work
    future: "asyncio.Future[Any]"
    sessions: Sequence[str] = ()
    """Keys of the sessions that the work will number."""
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    result: Any = None
    error: GatewayError | None = None

    def answer(self) -> None:
        if self.future.done():  # the caller was cancelled; what it asked for has happened all the same
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class Writer:
    """The thread that alone writes for this process. It survives every fault of the store, and goes on when it is gone."""

    def __init__(
        self,
        connect: Connect,
        keys: LogKeys,
        *,
        reload: Callable[[str], LogKeys],
        node: str,
        recover: Recover,
        on_commit: Callable[[Batch], None],
        describe: Callable[[Recordable], Draft],
        clock: Callable[[], int],
    ) -> None:
        self._connect = connect
        self._keys = keys
        self._reload = reload
        self._node = node
        self._recover = recover
        self._on_commit = on_commit
        self._describe = describe
        self._clock = clock
        self._queue: queue.SimpleQueue[Ticket | None] = queue.SimpleQueue()  # None asks the thread to end
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
        self._store: Store | None = None  # None until the first batch, and after a fault
        self._head = Head(Frontier(), "")
        self._sessions: Sequence[SessionRow] = ()  # as they stand behind that head
        self._doubtful: list[OpenCall] = []
        self._stopped = False

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Finish what is queued and end the thread. Blocks."""
        self._stopped = True
        self._queue.put(None)
        self._thread.join()

    async def submit(self, work: Work, sessions: Sequence[str] = ()) -> Any:
        """Run the work inside a transaction and return its result once that is durable.

        The rows of the named sessions are read for all callers at once.

        Raises:
            ApprovalConflict: the work said so.
            LedgerUnavailable: it is not durable, or nobody can tell.
        """
        if self._stopped:
            raise LedgerUnavailable("the ledger is closed")
        future = asyncio.get_running_loop().create_future()
        self._queue.put(Ticket(work, future, sessions))
        return await future

    def _run(self) -> None:
        ended = False
        while not ended:
            taken = self._take()
            ended = None in taken
            self._serve([ticket for ticket in taken if ticket is not None])
        self._close_store()

    def _take(self) -> list[Ticket | None]:
        """Wait for a caller, then take everybody who has come meanwhile."""
        taken = [self._queue.get()]
        while len(taken) < MAX_BATCH and not self._queue.empty():
            taken.append(self._queue.get())
        return taken

    def _serve(self, tickets: Sequence[Ticket]) -> None:
        try:
            self._write(tickets)
        except GatewayError as error:
            self._fail(tickets, error)
        except Exception as error:
            # The thread's one broad except: whatever it is, nobody may take it for success, and the next batch is tried.
            logger.exception("the ledger's writer met an unexpected error")
            self._fail(tickets, LedgerUnavailable(f"the ledger's writer failed: {type(error).__name__}"))
        _answer(tickets)

    def _write(self, tickets: Sequence[Ticket]) -> None:
        """Raises: GatewayError: nothing of the batch is durable as far as anyone can tell."""
        store = self._store = self._store or self._connect()
        tx = store.begin()
        found = self._trusted(tx.head())
        sessions = Sessions(tx, self._sessions if found == self._head else ())
        batch = Batch(
            tx,
            found,
            log=self._keys.signer.verifier.name,
            node=self._node,
            sessions=sessions,
            describe=self._describe,
            clock=self._clock,
        )
        self._settle_doubts(batch)
        sessions.load([key for ticket in tickets for key in ticket.sessions])
        for ticket in tickets:
            _work(ticket, batch)
        head = batch.finish(self._keys.signer)
        try:
            tx.commit()
        except CommitUnknown as error:
            if not self._confirmed(batch, error):
                raise
        self._head, self._sessions = head, sessions.standing()
        self._doubtful.clear()
        self._on_commit(batch)

    def _trusted(self, head: Head) -> Head:
        """Return the head that the store shows if it may be built upon: a log never signs what it cannot vouch for."""
        if head == self._head:
            return head
        size = head.frontier.size
        if size <= self._head.frontier.size:
            hint = "The database was replaced by an older or another one. Verify it, then restart the gateway."
            raise LedgerUnavailable(
                f"the log had {self._head.frontier.size} records; another one of {size} is there now", hint=hint
            )
        try:
            if signed_by_strangers(head.note, self._keys):
                self._keys = self._reload(head.note)  # the key was rotated, and nothing may be signed with the old one any more
        except InvalidNote as error:
            raise _unbelievable(error) from error
        require_trusted(head, self._keys)
        return head

    def _settle_doubts(self, batch: Batch) -> None:
        """Close intents that are in the log although their callers were told that they are not, so nothing was sent."""
        if self._doubtful:
            standing = {call.call_id for call in batch.tx.open_calls()}
            self._recover(batch, [call for call in self._doubtful if call.call_id in standing])

    def _confirmed(self, batch: Batch, error: CommitUnknown) -> bool:
        """Find out what became of a commit that failed. In doubt it is not confirmed, and its intents are remembered."""
        logger.warning("%s; reading the store again", error)
        self._close_store()
        try:
            store = self._store = self._connect()
            if batch.records and store.confirm(batch.records[-1].event_id):
                return True
        except LedgerUnavailable as unreadable:
            logger.warning("whether the batch is durable is unknown: %s", unreadable)
        self._doubtful.extend(batch.intents)
        return False

    def _fail(self, tickets: Sequence[Ticket], error: GatewayError) -> None:
        logger.error("%d appends failed: %s", len(tickets), error)
        self._close_store()
        for ticket in tickets:
            ticket.error = LedgerUnavailable(str(error), hint=error.hint)  # its own: each will carry its caller's traceback

    def _close_store(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None


def signed_by_strangers(note: str, keys: LogKeys) -> bool:
    """Tell whether a key that is not known here signed the note in the log's own name.

    Raises:
        InvalidNote: malformed.
    """
    name = keys.signer.verifier.name
    return any(one.name == name and one.key_id not in keys.known for one in signatures_of(note)[1])


def trusted_checkpoint(note: str, keys: LogKeys) -> Checkpoint:
    """Return the checkpoint of a note that the present key signed.

    Raises:
        InvalidNote: it did not, or a key that is not known here did so in the log's name.
    """
    checkpoint = open_checkpoint(note, [keys.signer.verifier])
    if signed_by_strangers(note, keys):
        raise InvalidNote("a key that is not in keys/ signed it; if the log's was rotated elsewhere, copy its files here")
    return checkpoint


def require_trusted(head: Head, keys: LogKeys) -> None:
    """Raises `LedgerUnavailable` unless the head is one that the present key signed for this log and tree."""
    try:
        checkpoint = trusted_checkpoint(head.note, keys)
    except InvalidNote as error:
        raise _unbelievable(error) from error
    if checkpoint != Checkpoint(keys.signer.verifier.name, head.frontier.size, head.frontier.root()):
        raise LedgerUnavailable("the newest checkpoint does not fit the tree", hint="Run `mcpgw verify`.")


def _unbelievable(error: InvalidNote) -> LedgerUnavailable:
    return LedgerUnavailable(f"the newest checkpoint cannot be believed: {error}", hint="Run `mcpgw verify`.")


def _work(ticket: Ticket, batch: Batch) -> None:
    try:
        ticket.result = ticket.work(batch)
    except (ApprovalConflict, Unrecordable) as error:
        ticket.error = error


def _answer(tickets: Sequence[Ticket]) -> None:
    """Hand the results to their event loops, one wake-up for each loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Ticket]] = defaultdict(list)
    for ticket in tickets:
        by_loop[ticket.loop].append(ticket)
    for loop, mine in by_loop.items():
        try:
            loop.call_soon_threadsafe(_answer_all, mine)
        except RuntimeError:
            logger.warning("%d appends were durable when their event loop was gone", len(mine))


def _answer_all(tickets: Sequence[Ticket]) -> None:
    for ticket in tickets:
        ticket.answer()
