"""A leaf: the bytes that are sealed for good, and what the store keeps beside them.

A leaf is canonical JSON (RFC 8785) of about 1 KB: strings, booleans, lists, objects and integers below 2^53, never a payload.
Clock readings in nanoseconds are decimal strings. A payload's place is taken by `{"sha256", "size"}`, a salted commitment;
the clean payload itself stands beside the record (`Payload`), and can be erased without touching the tree.

How it may change: `v` stays 1 while members are only added. A reader ignores members that it does not know, and a member that
changes its meaning gets a new name. Writers and verifiers share this file and nothing else of each other.
"""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson

from mcpgw.core.errors import LedgerUnavailable
from mcpgw.ledger.tree import leaf_hash

VERSION = 1
MAX_LEAF_BYTES = 65_535
"""C2SP tlog-tiles: an entry's length is a uint16."""

_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"), check_circular=False)
"""Made once: `json.dumps` makes one for each leaf, which a verifier of a million of them notices."""

Members: TypeAlias = dict[str, Any]


class Unrecordable(LedgerUnavailable):
    """This one entry cannot be a leaf, whatever the store can do. Nothing of it was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """What a commitment in the leaf commits to: `sha256 == SHA-256(salt || unpack(packed))`. Never part of the leaf."""

    slot: str
    salt: bytes
    packed: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A record that has no place in the log yet: everything that can be computed before the store is locked."""

    event_id: str
    kind: str
    members: Members
    payloads: tuple[Payload, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A record in its place."""

    seq: int
    event_id: str
    time_ns: int
    leaf: bytes
    hash: bytes
    index: "Index"
    payloads: tuple[Payload, ...] = ()


Index: TypeAlias = dict[str, str | int]
"""Columns to search by. Each is a function of the leaf, so a verifier can tell when one was altered."""


def seal(draft: Draft, *, log: str, seq: int, time_ns: int) -> Record:
    """Give a draft its place in the log.

    Raises:
        Unrecordable: a lone surrogate, or too much for a leaf.
    """
    place = {"v": VERSION, "log": log, "seq": seq, "id": draft.event_id, "kind": draft.kind, "time_ns": str(time_ns)}
    members = draft.members | place
    try:
        leaf = _canonical(members)
    except ValueError as error:
        raise Unrecordable(f"a {draft.kind} cannot be recorded: {error}") from error
    if len(leaf) > MAX_LEAF_BYTES:
        raise Unrecordable(f"a {draft.kind} cannot be recorded: {len(leaf)} bytes are more than a leaf holds")
    return Record(
        seq=seq,
        event_id=draft.event_id,
        time_ns=time_ns,
        leaf=leaf,
        hash=leaf_hash(leaf),
        index=index_of(members),
        payloads=draft.payloads,
    )


def index_of(members: Mapping[str, Any]) -> Index:
    """Return the search columns of a leaf's members.

    Raises:
        (KeyError, TypeError, ValueError): these are no members of a leaf of ours.
    """
    who, target = members.get("who", {}), members.get("target", {})
    outcome = members.get("outcome", {})
    return {
        "time_ns": int(members["time_ns"]),
        "kind": members["kind"],
        "principal": f"{who['iss']}#{who['sub']}" if who else members.get("actor", ""),
        "server": target.get("server", ""),
        "target": target.get("name", ""),
        "decision": members.get("decision", {}).get("effect", ""),
        "outcome": outcome.get("class", ""),
        "code": outcome.get("code", ""),
        "call_id": members.get("call", ""),
        "approval_id": members.get("approval", {}).get("id", ""),
        "session": members["session"]["id"] if "session" in members else members.get("origin", {}).get("session", ""),
        "node": members["node"],
    }


def counted_as(kind: str, members: Mapping[str, Any]) -> tuple[str, ...]:
    """Return which of its counts the record adds to, when its session is closed."""
    if kind == "call.outcome":
        return ("replayed",) if "replayed_from" in members else ()
    return _COUNTED.get(kind, ())


_COUNTED = {"call.intent": ("permitted",), "call.held": ("held",), "call.refused": ("refused",)}


def parse(leaf: bytes) -> Members:
    """Return a leaf's members.

    Raises:
        ValueError: not canonical JSON of an object.
    """
    members = orjson.loads(leaf)  # a verifier of a million leaves spends much of its time here: docs/adr/0013
    if not isinstance(members, dict) or orjson.dumps(members, option=orjson.OPT_SORT_KEYS) != leaf:
        raise ValueError("the leaf is not the canonical form of a JSON object")
    return members


def pack(body: bytes) -> bytes:
    """Compress a payload's body for the store. Commitments are over what was packed, so this may change at any time.

    A mark, the CRC-32 of the rest, and a raw deflate stream (RFC 1951). Such a stream has bits that mean nothing, and no byte
    in the store may be changed unseen.
    """
    compressor = zlib.compressobj(level=1, wbits=_RAW)
    stream = compressor.compress(body) + compressor.flush()
    return _marked(stream) + stream


def unpack(packed: bytes) -> bytes:
    """Return the body that was packed.

    Raises:
        ValueError: these are no packed bytes, or one of them was changed.
    """
    head, stream = packed[:_HEAD_BYTES], packed[_HEAD_BYTES:]
    try:
        if head[:1] == _ZLIB:
            return zlib.decompress(packed)
        if head != _marked(stream):
            raise zlib.error("the checksum differs")
        return zlib.decompress(stream, wbits=_RAW)
    except zlib.error as error:
        raise ValueError("the payload's bytes are damaged") from error


def _marked(stream: bytes) -> bytes:
    return b"\x01" + zlib.crc32(stream).to_bytes(4)


_RAW = -zlib.MAX_WBITS
_HEAD_BYTES = 5
_ZLIB = b"\x78"
"""With this began what was packed before it was marked: a zlib stream (RFC 1950)."""


def _canonical(members: Members) -> bytes:
    """`core.canonical` at the speed of C. The two agree on what a leaf may hold: a test compares them.

    Without floats, and with ASCII keys, RFC 8785 asks for no more than sorted keys, no spaces and the shortest escapes.
    """
    return _ENCODER.encode(members).encode()
