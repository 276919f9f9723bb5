"""What shows that one record is in the log without the log: C2SP tlog-proof files, and receipts.

    c2sp.org/tlog-proof@v1
    index <sequence number>
    <inclusion proof, one base64 hash a line>

    <signed checkpoint>

A proof says all. A receipt, which a caller was given with its answer, is the log's promise: this leaf hash stands at this index
of the tree that the checkpoint signs. A proof that is made later shows that the log kept it.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from mcpgw.core.errors import LedgerUnavailable
from mcpgw.ledger.checkpoint import MAX_NOTE_BYTES, Checkpoint, InvalidNote, NoteVerifier, b64, open_checkpoint, unb64
from mcpgw.ledger.store import Reading, StoredCheckpoint, StoredRecord
from mcpgw.ledger.stored_tree import subtrees_of
from mcpgw.ledger.tree import HASH_BYTES, check_inclusion, inclusion_proof

HEADER = "c2sp.org/tlog-proof@v1"
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})")
_MAX_HASHES = 63
"""In a proof about a tree of fewer than 2^63 leaves."""


class InvalidProof(InvalidNote):
    """A proof or a receipt does not show what it is said to show."""


@dataclass(frozen=True, slots=True)
class Proof:
    """That a leaf stands at `index` of the tree that `checkpoint`, a signed note, is over."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: str

    def text(self) -> str:
        """Return the proof as a `.tlog-proof` file holds it."""
        return "\n".join([HEADER, f"index {self.index}", *map(b64, self.hashes), "", self.checkpoint])

    @classmethod
    def parse(cls, text: str) -> "Proof":
        """Read a `.tlog-proof`. Its `extra` line is passed over: nobody has signed it.

        Raises:
            InvalidProof: it breaks the format.
        """
        if len(text) > 2 * MAX_NOTE_BYTES:
            raise InvalidProof("the proof is far longer than any proof is")
        head, _, checkpoint = text.partition("\n\n")
        lines = head.split("\n")
        if lines.pop(0) != HEADER or not checkpoint:
            raise InvalidProof(f"it does not start with the line {HEADER}, or holds no checkpoint")
        if lines and lines[0].startswith("extra "):
            lines.pop(0)
        found = _INDEX.fullmatch(lines.pop(0) if lines else "")
        if found is None or len(lines) > _MAX_HASHES:
            raise InvalidProof("there is no line `index N` before at most 63 hashes")
        try:
            hashes = tuple(unb64(line, "a hash of the proof") for line in lines)
        except InvalidNote as error:
            raise InvalidProof(str(error)) from error
        if any(len(one) != HASH_BYTES for one in hashes):
            raise InvalidProof(f"a hash of the proof has not {HASH_BYTES} bytes")
        return cls(int(found[1]), hashes, checkpoint)

    def check(self, leaf_hash: bytes, verifiers: Sequence[NoteVerifier]) -> Checkpoint:
        """Return the checkpoint that the leaf is proved to be under.

        Raises:
            InvalidProof: the proof does not lead from this leaf to the checkpoint's root.
            InvalidNote: the checkpoint is not to be believed.
        """
        checkpoint = open_checkpoint(self.checkpoint, verifiers)
        if not check_inclusion(leaf_hash, self.index, checkpoint.size, self.hashes, checkpoint.root):
            raise InvalidProof(
                f"it does not lead from this leaf, at index {self.index}, to the root of {checkpoint.size} records"
            )
        return checkpoint


@dataclass(frozen=True, slots=True)
class GivenReceipt:
    """A receipt as a client kept it: the value of `mcpgw/receipt`."""

    log: str
    index: int
    leaf_hash: bytes
    checkpoint: str

    @classmethod
    def parse(cls, text: str) -> "GivenReceipt":
        """Read a receipt, or any object that holds one under `mcpgw/receipt`, at the top or in `_meta`.

        Raises:
            InvalidProof: it is none.
        """
        try:
            found = json.loads(text)
            found = found.get("_meta", found)
            found = found.get("mcpgw/receipt", found)
            log, index, leaf, note = (found[name] for name in ("log", "index", "leaf_hash", "checkpoint"))
            receipt = cls(str(log), int(index), bytes.fromhex(leaf), str(note))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InvalidProof("it is neither a `.tlog-proof` nor a receipt") from error
        if len(receipt.leaf_hash) != HASH_BYTES:
            raise InvalidProof(f"its leaf hash has not {HASH_BYTES} bytes")
        return receipt

    def check(self, verifiers: Sequence[NoteVerifier]) -> Checkpoint:
        """Return the checkpoint that the log signed over a tree that it says holds the record.

        Raises:
            InvalidProof: the receipt contradicts its own checkpoint.
            InvalidNote: the checkpoint is not to be believed.
        """
        checkpoint = open_checkpoint(self.checkpoint, verifiers)
        if checkpoint.origin != self.log:
            raise InvalidProof(f"it is of the log {self.log}, and its checkpoint of {checkpoint.origin}")
        if not 0 <= self.index < checkpoint.size or (checkpoint.size == 1 and checkpoint.root != self.leaf_hash):
            raise InvalidProof(f"its record {self.index} is none of the {checkpoint.size} that its checkpoint covers")
        return checkpoint


def prove(store: Reading, record: StoredRecord, verifiers: Sequence[NoteVerifier]) -> Proof:
    """Return the proof that the record is in the newest checkpoint's tree. It was checked: the store was not believed.

    Raises:
        LedgerUnavailable: the log has no such proof to give, because it was damaged or altered.
    """
    for newest in store.newest_checkpoint():
        try:
            proof = Proof(record.seq, _path(store, record.seq, newest), newest.note)
            proof.check(record.hash, verifiers)
        except (InvalidNote, ValueError) as error:
            raise LedgerUnavailable(f"record {record.seq} cannot be proved: {error}", hint="Run `mcpgw verify`.") from error
        return proof
    raise LedgerUnavailable("the log has no checkpoint yet: nothing was recorded")


def _path(store: Reading, seq: int, newest: StoredCheckpoint) -> tuple[bytes, ...]:
    return tuple(inclusion_proof(subtrees_of(store, newest.size), seq, newest.size))
