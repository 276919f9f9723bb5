"""Writing a package: what was collected, the proof of it, what was in force, and the verifiers."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mcpgw.core.errors import LedgerUnavailable
from mcpgw.ledger.checkpoint import Checkpoint, InvalidNote, NoteVerifier, Signer, b64, open_checkpoint
from mcpgw.ledger.evidence import (
    CHECKPOINT,
    FOLDERS,
    FORMAT,
    KEYS,
    LEAVES,
    MANIFEST,
    MAPPING,
    NODES,
    PAYLOADS,
    README,
    RECORDS,
    SIGNATURE,
    VERIFIERS,
    sealed_name,
)
from mcpgw.ledger.evidence import mapping as controls
from mcpgw.ledger.evidence.archive import pack
from mcpgw.ledger.evidence.collect import Asked, Found, collect
from mcpgw.ledger.evidence.lines import canonical
from mcpgw.ledger.evidence.multiproof import nodes, root
from mcpgw.ledger.evidence.readme import Story, page
from mcpgw.ledger.record import Members, unpack
from mcpgw.ledger.store import Reading, StoredPayload
from mcpgw.ledger.stored_tree import subtrees_of
from mcpgw.ledger.tree import Subtrees, consistency_proof, leaf_hash
from mcpgw.ledger.vault import SUFFIX

NOBODY_KEEPS = frozenset({"arguments.raw", "result.raw"})
"""Payloads that are committed to and stand in no store."""

Files = dict[str, bytes]
Data = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Purpose:
    """Who asks for a package, and why: part of what is signed."""

    requester: str
    reason: str
    gateway: str
    """Version of the software that wrote it."""


@dataclass(frozen=True, slots=True)
class Package:
    data: bytes
    facts: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the zip file."""
        return hashlib.sha256(self.data).hexdigest()


def export(
    store: Reading,
    asked: Asked,
    purpose: Purpose,
    *,
    signer: Signer,
    verifiers: Sequence[NoteVerifier],
    public: str,
    anchors: Sequence[str] = (),
) -> Package:
    """Return the package of what is asked for. To be used inside a `snapshot` of the store.

    `public` is the text of the log's file of public keys; `anchors` are checkpoints that were kept elsewhere, as notes.

    Raises:
        LedgerUnavailable: the log cannot be read, or does not prove what it holds. Nothing is given away then.
        InvalidNote: one of the anchors is not one that the verifiers signed, or not one that this log continues.
    """
    found = collect(store, asked)
    try:
        checkpoint = open_checkpoint(found.head.note, verifiers)
    except InvalidNote as error:
        raise LedgerUnavailable(f"the checkpoint cannot be believed: {error}", hint="Run `mcpgw verify`.") from error
    files: Files = {
        CHECKPOINT: found.head.note.encode(),
        KEYS: public.encode(),
        MAPPING: canonical(controls.as_data()) + b"\n",
        RECORDS: b"".join(record.leaf + b"\n" for record, _ in found.records.values()),
        **_proof(store, found, checkpoint),
        **_anchors(store, checkpoint, anchors, verifiers),
        **{name: Path(__file__).with_name(name).read_bytes() for name in VERIFIERS},
    }
    shown, texts = _payloads(found, files)
    facts = _facts(found, asked, purpose, checkpoint, shown, texts, anchors)
    members = {seq: members for seq, (_, members) in found.records.items()}
    files[README] = page(facts, Story(members, shown), controls.as_data()).encode()
    files[MANIFEST] = canonical({"facts": facts, "files": {name: _described(files[name]) for name in sorted(files)}}) + b"\n"
    files[SIGNATURE] = signer.sign(manifest_text(checkpoint.origin, files[MANIFEST])).encode()
    return Package(pack(files), facts)


def manifest_text(origin: str, manifest: bytes) -> str:
    """Return the text that is signed for a manifest. Its second line is no number, so it is never a checkpoint."""
    return f"{origin}/evidence\n{MANIFEST} {hashlib.sha256(manifest).hexdigest()}\n"


def counted(members: Iterable[Members]) -> dict[str, int]:
    """Return how many records there are of each kind."""
    return dict(sorted(Counter(str(one["kind"]) for one in members).items()))


def hashes_named(members: Iterable[Members]) -> set[str]:
    """Return the hashes of policies that calls were judged by."""
    return {policy for one in members if (policy := one.get("decision", {}).get("policy", ""))}


def _facts(
    found: Found,
    asked: Asked,
    purpose: Purpose,
    checkpoint: Checkpoint,
    shown: Mapping[tuple[int, str], bytes],
    texts: Mapping[str, str],
    anchors: Sequence[str],
) -> Data:
    members = [one for _, one in found.records.values()]
    query = {**asdict(asked), "since_ns": str(asked.since_ns), "until_ns": str(asked.until_ns)}
    return {
        "format": FORMAT,
        **asdict(purpose),
        "log": checkpoint.origin,
        "size": checkpoint.size,
        "root": checkpoint.root.hex(),
        "start": found.start,
        "end": found.end,
        "query": query,
        "identities": list(found.identities),
        "sessions": list(found.sessions),
        "whole": asked.is_all,
        "by_caller": asked.is_by_caller,
        "records": len(members),
        "kinds": counted(members),
        "payloads": len(shown),
        "raw": sum(slot.endswith(SUFFIX) for _, slot in shown),
        "absent": [[seq, slot] for seq, slot in absent(found.records, shown)],
        "texts": dict(sorted(texts.items())),
        "anchors": len(anchors),
    }


def absent(records: Mapping[int, tuple[object, Members]], shown: Mapping[tuple[int, str], bytes]) -> Iterator[tuple[int, str]]:
    """Yield the payloads that records commit to and that are not there, but for those that nobody keeps."""
    for seq, (_, members) in records.items():
        for slot in sorted(members.get("payloads", {}).keys() - NOBODY_KEEPS):
            if (seq, slot) not in shown:
                yield seq, slot


def _payloads(found: Found, files: Files) -> tuple[dict[tuple[int, str], bytes], dict[str, str]]:
    """Add the payloads to the files; return them, and where the text of what was in force stands, by its hash."""
    shown: dict[tuple[int, str], bytes] = {}
    texts: dict[str, str] = {}
    lines: list[bytes] = []
    for payload in found.payloads:
        body = unpack(payload.packed)
        shown[payload.seq, payload.slot] = body
        text = _text_of(payload, found.records[payload.seq][1])
        place = text or (sealed_name(payload.seq, payload.slot) if payload.slot.endswith(SUFFIX) else "")
        if place:
            files[place] = body
        if text:
            texts[found.records[payload.seq][1]["facts"]["after"]] = text
        told = {"file": place} if place else {"body": body.decode()}
        lines.append(canonical({"seq": payload.seq, "slot": payload.slot, "salt": payload.salt.hex(), **told}) + b"\n")
    files[PAYLOADS] = b"".join(lines)
    return shown, texts


def _text_of(payload: StoredPayload, members: Members) -> str:
    folder = FOLDERS.get(members.get("facts", {}).get("aspect", "")) if payload.slot == "standing" else None
    return f"{folder}/{payload.seq}.json" if folder else ""


def _proof(store: Reading, found: Found, checkpoint: Checkpoint) -> Files:
    """Return the hashes that lead to the signed root. They were checked: the store was not believed."""
    subtrees = subtrees_of(store, checkpoint.size)
    range_hashes = _leaf_hashes(store, found.start, found.end)
    known = found.known
    given = [*nodes(subtrees, known, checkpoint.size)]
    leaves = dict(zip(range(found.start, found.end), range_hashes, strict=True))
    for seq, (record, _) in found.records.items():
        if leaves.setdefault(seq, leaf_hash(record.leaf)) != leaf_hash(record.leaf):
            raise LedgerUnavailable(f"record {seq} was altered, and is not given away", hint="Run `mcpgw verify`.")
    if root(leaves, given, checkpoint.size) != checkpoint.root:
        raise LedgerUnavailable("the records do not add up to what was signed", hint="Run `mcpgw verify`: it says where.")
    return {LEAVES: b"".join(range_hashes), NODES: b"".join(given)}


def _leaf_hashes(store: Reading, start: int, end: int) -> Sequence[bytes]:
    hashes = store.leaf_hashes(start, end) if start < end else []
    if len(hashes) != end - start:
        raise LedgerUnavailable(f"records between {start} and {end} are missing", hint="Run `mcpgw verify`: it says which.")
    return hashes


def _anchors(store: Reading, checkpoint: Checkpoint, notes: Sequence[str], verifiers: Sequence[NoteVerifier]) -> Files:
    files: Files = {}
    for note in notes:
        anchor = open_checkpoint(note, verifiers)
        first, second = sorted((anchor.size, checkpoint.size))
        newest = max((one.size for one in store.newest_checkpoint()), default=0)
        if anchor.origin != checkpoint.origin or second > newest:
            raise InvalidNote(f"the log has {newest} records, and does not continue the checkpoint over {anchor.size}")
        subtrees: Subtrees = subtrees_of(store, second)
        proof = consistency_proof(subtrees, first, second)
        name = f"anchors/{anchor.size:020}"
        files[f"{name}.checkpoint"] = note.encode()
        files[f"{name}.consistency"] = "".join(f"{b64(one)}\n" for one in proof).encode()
    return files


def _described(body: bytes) -> Data:
    return {"sha256": hashlib.sha256(body).hexdigest(), "size": len(body)}
