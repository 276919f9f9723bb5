#!/usr/bin/env python3
"""Checks an evidence package of mcpgw without mcpgw: Python 3.9 or newer and its standard library, no network.

    python3 verify.py PACKAGE.zip [--keys ledger.pub] [--against kept.checkpoint]... [--json]

Exit code 0: SOUND, everything fits. 1: UNSOUND, and what does not fit, and where. 2: the package or an argument cannot be read.

It says which keys and which checkpoints it believed, and what nobody can conclude from the package. Keys that came with the
package prove that it was not altered since its writer signed it, but not who that was: get `ledger.pub` from somebody else.

What is checked, in this order, is described in README.html of the package and in the project's docs/examiners.md. Sources: RFC
8032 (Ed25519), RFC 9162 (Merkle tree), C2SP signed-note and tlog-checkpoint (what is signed), APPNOTE 6.3.10 (zip).
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import struct
import sys
import zlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

FORMAT = "mcpgw-evidence/1"
HASH = 32
"""Bytes of a SHA-256 hash."""
LIMIT = 2**63
"""More records than any log has."""
NOBODY_KEEPS = {"arguments.raw", "result.raw"}
"""Payloads that records commit to and that stand nowhere."""
SEALED, SUFFIX, MOST_NAMED = "payloads/", ".sealed", 20
"""Where age files of raw payloads stand, how their slots end, and how many erased ones a sentence names."""
COUNTS = ("records", "permitted", "held", "refused", "replayed")
FACTS_BEGIN, FACTS_END = '<script type="application/json" id="facts">', "</script>"

Record = dict[str, Any]
"""A leaf of the log, parsed."""


# --- Ed25519, verification alone (RFC 8032, section 5.1) -------------------------------------------------------------------

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)

Point = tuple[int, int, int, int]
"""Extended homogeneous coordinates X, Y, Z, T (section 5.1.4)."""


def plus(one: Point, two: Point) -> Point:
    a, b = (one[1] - one[0]) * (two[1] - two[0]) % P, (one[1] + one[0]) * (two[1] + two[0]) % P
    c, d = 2 * one[3] * two[3] * D % P, 2 * one[2] * two[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def times(number: int, point: Point) -> Point:
    result = (0, 1, 1, 0)
    while number:
        if number & 1:
            result = plus(result, point)
        point = plus(point, point)
        number >>= 1
    return result


def decompressed(data: bytes) -> Point | None:
    """Return the point of that encoding (section 5.1.3); None where it has none, or a point has another one."""
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (2**255 - 1)
    if len(data) != 32 or y >= P:
        return None
    u, v = (y * y - 1) % P, (D * y * y + 1) % P
    x = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    if v * x * x % P != u:
        x = x * SQRT_M1 % P
    if v * x * x % P != u or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = P - x
    return (x, y, 1, x * y % P)


def compressed(point: Point) -> bytes:
    inverse = pow(point[2], P - 2, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


BASE = decompressed((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


EIGHTH = 2707385501144840649318225287225658788936804267575313519463743609750303402022
EVERYBODYS = {0, 1, P - 1, P, P + 1, EIGHTH, P - EIGHTH}
"""The Y of all encodings of points of small order: with such a key anybody can sign."""


def signed(key: bytes, message: bytes, signature: bytes) -> bool:
    """Tell whether the signature is right (section 5.1.7, without the cofactor). S is below the order, so it has one form."""
    point, s = decompressed(key), int.from_bytes(signature[32:], "little")
    if len(signature) != 64 or point is None or BASE is None or s >= ORDER:
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % ORDER
    minus = (P - point[0], point[1], point[2], P - point[3])
    return compressed(plus(times(s, BASE), times(h, minus))) == signature[:32]


# --- keys, notes and checkpoints (C2SP) ------------------------------------------------------------------------------------


class Wrong(Exception):
    """A key, a note or a checkpoint is not what it has to be."""


class Key(NamedTuple):
    name: str
    key_id: bytes
    public: bytes
    line: str
    first: int
    last: int
    """It is believed for checkpoints over `first` to `last` records."""

    @property
    def is_bounded(self) -> bool:
        return (self.first, self.last) != (0, LIMIT - 1)


class Signature(NamedTuple):
    name: str
    key_id: bytes
    value: bytes


class Tree(NamedTuple):
    """What a checkpoint says."""

    origin: str
    size: int
    root: bytes


def decoded(text: str) -> bytes:
    """Decode base64 that is not empty and has one spelling only."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except ValueError as error:
        raise Wrong("no base64") from error
    if not data or base64.b64encode(data).decode() != text:
        raise Wrong("no base64")
    return data


KEY_LINE = re.compile(r"([!-~]+)( from=([1-9][0-9]{0,17}))?( until=([1-9][0-9]{0,17}))?")


def key_of(line: str) -> Key | None:
    """Return the Ed25519 key of a line of `ledger.pub`; None for an ML-DSA-44 key, which is not used here."""
    found = KEY_LINE.fullmatch(line)
    name, _, rest = (found.group(1) if found else "").partition("+")
    key_id, _, encoded = rest.partition("+")
    public = decoded(encoded)
    kind = {(1, 33): "Ed25519", (6, 1313): "ML-DSA-44"}.get((public[0], len(public)))
    if found is None or not name or kind is None:
        raise Wrong("no key")
    if hashlib.sha256(name.encode() + b"\n" + public).digest()[:4].hex() != key_id:
        raise Wrong("the key has another hash")
    first, last = int(found.group(3) or 0), int(found.group(5) or LIMIT - 1)
    is_everybodys = kind == "Ed25519" and int.from_bytes(public[1:], "little") & (2**255 - 1) in EVERYBODYS
    if first > last or is_everybodys:
        raise Wrong("a key that nothing may be signed with")
    return Key(name, bytes.fromhex(key_id), public[1:], line, first, last) if kind == "Ed25519" else None


def keys_of(data: bytes, name: str) -> list[Key]:
    """Return the keys of that log in a file of public keys; none where one line of it is no key."""
    if re.search(rb"[^\n -~]", data):
        return []
    lines = [line.strip(" ") for line in data.decode("ascii").split("\n")]
    try:
        found = [key_of(line) for line in lines if line]
    except Wrong:
        return []
    return [key for key in found if key is not None and key.name == name]


def split_note(data: bytes) -> tuple[str, list[Signature]]:
    """Return the text of a signed note and its signatures, none of them verified."""
    try:
        note = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Wrong("no text") from error
    head, blank, tail = note.rpartition("\n\n")
    lines = tail.split("\n")
    if re.search(r"[\x00-\x09\x0b-\x1f]", note) or not blank or lines.pop() or not 0 < len(lines) <= 100 or len(note) > 10**6:
        raise Wrong("no note")
    return head + "\n", [signature_of(line) for line in lines]


SPACE_OR_PLUS = re.compile("[\x00-\x20\x7f-\xa0+\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]")


def signature_of(line: str) -> Signature:
    name, space, encoded = line[2:].partition(" ")
    if not line.startswith("\u2014 ") or not space or not name or SPACE_OR_PLUS.search(name):
        raise Wrong("no signature line")
    value = decoded(encoded)
    if len(value) < 5:
        raise Wrong("a signature is too short")
    return Signature(name, value[:4], value[4:])


def opened(data: bytes, keys: list[Key]) -> Tree:
    """Return the checkpoint of a note that a known key signed, and none of them wrongly or out of its time."""
    text, signatures = split_note(data)
    known = {(key.name, key.key_id): key for key in keys}
    ours = [(known[one.name, one.key_id], one) for one in signatures if (one.name, one.key_id) in known]
    for key, one in ours:
        if key.is_bounded and not key.first <= tree_of(text).size <= key.last:
            raise Wrong("the key was not in use")
        if not signed(key.public, text.encode(), one.value):
            raise Wrong("the signature is wrong")
    if not ours:
        raise Wrong("nobody who is believed signed it")
    return tree_of(text)


def tree_of(text: str) -> Tree:
    *lines, last = text.split("\n")
    if last or len(lines) < 3 or not all(lines) or not re.fullmatch("0|[1-9][0-9]{0,18}", lines[1]):
        raise Wrong("no checkpoint")
    root = decoded(lines[2])
    if len(root) != HASH:
        raise Wrong("no root")
    return Tree(lines[0], int(lines[1]), root)


# --- the tree (RFC 9162, section 2.1) --------------------------------------------------------------------------------------


def leaf_hash(leaf: bytes) -> bytes:
    return hashlib.sha256(b"\0" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def root_of(leaves: dict[int, bytes], given: list[bytes], size: int) -> bytes | None:
    """Return the root that known leaf hashes lead to, with one given hash for each subtree without any, from the left."""
    known, rest = sorted(leaves), iter(given)

    def hashed(start: int, end: int, low: int, high: int) -> bytes:
        if low == high:
            return next(rest)
        if end - start == 1:
            return leaves[start]
        middle = start + (1 << ((end - start - 1).bit_length() - 1))
        at = bisect_left(known, middle, low, high)
        left = hashed(start, middle, low, at)
        return node_hash(left, hashed(middle, end, at, high))

    try:
        root = hashed(0, size, 0, len(known)) if size else None
    except StopIteration:
        return None
    return root if next(rest, None) is None else None


def continues(small: Tree, large: Tree, proof: list[bytes]) -> bool:
    """Tell whether the proof shows that the larger tree begins with the smaller one (section 2.1.4.2)."""
    if small.size == large.size:
        return not proof and small.root == large.root
    if small.size == 0:
        return not proof and small.root == hashlib.sha256(b"").digest()
    path = proof if small.size & (small.size - 1) else [small.root, *proof]
    if not path:
        return False
    node, last = small.size - 1, large.size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and old == small.root and new == large.root


# --- the zip file, which has one spelling ----------------------------------------------------------------------------------


class NotAPackage(Exception):
    """The argument is the file in it that is damaged; empty where it is no package at all."""


def unzipped(data: bytes) -> dict[str, bytes]:
    """Return the files of a package: deflated, in order, at the DOS epoch, without anything that could hide something."""
    try:
        count, length, at = struct.unpack_from("<10xHII", data, len(data) - 22)
        if len(data) != at + length + 22 or data[at + length :] != end_record(count, length, at):
            raise NotAPackage("")
        files: dict[str, bytes] = {}
        offset, entry, before = 0, at, ""
        for _ in range(count):
            crc, packed, size, named = struct.unpack_from("<16xIIIH", data, entry)
            name = data[entry + 46 : entry + 46 + named]
            common = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 33, crc, packed, size, named, 0)
            local = b"PK\3\4" + common + name
            central = b"PK\1\2\x14\3" + common + struct.pack("<HHHII", 0, 0, 0, 0o100644 << 16, offset) + name
            begin = offset + len(local)
            text = name.decode("ascii")
            if data[offset:begin] != local or data[entry : entry + len(central)] != central or (files and text <= before):
                raise NotAPackage("")
            files[text] = inflated(data[begin : begin + packed], size, crc, text)
            offset, entry, before = begin + packed, entry + len(central), text
    except (struct.error, UnicodeDecodeError) as error:
        raise NotAPackage("") from error
    if offset != at or entry != at + length:
        raise NotAPackage("")
    return files


def end_record(count: int, length: int, at: int) -> bytes:
    return b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, count, count, length, at, 0)


def inflated(packed: bytes, size: int, crc: int, name: str) -> bytes:
    unpacker = zlib.decompressobj(-15)
    try:
        body = unpacker.decompress(packed, size + 1)
    except zlib.error as error:
        raise NotAPackage(name) from error
    if len(body) != size or not unpacker.eof or unpacker.unused_data or zlib.crc32(body) != crc:
        raise NotAPackage(name)
    return body


# --- JSON ------------------------------------------------------------------------------------------------------------------


def canonical(value: object) -> str:
    """RFC 8785, for what packages hold: no fractions, and ASCII names."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))


def exact(digits: str) -> int:
    """Read an integer that JSON carries exactly, for every reader (RFC 7493, section 2.2)."""
    number = int(digits)
    if abs(number) >= 2**53:
        raise ValueError("too large")
    return number


def refused(text: str) -> NoReturn:
    raise ValueError("no fractions")


def object_of(line: bytes) -> dict[str, Any] | None:
    """Return a JSON object in its canonical form; None for anything else."""
    try:
        found = json.loads(line.decode("utf-8"), parse_int=exact, parse_float=refused)
        return found if isinstance(found, dict) and canonical(found).encode() == line else None
    except (ValueError, RecursionError):
        return None


def lines_of(body: bytes) -> Iterator[tuple[int, bytes, dict[str, Any] | None]]:
    lines = body.split(b"\n")
    if not lines[-1]:
        lines.pop()
    for number, line in enumerate(lines, start=1):
        yield number, line, object_of(line)


def whole_number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else -1


# --- the examination -------------------------------------------------------------------------------------------------------


class Stop(Exception):
    """Nothing after this means anything."""


class Examination:
    def __init__(self, data: bytes, keys: bytes, against: list[bytes]) -> None:
        self.problems: set[tuple[str, str]] = set()
        self.believed: list[str] = []
        self.unestablished: list[str] = []
        self.facts: dict[str, Any] = {}
        self.records: dict[int, Record] = {}
        self._data, self._given_keys, self._against = data, keys, against
        self._files: dict[str, bytes] = {}
        self._listed: dict[str, Any] = {}
        self._keys: list[Key] = []
        self._tree = Tree("", 0, b"")
        self._payloads: dict[tuple[int, str], bytes] = {}

    def run(self) -> None:
        try:
            self._files = unzipped(self._data)
            self._read_manifest()
            self._compare_files()
            self._read_checkpoint()
            self._read_records()
            self._read_payloads()
            self._compare_facts()
            self._check_sessions()
            self._check_approvals()
            self._check_changes()
            covered = self._check_summaries()
            self._check_anchors()
            self._say_what_is_open(covered)
        except NotAPackage as error:
            self.problems.add(("package", str(error)))
        except Stop:
            pass

    @property
    def verdict(self) -> str:
        return "unsound" if self.problems else "sound"

    def _stop(self, kind: str, where: str) -> NoReturn:
        self.problems.add((kind, where))
        raise Stop

    def _body(self, name: str) -> bytes:
        return self._files.get(name, b"")

    def _read_manifest(self) -> None:
        body = self._body("manifest.json")
        found = object_of(body[:-1] if body.endswith(b"\n") else body)
        if found is None or set(found) != {"facts", "files"} or not isinstance(found["facts"], dict):
            self._stop("manifest", "manifest.json")
        if found["facts"].get("format") != FORMAT:
            self._stop("manifest", "manifest.json")
        self.facts, self._listed = found["facts"], found["files"]
        self._keys = keys_of(self._given_keys or self._body("keys/ledger.pub"), self.facts.get("log", ""))
        if not self._keys:
            self._stop("keys", "keys/ledger.pub")
        whose = "given" if self._given_keys else "from the package"
        self.believed += [f"key {key.line}, {whose}" for key in self._keys]
        if not self._given_keys:
            self.unestablished.append(
                "that the keys are the log's own: they came with the package; compare keys/ledger.pub with another copy"
            )
        text = f"{self.facts['log']}/evidence\nmanifest.json {hashlib.sha256(body).hexdigest()}\n"
        if not self._signed_manifest(text):
            self._stop("manifest", "manifest.sig")

    def _signed_manifest(self, text: str) -> bool:
        """Any key that the log ever had may have signed it: packages are made long after what they show."""
        try:
            said, signatures = split_note(self._body("manifest.sig"))
        except Wrong:
            return False
        known = {(key.name, key.key_id): key.public for key in self._keys}
        ours = [one for one in signatures if (one.name, one.key_id) in known]
        right = [signed(known[one.name, one.key_id], said.encode(), one.value) for one in ours]
        return said == text and bool(right) and all(right)

    def _compare_files(self) -> None:
        for name, told in self._listed.items():
            body = self._files.get(name)
            if body is None:
                self.problems.add(("missing", name))
            elif told != {"sha256": hashlib.sha256(body).hexdigest(), "size": len(body)}:
                self.problems.add(("altered", name))
        for name in set(self._files) - set(self._listed) - {"manifest.json", "manifest.sig"}:
            self.problems.add(("foreign", name))

    def _read_checkpoint(self) -> None:
        try:
            self._tree = opened(self._body("checkpoint"), self._keys)
        except Wrong:
            self._stop("checkpoint", "checkpoint")
        said = self.facts["log"], self.facts["size"], self.facts["root"]
        if said != (self._tree.origin, self._tree.size, self._tree.root.hex()):
            self._stop("checkpoint", "checkpoint")

    def _read_records(self) -> None:
        start, end = self.facts["start"], self.facts["end"]
        body = self._body("leaves.bin")
        if len(body) != HASH * (end - start):
            self._stop("leaves", "leaves.bin")
        leaves = {start + at: body[at * HASH : (at + 1) * HASH] for at in range(end - start)}
        last = -1
        for number, line, record in lines_of(self._body("records.jsonl")):
            seq = whole_number(record.get("seq")) if record is not None else -1
            if record is None or not last < seq < self._tree.size:
                self.problems.add(("record", f"line {number}"))
                continue
            last = seq
            if leaves.setdefault(seq, leaf_hash(line)) == leaf_hash(line):
                self.records[seq] = record
            else:
                self.problems.add(("altered", f"record {seq}"))
        given = self._body("nodes.bin")
        nodes = [given[at : at + HASH] for at in range(0, len(given), HASH)]
        if len(given) % HASH or root_of(leaves, nodes, self._tree.size) != self._tree.root:
            self._stop("root", "checkpoint")

    def _read_payloads(self) -> None:
        strays = {name for name in self._files if name.startswith(SEALED)}
        for number, _, told in lines_of(self._body("payloads.jsonl")):
            if told is None or not is_payload(told):
                self.problems.add(("payload", f"line {number}"))
                continue
            seq, slot = told["seq"], told["slot"]
            body = told["body"].encode() if "body" in told else self._body(told["file"])
            committed = self.records.get(seq, {}).get("payloads", {}).get(slot)
            made = {"sha256": hashlib.sha256(bytes.fromhex(told["salt"]) + body).hexdigest(), "size": len(body)}
            if committed != made or (seq, slot) in self._payloads:
                self.problems.add(("payload", f"record {seq} {slot}"))
            else:
                self._payloads[seq, slot] = body
                strays.discard(told.get("file", ""))
        self.problems.update(("payload", name) for name in strays)
        committed_to = {
            (seq, slot) for seq, one in self.records.items() for slot in set(one.get("payloads", {})) - NOBODY_KEEPS
        }
        said = {(seq, slot) for seq, slot in self.facts["absent"]}
        for seq, slot in (committed_to - set(self._payloads)) ^ said:
            self.problems.add(("payload", f"record {seq} {slot}"))

    def _compare_facts(self) -> None:
        facts = self.facts
        texts = {}
        for name in self._listed:
            number = re.fullmatch("[a-z]+/([0-9]+)[.]json", name)
            if number and (int(number.group(1)), "standing") in self._payloads:
                texts[self.records[int(number.group(1))]["facts"]["after"]] = name
        counted = {
            "records": len(self.records),
            "kinds": dict(Counter(one["kind"] for one in self.records.values())),
            "payloads": len(self._payloads),
            "texts": texts,
            "anchors": sum(name.endswith(".checkpoint") for name in self._files),
        }
        raw = sum(1 for _, slot in self._payloads if slot.endswith(SUFFIX))
        if facts.get("raw", 0) != raw or any(facts[name] != value for name, value in counted.items()):
            self.problems.add(("index", "manifest.json"))
        parts = self._body("README.html").decode("utf-8", "replace").split(FACTS_BEGIN)
        if len(parts) != 2 or parts[1].split(FACTS_END)[0] != canonical(facts).replace("<", "\\u003c"):
            self.problems.add(("index", "README.html"))

    def _check_sessions(self) -> None:
        """Each session that is said to be whole is numbered from 0 and has what its end says; callers have no other ones."""
        facts = self.facts
        sessions: dict[str, list[Record]] = {session: [] for session in facts["sessions"]}
        for seq, one in self.records.items():
            session = one["session"]["id"] if "session" in one else ""
            if session in sessions:
                sessions[session].append(one)
            elif session and "who" in one and facts["start"] <= seq < facts["end"] and principal(one) in facts["identities"]:
                self.problems.add(("session", session))
        for session, found in sessions.items():
            ends = [number for number, one in enumerate(found) if one["kind"] == "session.closed"]
            is_right = bool(found) and found[0]["kind"] == "session.opened" and ends in ([], [len(found) - 1])
            is_right = is_right and all(one["session"]["seq"] == number for number, one in enumerate(found))
            counts = Counter({"records": len(found)})
            counts.update(name for one in found for name in counted_as(one))
            if not is_right or any(found[end]["counts"][name] != counts[name] for end in ends for name in COUNTS):
                self.problems.add(("session", session))

    def _check_approvals(self) -> None:
        """Whatever ran with an approval was held before, agreed to by enough others, and ran as often as they said."""
        known: dict[str, Approval] = {}
        for seq, one in self.records.items():
            kind, told = one["kind"], one.get("approval", {})
            approval = known.setdefault(told.get("id", ""), Approval())
            is_right = True
            if kind == "call.held" and told["how"] == "opened":
                approval.held = one
                if "accepts" in told:
                    proposer = known[told["accepts"]].proposer if told["accepts"] in known else ""
                    is_right = bool(proposer)
                    if proposer:
                        approval.agreed, approval.ballots = {proposer: True}, 1
            elif kind == "approval.voted":
                approval.agreed[principal(one)] = told["verdict"] == "approve"
                approval.ballots += 1
            elif kind == "approval.vote_withdrawn":
                approval.agreed.pop(principal(one), None)
                approval.ballots += 1
            elif kind in ("approval.settled", "approval.break_glass") and told["state"] == "approved":
                is_right = approval.is_agreed(kind, told)
                approval.stands = True
            elif kind in ("approval.settled", "approval.withdrawn", "approval.revoked", "approval.proposed"):
                approval.stands = False
                approval.proposer = principal(one) if kind == "approval.proposed" else ""
            elif kind == "call.intent" and told:
                is_right = approval.runs(told)
            if not is_right:
                self.problems.add(("approval", f"record {seq}"))

    def _check_changes(self) -> None:
        """Within the range, each change of an aspect begins where the one before it ended."""
        last: dict[str, str] = {}
        for seq, one in self.records.items():
            told = one.get("facts", {})
            if "aspect" not in told:
                continue
            in_range = self.facts["start"] <= seq < self.facts["end"]
            if in_range and last.get(told["aspect"], told["before"]) != told["before"]:
                self.problems.add(("change", f"record {seq}"))
            last[told["aspect"]] = told["after"]

    def _check_summaries(self) -> list[tuple[int, int]]:
        """Compare what daily summaries count of the callers with their records; return which records are covered."""
        days: dict[tuple[int, int], dict[int, int]] = {}
        for seq, one in self.records.items():
            if one["kind"] == "summary.daily":
                days.setdefault((one["facts"]["from"], one["facts"]["to"]), {})[one["facts"]["page"]] = seq
        covered = []
        for (start, end), pages in sorted(days.items()):
            within = self.facts["start"] <= start and end <= self.facts["end"]
            facts = [self.records[pages[page]]["facts"] for page in sorted(pages)]
            salts = [salt for page in sorted(pages) for salt in [self._salt(pages[page])] if salt]
            if (
                not within
                or sorted(pages) != list(range(1, facts[0]["pages"] + 1))
                or not salts
                or not self.facts["identities"]
            ):
                continue
            covered.append((start, end))
            for identity in self.facts["identities"]:
                pseudonym = hashlib.sha256(bytes.fromhex(salts[0]) + identity.encode()).hexdigest()
                told: Counter[tuple[str, ...]] = Counter()
                for who, server, kind, result, number in (line for one in facts for line in one["counts"]):
                    if len(who) >= 16 and pseudonym.startswith(who):
                        told[server, kind, result] += number
                if told != self._tally(identity, start, end):
                    self.problems.add(("summary", f"records {start} to {end - 1}"))
        return covered

    def _salt(self, seq: int) -> str:
        if (seq, "salt") in self._payloads:
            return str(json.loads(self._payloads[seq, "salt"]))
        names = self._payloads.get((seq, "identities"))
        return str(json.loads(names)["salt"]) if names else ""

    def _tally(self, identity: str, start: int, end: int) -> Counter[tuple[str, ...]]:
        """Count the caller's records as a daily summary does: by server, kind and result."""
        found: Counter[tuple[str, ...]] = Counter()
        for seq, one in self.records.items():
            if not start <= seq < end:
                continue
            if one["kind"] == "refusals.counted":
                for line in one["facts"]["counts"]:
                    if line["who"] == identity:
                        found["", one["kind"], line["code"]] += line["count"]
            elif one["kind"].startswith("call."):
                outcome = one.get("outcome", {})
                result = outcome.get("code") or outcome.get("class") or one.get("decision", {}).get("effect", "")
                if (principal(one) if "who" in one else one.get("actor", "")) == identity:
                    found[one.get("target", {}).get("server", ""), one["kind"], result] += 1
        return found

    def _check_anchors(self) -> None:
        met = {self._tree.size: self._tree.root}
        for name in sorted(name for name in self._files if name.startswith("anchors/") and name.endswith(".checkpoint")):
            try:
                anchor = opened(self._files[name], self._keys)
                proof = self._body(name[: -len(".checkpoint")] + ".consistency").decode("utf-8").split("\n")[:-1]
                small, large = sorted((self._tree, anchor), key=lambda one: one.size)
                is_right = anchor.origin == self._tree.origin and continues(small, large, [decoded(line) for line in proof])
            except (Wrong, UnicodeDecodeError):
                is_right = False
                anchor = self._tree
            if is_right:
                met[anchor.size] = anchor.root
                self.believed.append(f"checkpoint over {anchor.size} records, from the package")
            else:
                self.problems.add(("anchor", name))
        compared = 0
        for number, note in enumerate(self._against, start=1):
            try:
                anchor = opened(note, self._keys)
            except Wrong:
                self.problems.add(("anchor", f"given {number}"))
                continue
            if anchor.size not in met:
                self.unestablished.append(
                    f"whether the log continues the checkpoint over {anchor.size} records that was given: the package has no "
                    "proof of it; ask for one with --anchor"
                )
            elif (anchor.origin, anchor.root) != (self._tree.origin, met[anchor.size]):
                self.problems.add(("anchor", f"given {number}"))
            else:
                compared += 1
                self.believed.append(f"checkpoint over {anchor.size} records, given")
        if not compared:
            self.unestablished.append(
                "that the log was not written anew with its key: no checkpoint that was kept elsewhere was compared"
            )

    def _say_what_is_open(self, covered: list[tuple[int, int]]) -> None:
        facts, say = self.facts, self.unestablished.append
        start, end, tiled = facts["start"], facts["end"], facts["start"]
        for first, last in covered:
            tiled = last if first == tiled else tiled
        if facts["by_caller"] and facts["query"]["who"] and not facts["identities"]:
            say(f"that {facts['query']['who']} made no calls: no record of theirs is in the range")
        if not facts["whole"] and not facts["by_caller"]:
            say("that no record was left out: sessions and summaries count callers, and the query asks for less")
        if facts["identities"] and tiled < end:
            say(
                f"that no session of the callers was left out from record {tiled} on: no daily summary in the package covers it"
            )
        if tiled < end or start == end:
            say(f"that records {start} to {end - 1} are those of the time that was asked for")
        closed = {one["session"]["id"] for one in self.records.values() if one["kind"] == "session.closed"}
        still_open = len(set(facts["sessions"]) - closed)
        if still_open:
            say(f"that sessions are whole at their ends which nothing closed: {still_open}")
        absent = {(seq, slot) for seq, slot in facts["absent"]}
        for seq, one in self.records.items():
            gone = {place for place in absent & erased_by(seq, one) if is_due(one, self.records.get(place[0], {}))}
            absent -= gone
            if gone:
                say(f"what payloads said that record {seq} says were erased: {len(gone)}{self._raw_among(gone)}")
        if absent:
            rest = f"{len(absent)}{self._raw_among(absent)}"
            say(f"what payloads said that were withheld, or are gone without a record here: {rest}")
        named = {one.get("decision", {}).get("policy", "") for one in self.records.values()} - {""}
        unknown = len(named - set(facts["texts"]))
        if unknown:
            say(f"what policies said that the package has the hashes of alone: {unknown}")
        say("that the gateway wrote down what it did, and that its clocks were right")

    def _raw_among(self, gone: set[tuple[int, str]]) -> str:
        """Name the raw payloads among those, where raw payloads were asked for."""
        if not self.facts["query"].get("raw"):
            return ""
        raw = [f"record {seq} {slot[: -len(SUFFIX)]}" for seq, slot in sorted(gone) if slot.endswith(SUFFIX)]
        if len(raw) > MOST_NAMED:
            raw[MOST_NAMED:] = [f"{len(raw) - MOST_NAMED} more"]
        return f"; raw: {', '.join(raw)}" if raw else ""


def erased_by(seq: int, one: dict[str, Any]) -> set[tuple[int, str]]:
    """The payloads of earlier records that this one says were erased: by slot the first record, then distances."""
    if one["kind"] not in ("payload.shredded", "retention.swept"):
        return set()
    found = set()
    facts = one.get("facts")
    told = facts.get("payloads") if isinstance(facts, dict) else None
    for slot, distances in told.items() if isinstance(told, dict) else ():
        place = 0
        for distance in distances if isinstance(distances, list) else ():
            step = whole_number(distance)
            place += step
            if step < 0 or place >= seq:
                break
            found.add((place, slot))
    return found


def is_due(erasing: Record, erased: Record) -> bool:
    """Tell whether a payload of that record could be erased: by people always, by a sweep once it was old enough."""
    if erasing["kind"] != "retention.swept":
        return True
    facts = erasing.get("facts")
    before_ns = moment(facts.get("before_ns") if isinstance(facts, dict) else None)
    return 0 <= moment(erased.get("time_ns")) < before_ns


def moment(told: object) -> int:
    """Return Unix nanoseconds as records write them; -1 for anything else."""
    return int(told) if isinstance(told, str) and re.fullmatch("[0-9]{1,19}", told) else -1


def is_payload(told: dict[str, Any]) -> bool:
    names = set(told) - {"seq", "slot", "salt"}
    texts = [told.get(name) for name in ("slot", "salt", *names)]
    is_known = len(told) == 4 and names in ({"body"}, {"file"}) and whole_number(told.get("seq")) >= 0
    return is_known and all(isinstance(text, str) for text in texts) and bool(re.fullmatch("[0-9a-f]{64}", str(told["salt"])))


def principal(one: Record) -> str:
    return f"{one['who']['iss']}#{one['who']['sub']}"


def counted_as(one: Record) -> tuple[str, ...]:
    """Return which of its session's counts a record adds to."""
    if one["kind"] == "call.outcome":
        return ("replayed",) if "replayed_from" in one else ()
    return {"call.intent": ("permitted",), "call.held": ("held",), "call.refused": ("refused",)}.get(one["kind"], ())


class Approval:
    """An approval as its records have told it so far."""

    def __init__(self) -> None:
        self.held: Record | None = None
        self.agreed: dict[str, bool] = {}
        self.ballots = 0
        """Votes and withdrawals."""
        self.proposer = ""
        self.stands = False
        self._uses, self._total = 0, 0

    def is_agreed(self, kind: str, told: dict[str, Any]) -> bool:
        """Tell whether enough others agreed, of as many votes as the settlement says."""
        if self.held is None or told.get("ballots", self.ballots) != self.ballots:
            return False
        requester = principal(self.held)
        others = sum(1 for who, yes in self.agreed.items() if yes and who != requester)
        return others >= (2 if kind == "approval.break_glass" else self._needed(self.held["approval"]))

    def _needed(self, held: dict[str, Any]) -> int:
        """Return how many people have to agree at the least, at whatever level of its escalation."""
        if "terms" not in held:
            return int(held["quorum"])
        return min(sum(int(seats["count"]) for seats in level["seats"]) for level in held["terms"]["levels"])

    def runs(self, told: dict[str, Any]) -> bool:
        """Take in that a call ran with it, and tell whether it might."""
        held = self.held["approval"] if self.held else {}
        might = self.stands and held.get("digest") == told["digest"]
        if "use" not in told:
            self.stands = False
            return might and "grant" not in held
        before, self._uses = self._uses, told["use"]["number"]
        self._total += amount(told["use"]["amount"])
        grant = held.get("grant", {"max_calls": 0, "total_of": "", "max_total": "0"})
        is_next = self._uses == before + 1 and before < grant["max_calls"]
        return might and is_next and (not grant["total_of"] or self._total <= amount(grant["max_total"]))


def amount(text: str) -> int:
    """Return an amount in 10^-18, in which each is whole; of what is none, more than any."""
    found = re.fullmatch("([0-9]{1,18})(?:[.]([0-9]{1,18}))?", text)
    return int(found.group(1)) * 10**18 + int((found.group(2) or "").ljust(18, "0")) if found else 10**40


# --- the command -----------------------------------------------------------------------------------------------------------


def shown(text: str) -> str:
    """Return the text with everything that could move a terminal's cursor, or turn a line around, spelled out."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def report(found: Examination, problems: list[tuple[str, str]]) -> Iterator[str]:
    """Yield the lines for people."""
    if problems:
        yield from (f"\u2717 {kind:<10} {shown(where)}" for kind, where in problems)
        yield f"UNSOUND: {len(problems)} {'problem' if len(problems) == 1 else 'problems'}."
        return
    log, size = shown(str(found.facts["log"])), found.facts["size"]
    yield f"\u2713 SOUND: {len(found.records)} records of {log} are among the {size} that the checkpoint signs."
    yield from (f"  believed: {shown(line)}" for line in found.believed)
    yield from (f"  not established: {shown(sentence)}" for sentence in found.unestablished)


def main() -> int:
    parser = argparse.ArgumentParser(description="Check an evidence package of mcpgw, without mcpgw.")
    parser.add_argument("package", type=Path)
    parser.add_argument("--keys", type=Path, help="the log's public keys, if not those in the package")
    parser.add_argument("--against", type=Path, action="append", default=[], help="a checkpoint that was kept elsewhere")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    asked = parser.parse_args()
    try:
        keys = asked.keys.read_bytes() if asked.keys else b""
        found = Examination(asked.package.read_bytes(), keys, [path.read_bytes() for path in asked.against])
    except OSError as error:
        print(f"verify.py: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    found.run()
    problems = sorted(found.problems)
    if asked.json:
        told = {"verdict": found.verdict, "problems": problems}
        print(json.dumps({**told, "believed": found.believed, "unestablished": found.unestablished}))
    else:
        print("\n".join(report(found, problems)))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
