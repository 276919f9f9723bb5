"""Checking a package: that nothing in it was altered, and that nothing of what was asked for is missing. Pure.

    (1) the zip file, the manifest, and its signature by a key that is believed
    (2) every file against the manifest
    (3) the checkpoint's signature; the records, leaf hashes and nodes against its root
    (4) the payloads against what the records commit to
    (5) what the package says of itself against its records
    (6) what the records say of how many there are: sessions, summaries, votes, changes
    (7) checkpoints that were kept elsewhere

Where (1) fails nothing of the rest means anything, and where the root in (3) is wrong nothing of (4) to (7). A record whose
hash is wrong is named and then left out. `verify.py` and `verify.html` do the same in the same words, and share no code with
this: a test compares the three.
"""

import contextlib
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from mcpgw.core.canonical import commitment
from mcpgw.ledger.checkpoint import Checkpoint, InvalidNote, Verifier, open_checkpoint, signatures_of, unb64
from mcpgw.ledger.completeness import Line, summed
from mcpgw.ledger.evidence import (
    CHECKPOINT,
    FACTS_BEGIN,
    FACTS_END,
    FORMAT,
    KEYS,
    LEAVES,
    MANIFEST,
    NODES,
    PAYLOADS,
    README,
    RECORDS,
    SEALED,
    SIGNATURE,
)
from mcpgw.ledger.evidence.archive import NotAPackage, unpack
from mcpgw.ledger.evidence.export import NOBODY_KEEPS, counted, hashes_named, manifest_text
from mcpgw.ledger.evidence.lines import canonical_object, objects, whole_number
from mcpgw.ledger.evidence.multiproof import root
from mcpgw.ledger.evidence.readme import embedded
from mcpgw.ledger.evidence.sense import Facts, Problem, approvals, callers, changes, erased, sessions
from mcpgw.ledger.keys import parse_line, public_line
from mcpgw.ledger.record import Members
from mcpgw.ledger.tree import HASH_BYTES, check_consistency, leaf_hash
from mcpgw.ledger.vault import SUFFIX

_UNSEEN = re.compile(r"[^\n -~]")
"""What has no place in a file of keys, and could be read in two ways there."""
_MOST_NAMED = 20
"""Erased raw payloads that one sentence names; the rest it counts."""


@dataclass(slots=True)
class Findings:
    """What was found in a package, what was believed in finding it, and what nobody can conclude from it."""

    log: str = ""
    records: int = 0
    size: int = 0
    problems: list[Problem] = field(default_factory=list)
    believed: list[str] = field(default_factory=list)
    unestablished: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.problems

    @property
    def verdict(self) -> str:
        return "sound" if self.ok else "unsound"


class _Stop(Exception):
    """Nothing after this means anything."""


def check(data: bytes, *, keys: str = "", against: Sequence[str] = ()) -> Findings:
    """Return what there is to say of a package. Whatever is wrong with it is in the findings, not raised.

    `keys` is the text of a file of public keys; without, those in the package are believed, and the findings say so.
    `against` are signed checkpoints that were kept elsewhere.
    """
    findings = Findings()
    with contextlib.suppress(_Stop):
        _Examination(data, keys, against, findings).run()
    findings.problems = sorted(set(findings.problems))
    return findings


class _Examination:
    def __init__(self, data: bytes, keys: str, against: Sequence[str], findings: Findings) -> None:
        self._given_keys = keys
        self._against = against
        self._findings = findings
        try:
            self._files = unpack(data)
        except NotAPackage as error:
            self._stop("package", error.where)
        self._facts: Facts = {}
        self._described: Mapping[str, Any] = {}
        self._verifiers: tuple[Verifier, ...] = ()
        self._checkpoint = Checkpoint("", 0, b"")
        self._records: dict[int, Members] = {}
        self._payloads: dict[tuple[int, str], bytes] = {}

    def run(self) -> None:
        self._manifest()
        self._compare_files()
        self._open_checkpoint()
        self._read_records()
        self._read_payloads()
        self._index()
        for check in (sessions, callers, approvals, changes):
            self._findings.problems += check(self._facts, self._records)
        covered = self._summaries()
        self._anchors()
        self._findings.unestablished += unestablished(self._facts, self._records, self._payloads, covered)

    def _stop(self, kind: str, where: str) -> NoReturn:
        self._problem(kind, where)
        raise _Stop

    def _problem(self, kind: str, where: str) -> None:
        self._findings.problems.append((kind, where))

    def _body(self, name: str) -> bytes:
        return self._files.get(name, b"")

    # (1)

    def _manifest(self) -> None:
        manifest = canonical_object(self._body(MANIFEST).removesuffix(b"\n"))
        if manifest is None or manifest.keys() != {"facts", "files"} or not isinstance(manifest["facts"], dict):
            self._stop("manifest", MANIFEST)
        if manifest["facts"].get("format") != FORMAT:
            self._stop("manifest", MANIFEST)
        self._facts, self._described = manifest["facts"], manifest["files"]
        self._keys()
        try:
            self._signed_by_ours()
        except (InvalidNote, UnicodeDecodeError):
            self._stop("manifest", SIGNATURE)
        self._findings.log, self._findings.size = self._facts["log"], self._facts["size"]

    def _keys(self) -> None:
        try:
            text = self._given_keys or self._body(KEYS).decode("ascii")
            lines = [parse_line(line) for line in text.split("\n") if line.strip(" ")]
        except (InvalidNote, UnicodeDecodeError):
            text, lines = "", []
        if _UNSEEN.search(text):
            lines = []
        self._verifiers = tuple(one for one in lines if isinstance(one, Verifier) and one.name == self._facts.get("log"))
        if not self._verifiers:
            self._stop("keys", KEYS)
        whose = "given" if self._given_keys else "from the package"
        self._findings.believed += [f"key {public_line(one)}, {whose}" for one in self._verifiers]
        if not self._given_keys:
            self._findings.unestablished.append(
                "that the keys are the log's own: they came with the package; compare keys/ledger.pub with another copy"
            )

    def _signed_by_ours(self) -> None:
        """Any key that the log ever had may have signed a manifest: packages are made long after what they show."""
        text, signatures = signatures_of(self._body(SIGNATURE).decode())
        ours = {(one.name, one.key_id): Verifier(one.name, one.key) for one in self._verifiers}
        known = [one for one in signatures if (one.name, one.key_id) in ours]
        right = [ours[one.name, one.key_id].verifies(text, one.value) for one in known]
        if text != manifest_text(self._facts["log"], self._body(MANIFEST)) or not right or not all(right):
            raise InvalidNote("nobody who is believed signed this manifest")

    # (2)

    def _compare_files(self) -> None:
        for name, told in self._described.items():
            body = self._files.get(name)
            if body is None:
                self._problem("missing", name)
            elif {"sha256": hashlib.sha256(body).hexdigest(), "size": len(body)} != told:
                self._problem("altered", name)
        for name in self._files.keys() - self._described.keys() - {MANIFEST, SIGNATURE}:
            self._problem("foreign", name)

    # (3)

    def _open_checkpoint(self) -> None:
        facts = self._facts
        try:
            self._checkpoint = open_checkpoint(self._body(CHECKPOINT).decode(), self._verifiers)
        except (InvalidNote, UnicodeDecodeError):
            self._stop("checkpoint", CHECKPOINT)
        found = self._checkpoint
        if (found.origin, found.size, found.root.hex()) != (facts["log"], facts["size"], facts["root"]):
            self._stop("checkpoint", CHECKPOINT)

    def _read_records(self) -> None:
        start, end = self._facts["start"], self._facts["end"]
        hashes = self._body(LEAVES)
        if len(hashes) != HASH_BYTES * (end - start):
            self._stop("leaves", LEAVES)
        leaves = {start + at: hashes[at * HASH_BYTES : (at + 1) * HASH_BYTES] for at in range(end - start)}
        last = -1
        for line, leaf, members in objects(self._body(RECORDS)):
            seq = whole_number(members.get("seq")) if members else -1
            if members is None or not last < seq < self._checkpoint.size:
                self._problem("record", f"line {line}")
                continue
            last = seq
            if leaves.setdefault(seq, leaf_hash(leaf)) == leaf_hash(leaf):
                self._records[seq] = members
            else:
                self._problem("altered", f"record {seq}")
        given = self._body(NODES)
        nodes = [given[at : at + HASH_BYTES] for at in range(0, len(given), HASH_BYTES)]
        try:
            is_right = not len(given) % HASH_BYTES and root(leaves, nodes, self._checkpoint.size) == self._checkpoint.root
        except ValueError:
            is_right = False
        if not is_right:
            self._stop("root", CHECKPOINT)
        self._findings.records = len(self._records)

    # (4)

    def _read_payloads(self) -> None:
        sealed = {name for name in self._files if name.startswith(SEALED)}
        for line, _, told in objects(self._body(PAYLOADS)):
            if told is None or not _is_payload(told):
                self._problem("payload", f"line {line}")
                continue
            where = told["seq"], told["slot"]
            body = told["body"].encode() if "body" in told else self._body(told["file"])
            committed = self._records.get(told["seq"], {}).get("payloads", {}).get(told["slot"])
            digest = commitment(bytes.fromhex(told["salt"]), body)
            if where in self._payloads or committed is None or (digest, len(body)) != (committed["sha256"], committed["size"]):
                self._problem("payload", f"record {where[0]} {where[1]}")
            else:
                self._payloads[where] = body
                sealed.discard(told.get("file", ""))
        for name in sealed:
            self._problem("payload", name)
        missing = {
            (seq, slot)
            for seq, members in self._records.items()
            for slot in members.get("payloads", {}).keys() - NOBODY_KEEPS
            if (seq, slot) not in self._payloads
        }
        for seq, slot in missing ^ {(seq, slot) for seq, slot in self._facts["absent"]}:
            self._problem("payload", f"record {seq} {slot}")

    # (5)

    def _index(self) -> None:
        facts = self._facts
        texts = {
            one["facts"]["after"]: name
            for seq, one in self._records.items()
            for name in self._described
            if name.endswith(f"/{seq}.json") and (seq, "standing") in self._payloads
        }
        anchors = sum(name.endswith(".checkpoint") for name in self._files)
        raw = sum(slot.endswith(SUFFIX) for _, slot in self._payloads)
        found = (len(self._records), counted(self._records.values()), len(self._payloads), raw, texts, anchors)
        told = (facts["records"], facts["kinds"], facts["payloads"], facts.get("raw", 0), facts["texts"], facts["anchors"])
        if found != told:
            self._problem("index", MANIFEST)
        parts = self._body(README).decode(errors="replace").split(FACTS_BEGIN)
        if len(parts) != 2 or parts[1].split(FACTS_END)[0] != embedded(facts):
            self._problem("index", README)

    # (6)

    def _summaries(self) -> list[tuple[int, int]]:
        """Compare what daily summaries count of the callers with their records; return which ranges are covered."""
        pages: dict[tuple[int, int], dict[int, tuple[int, Members]]] = {}
        for seq, one in self._records.items():
            if one["kind"] == "summary.daily":
                told = one["facts"]
                pages.setdefault((told["from"], told["to"]), {})[told["page"]] = (seq, told)
        covered = []
        for (start, end), found in sorted(pages.items()):
            within = self._facts["start"] <= start and end <= self._facts["end"]
            whole = [*sorted(found)] == [*range(1, next(iter(found.values()))[1]["pages"] + 1)]
            salt = next((salt for _, (seq, _) in sorted(found.items()) if (salt := self._salt(seq))), "")
            if not (within and whole and salt and self._facts["identities"]):
                continue
            covered.append((start, end))
            lines = [line for _, told in found.values() for line in told["counts"]]
            for identity in self._facts["identities"]:
                pseudonym = hashlib.sha256(bytes.fromhex(salt) + identity.encode()).hexdigest()
                told_of = Counter[Line]()
                for who, server, kind, result, number in lines:
                    if len(who) >= 16 and pseudonym.startswith(who):
                        told_of[server, kind, result] += number
                if told_of != self._tally(identity, start, end):
                    self._problem("summary", f"records {start} to {end - 1}")
        return covered

    def _salt(self, seq: int) -> str:
        """Return the salt (hex) of a summary's pseudonyms, if the package tells it."""
        if (seq, "salt") in self._payloads:
            return str(json.loads(self._payloads[seq, "salt"]))
        names = self._payloads.get((seq, "identities"))
        return str(json.loads(names)["salt"]) if names else ""

    def _tally(self, identity: str, start: int, end: int) -> Counter[Line]:
        found = Counter[Line]()
        for seq, one in self._records.items():
            if start <= seq < end:
                for who, line, number in summed(one):
                    if who == identity:
                        found[line] += number
        return found

    # (7)

    def _anchors(self) -> None:
        mine = self._checkpoint
        met: dict[int, bytes] = {mine.size: mine.root}
        for name in sorted(name for name in self._files if name.startswith("anchors/") and name.endswith(".checkpoint")):
            try:
                anchor = open_checkpoint(self._files[name].decode(), self._verifiers)
                lines = self._body(f"{name.removesuffix('.checkpoint')}.consistency").decode().split("\n")
                proof = [unb64(line, "a hash") for line in lines[:-1]]
            except (InvalidNote, UnicodeDecodeError):
                self._problem("anchor", name)
                continue
            small, large = sorted((mine, anchor), key=lambda one: one.size)
            if anchor.origin != mine.origin or not check_consistency(small.size, large.size, proof, small.root, large.root):
                self._problem("anchor", name)
                continue
            met[anchor.size] = anchor.root
            self._findings.believed.append(f"checkpoint over {anchor.size} records, from the package")
        compared = 0
        for number, note in enumerate(self._against, start=1):
            try:
                anchor = open_checkpoint(note, self._verifiers)
            except InvalidNote:
                self._problem("anchor", f"given {number}")
                continue
            if anchor.size not in met:
                self._findings.unestablished.append(
                    f"whether the log continues the checkpoint over {anchor.size} records that was given: the package has no "
                    "proof of it; ask for one with --anchor"
                )
                continue
            if (anchor.origin, anchor.root) != (mine.origin, met[anchor.size]):
                self._problem("anchor", f"given {number}")
                continue
            compared += 1
            self._findings.believed.append(f"checkpoint over {anchor.size} records, given")
        if not compared:
            self._findings.unestablished.append(
                "that the log was not written anew with its key: no checkpoint that was kept elsewhere was compared"
            )


def unestablished(
    facts: Facts, records: Mapping[int, Members], payloads: Mapping[tuple[int, str], bytes], covered: Sequence[tuple[int, int]]
) -> Iterator[str]:
    """Yield what nobody can conclude from a package in which nothing is wrong."""
    start, end = facts["start"], facts["end"]
    tiled = start
    for first, last in covered:
        tiled = last if first == tiled else tiled
    if facts["by_caller"] and facts["query"]["who"] and not facts["identities"]:
        yield f"that {facts['query']['who']} made no calls: no record of theirs is in the range"
    if not facts["whole"] and not facts["by_caller"]:
        yield "that no record was left out: sessions and summaries count callers, and the query asks for less"
    if facts["identities"] and tiled < end:
        yield f"that no session of the callers was left out from record {tiled} on: no daily summary in the package covers it"
    if tiled < end or start == end:
        yield f"that records {start} to {end - 1} are those of the time that was asked for"
    closed = {one["session"]["id"] for one in records.values() if one["kind"] == "session.closed"}
    if still_open := len([one for one in facts["sessions"] if one not in closed]):
        yield f"that sessions are whole at their ends which nothing closed: {still_open}"
    for seq, gone in erased(facts, records).items():
        if gone:
            who = f"that record {seq} says were erased" if seq >= 0 else "that were withheld, or are gone without a record here"
            yield f"what payloads said {who}: {len(gone)}{_raw_named(facts, gone)}"
    if unknown := len(hashes_named(records.values()) - facts["texts"].keys()):
        yield f"what policies said that the package has the hashes of alone: {unknown}"
    yield "that the gateway wrote down what it did, and that its clocks were right"


def _raw_named(facts: Facts, gone: Iterable[tuple[int, str]]) -> str:
    """Name the raw payloads among those, where raw payloads were asked for."""
    raw = sorted((seq, slot) for seq, slot in gone if slot.endswith(SUFFIX) and facts["query"].get("raw"))
    names = [f"record {seq} {slot.removesuffix(SUFFIX)}" for seq, slot in raw[:_MOST_NAMED]]
    more = [f"{len(raw) - _MOST_NAMED} more"] if len(raw) > _MOST_NAMED else []
    return f"; raw: {', '.join(names + more)}" if raw else ""


def _is_payload(told: Mapping[str, Any]) -> bool:
    known = told.keys() in ({"seq", "slot", "salt", "body"}, {"seq", "slot", "salt", "file"})
    if not known or whole_number(told["seq"]) < 0 or not all(isinstance(told[name], str) for name in told.keys() - {"seq"}):
        return False
    return len(told["salt"]) == 2 * HASH_BYTES and set(told["salt"]) <= set("0123456789abcdef")
