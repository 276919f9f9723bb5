"""What a witness answers to add-checkpoint (C2SP tlog-witness), without the HTTP around it."""

import base64
import binascii
import hashlib
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from mcpgw.ledger.checkpoint import Checkpoint, InvalidNote, Verifier, open_checkpoint, signatures_of, verified
from mcpgw.ledger.cosignature import Cosigner
from mcpgw.ledger.tree import EMPTY_ROOT, HASH_BYTES, check_consistency
from mcpgw.ledger.witness.memory import Memory, RefusedCheckpoint, Seen

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 262_144
"""A note with 16 post-quantum signatures has about 80 KB, and a proof at most 3 KB."""
MAX_PROOF = 63
SIZE_TYPE = "text/x.tlog.size"
TEXT_TYPE = "text/plain; charset=utf-8"
_OLD = re.compile(r"old (0|[1-9][0-9]{0,18})")


@dataclass(frozen=True, slots=True)
class Reply:
    status: HTTPStatus
    body: str
    content_type: str = TEXT_TYPE


class Malformed(ValueError):
    """The body is not what the specification says."""


@dataclass(frozen=True, slots=True)
class Submission:
    old_size: int
    proof: tuple[bytes, ...]
    note: str

    @classmethod
    def parse(cls, body: bytes) -> "Submission":
        """Raises: Malformed."""
        try:
            head, blank, note = body.decode("utf-8").partition("\n\n")
        except UnicodeDecodeError as error:
            raise Malformed("the body is not UTF-8") from error
        first, *lines = head.split("\n")
        old = _OLD.fullmatch(first)
        if not blank or not old:
            raise Malformed("the body is a line `old SIZE`, lines of a proof, an empty line and a checkpoint")
        if len(lines) > MAX_PROOF:
            raise Malformed(f"a consistency proof has at most {MAX_PROOF} lines")
        return cls(int(old[1]), tuple(_hash(line) for line in lines), note)

    def encode(self) -> bytes:
        lines = [f"old {self.old_size}", *(base64.b64encode(one).decode() for one in self.proof)]
        return ("\n".join(lines) + "\n\n" + self.note).encode()


class Witness:
    """Cosigns checkpoints of the logs that it knows, each continuing the one before."""

    def __init__(
        self,
        cosigner: Cosigner,
        logs: Sequence[Verifier],
        memory: Memory,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`logs` are the keys of known logs; several of one name belong to one log, each for checkpoints of its own sizes."""
        self._cosigner = cosigner
        self._logs: Mapping[str, Sequence[Verifier]] = {log.name: [one for one in logs if one.name == log.name] for log in logs}
        self._hashes = {hashlib.sha256(origin.encode()).hexdigest(): origin for origin in self._logs}
        self._memory = memory
        self._clock = clock

    def add_checkpoint(self, body: bytes) -> Reply:
        """Answer to one submission. A cosignature is returned only after the checkpoint is remembered, durably.

        Raises:
            MemoryFailed: nothing is cosigned.
        """
        try:
            submission = Submission.parse(body)
            text, signatures = signatures_of(submission.note)
            claimed = Checkpoint.parse(text)
        except (Malformed, InvalidNote) as error:
            return _refused(HTTPStatus.BAD_REQUEST, str(error))
        verifiers = self._logs.get(claimed.origin)
        if verifiers is None:
            return _refused(HTTPStatus.NOT_FOUND, "this log is not known here")
        try:
            checkpoint = open_checkpoint(submission.note, verifiers)
        except InvalidNote as error:
            return _refused(HTTPStatus.FORBIDDEN, str(error))
        if submission.old_size > checkpoint.size:
            return _refused(HTTPStatus.BAD_REQUEST, "the old size is larger than the checkpoint's")
        lines = "".join(signature.line for signature in verified(text, signatures, verifiers))
        return self._judged(submission, checkpoint, text, lines)

    def checkpoint(self, origin_hash: str) -> Reply:
        """Return the newest cosigned checkpoint of the log whose origin has that SHA-256, in lower-case hex.

        Raises:
            MemoryFailed: it cannot be read.
        """
        for seen in self._memory.seen(self._hashes.get(origin_hash, "")):
            return Reply(HTTPStatus.OK, seen.note)
        return _refused(HTTPStatus.NOT_FOUND, "no checkpoint of this log was cosigned here")

    def _judged(self, submission: Submission, checkpoint: Checkpoint, text: str, log_lines: str) -> Reply:
        """Compare, remember and cosign, as one step: two submissions at once must not undo each other."""
        with self._memory.alone():
            before = [seen.checkpoint for seen in self._memory.seen(checkpoint.origin)]
            last = before[0] if before else Checkpoint(checkpoint.origin, 0, EMPTY_ROOT)
            if submission.old_size != last.size:
                return Reply(HTTPStatus.CONFLICT, f"{last.size}\n", SIZE_TYPE)
            if why := _inconsistency(last, checkpoint, submission.proof):
                logger.error("%s: a signed checkpoint over %d records is refused: %s", checkpoint.origin, checkpoint.size, why)
                self._memory.keep_refused(RefusedCheckpoint(checkpoint, int(self._clock()), submission.note, why))
                return _refused(HTTPStatus.UNPROCESSABLE_ENTITY, why)
            line = self._cosigner.cosign(text, int(self._clock()))
            self._memory.save(Seen(checkpoint, f"{text}\n{log_lines}{line}"))
        return Reply(HTTPStatus.OK, line)


def _inconsistency(last: Checkpoint, new: Checkpoint, proof: Sequence[bytes]) -> str:
    """Return why the new checkpoint does not continue the last one, or nothing."""
    if new.size == 0 and new.root != EMPTY_ROOT:
        return "a log of no records has another root"
    if last.size == 0:
        return "the proof from an empty log is empty" if proof else ""
    if last.size == new.size and last.root != new.root:
        return f"another root was cosigned for {last.size} records: the log was forked or rewritten"
    if not check_consistency(last.size, new.size, proof, last.root, new.root):
        return f"the consistency proof from {last.size} to {new.size} records does not hold"
    return ""


def _refused(status: HTTPStatus, why: str) -> Reply:
    return Reply(status, f"{why}\n")


def _hash(line: str) -> bytes:
    try:
        found = base64.b64decode(line, validate=True)
    except binascii.Error:
        found = b""
    if len(found) != HASH_BYTES or base64.b64encode(found).decode() != line:
        raise Malformed("a line of the proof is no hash in base64")
    return found
