"""A leaf to the byte: its members, its place, the columns that follow from it, and what is no leaf."""

import hashlib
import zlib
from typing import Any

import pytest

from mcpgw.ledger.record import (
    MAX_LEAF_BYTES,
    VERSION,
    Draft,
    Members,
    Payload,
    Unrecordable,
    index_of,
    pack,
    parse,
    seal,
    unpack,
)

WHOLE: Members = {
    "v": 1,
    "log": "bank.example/log",
    "seq": 7,
    "id": "e7",
    "kind": "call.outcome",
    "time_ns": "1234",
    "node": "n1",
    "who": {"iss": "https://idp", "sub": "alice"},
    "target": {"server": "bank", "name": "bank__pay"},
    "decision": {"effect": "allow"},
    "outcome": {"class": "failed", "code": "timeout"},
    "call": "c1",
    "approval": {"id": "a1"},
    "origin": {"session": "s1"},
}
COLUMNS = {
    "time_ns": 1234,
    "kind": "call.outcome",
    "principal": "https://idp#alice",
    "server": "bank",
    "target": "bank__pay",
    "decision": "allow",
    "outcome": "failed",
    "code": "timeout",
    "call_id": "c1",
    "approval_id": "a1",
    "session": "s1",
    "node": "n1",
}


def drafted(**members: Any) -> Draft:
    return Draft(event_id="e7", kind="catalog.changed", members={"node": "n1", **members})


def test_a_leaf_is_the_canonical_form_of_its_members_and_its_place() -> None:
    payload = Payload(slot="arguments.clean", salt=b"s" * 32, packed=b"p")
    draft = Draft(
        event_id="e7", kind="catalog.changed", members={"node": "n1", "a": "é\n", "Z": [1, True, None]}, payloads=(payload,)
    )
    record = seal(draft, log="bank.example/log", seq=7, time_ns=2**60)
    assert (
        record.leaf
        == (
            '{"Z":[1,true,null],"a":"é\\n","id":"e7","kind":"catalog.changed","log":"bank.example/log","node":"n1","seq":7,'
            '"time_ns":"1152921504606846976","v":1}'
        ).encode()
    )
    assert record.hash == hashlib.sha256(b"\0" + record.leaf).digest()
    assert (record.seq, record.event_id, record.time_ns, record.payloads) == (7, "e7", 2**60, (payload,))
    assert record.index == index_of(parse(record.leaf))
    assert VERSION == 1


def test_no_member_of_a_draft_can_say_where_it_stands() -> None:
    record = seal(drafted(seq=1, log="evil", v=9, id="x", kind="y", time_ns="0"), log="bank", seq=7, time_ns=5)
    members = parse(record.leaf)
    assert [members[name] for name in ("seq", "log", "v", "id", "kind", "time_ns")] == [
        7,
        "bank",
        1,
        "e7",
        "catalog.changed",
        "5",
    ]


def test_a_leaf_has_room_for_what_a_tile_entry_can_hold_and_for_no_byte_more() -> None:
    empty = len(seal(drafted(a=""), log="bank", seq=0, time_ns=0).leaf)
    room = MAX_LEAF_BYTES - empty
    assert MAX_LEAF_BYTES == 2**16 - 1
    assert len(seal(drafted(a="x" * room), log="bank", seq=0, time_ns=0).leaf) == MAX_LEAF_BYTES
    with pytest.raises(Unrecordable, match=r"a catalog.changed cannot be recorded: 65536 bytes are more than a leaf holds"):
        seal(drafted(a="x" * (room + 1)), log="bank", seq=0, time_ns=0)


@pytest.mark.parametrize(("value", "why"), [("\ud800", "surrogates"), (float("nan"), "JSON compliant"), (float("inf"), "JSON")])
def test_what_has_no_canonical_form_is_unrecordable_and_says_which_kind(value: object, why: str) -> None:
    with pytest.raises(Unrecordable, match=rf"^a catalog\.changed cannot be recorded: .*{why}") as caught:
        seal(drafted(a=value), log="bank", seq=0, time_ns=0)
    assert isinstance(caught.value.__cause__, ValueError)


def test_every_column_follows_from_the_leaf() -> None:
    assert index_of(WHOLE) == COLUMNS


def test_what_a_leaf_does_not_say_is_an_empty_column() -> None:
    bare = {"time_ns": "5", "kind": "x", "node": "n"}
    empty = dict.fromkeys(COLUMNS, "")
    assert index_of(bare) == {**empty, "time_ns": 5, "kind": "x", "node": "n"}
    assert index_of({**bare, "actor": "admin"})["principal"] == "admin"
    assert index_of({**WHOLE, "actor": "admin"})["principal"] == "https://idp#alice"


@pytest.mark.parametrize("missing", ["time_ns", "kind", "node"])
def test_members_without_a_time_a_kind_or_a_node_are_none_of_ours(missing: str) -> None:
    with pytest.raises(KeyError, match=missing):
        index_of({name: value for name, value in WHOLE.items() if name != missing})


@pytest.mark.parametrize(
    "leaf",
    [
        b"[]",
        b'"x"',
        b"1",
        b"null",
        b'{"b":1,"a":2}',
        b'{"a": 1}',
        b'{"a":1} ',
        b'{"a":1,"a":1}',
        b'{"a":"\\u00e9"}',
        b'{"a":NaN}',
    ],
)
def test_what_is_not_the_canonical_form_of_an_object_is_no_leaf(leaf: bytes) -> None:
    with pytest.raises(ValueError, match=r"^the leaf is not the canonical form of a JSON object$|line 1 column"):
        parse(leaf)


def test_a_leaf_is_read_back_as_it_was_written() -> None:
    assert parse('{"a":"é\\n\U0001f600","b":{"c":[]}}'.encode()) == {"a": "é\n\U0001f600", "b": {"c": []}}


def test_payloads_are_packed_small_and_come_back() -> None:
    body = b'{"text":"' + b"".join(b"%d, %x; " % (number * number, number) for number in range(400)) + b'"}'
    assert unpack(pack(body)) == body
    stream = zlib.compress(body, 1)[2:-4]  # without the header and the checksum of a zlib stream
    assert pack(body) == b"\x01" + zlib.crc32(stream).to_bytes(4) + stream
    assert unpack(pack(b"")) == b""


def test_no_bit_of_a_packed_payload_can_be_changed_unseen() -> None:
    packed = pack(b'{"text":"a payload, b payload, c payload"}')
    for at in range(len(packed) * 8):
        changed = bytearray(packed)
        changed[at // 8] ^= 1 << at % 8
        with pytest.raises(ValueError, match=r"^the payload's bytes are damaged$"):
            unpack(bytes(changed))


def test_what_was_packed_before_payloads_were_marked_is_read() -> None:
    assert unpack(zlib.compress(b"payload", 1)) == b"payload"


@pytest.mark.parametrize("spoil", [lambda p: p[:-1], lambda p: b"", lambda p: p[:-2] + b"xx", lambda p: b"x" + p])
def test_damaged_payloads_are_refused(spoil: Any) -> None:
    with pytest.raises(ValueError, match=r"^the payload's bytes are damaged$") as caught:
        unpack(spoil(pack(b"payload")))
    assert isinstance(caught.value.__cause__, zlib.error)


def test_a_damaged_payload_is_told_from_one_that_is_no_stream() -> None:
    with pytest.raises(ValueError, match="damaged") as caught:
        unpack(pack(b"payload")[:-1])
    assert str(caught.value.__cause__) == "the checksum differs"


def test_the_session_is_that_of_the_record_and_else_what_older_records_say_of_the_transports() -> None:
    place = {"time_ns": "1", "kind": "k", "node": "n"}
    assert index_of({**place, "session": {"id": "s1"}, "origin": {"session": "s2"}})["session"] == "s1"
    assert index_of({**place, "origin": {"session": "s2"}})["session"] == "s2"
    assert index_of(place)["session"] == ""
