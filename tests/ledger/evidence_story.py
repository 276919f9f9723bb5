"""Two days at a bank, recorded for packages: what Alice, Bob and an agent did, who approved what, and what changed."""

import argparse
import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from ledger_parts import (
    CONTEXT,
    ORIGIN,
    RULING,
    Open,
    answered,
    asked,
    intent,
    opened,
    outcome,
    proposed,
    refusal,
    reply,
    settled,
    shown,
    spend,
    unanswered,
    use,
    vote,
)

from mcpgw.core.allowance import Allowance
from mcpgw.core.entries import (
    Changed,
    Refusal,
    Standing,
    VoteWithdrawn,
)
from mcpgw.core.model import (
    Outcome,
    RefusalCode,
    Refused,
    Sealed,
)
from mcpgw.ledger import shredding
from mcpgw.ledger.completeness import DAY_NS
from mcpgw.ledger.evidence import MANIFEST, NODES, PAYLOADS, README, RECORDS, SIGNATURE
from mcpgw.ledger.evidence.archive import pack
from mcpgw.ledger.evidence.collect import Asked
from mcpgw.ledger.evidence.export import NOBODY_KEEPS, Package, Purpose, export, manifest_text
from mcpgw.ledger.evidence.multiproof import nodes
from mcpgw.ledger.evidence.readme import embedded
from mcpgw.ledger.journal import Ledger
from mcpgw.ledger.keys import PUBLIC, create_keys, load_signer, load_verifiers
from mcpgw.ledger.store import Database
from mcpgw.ledger.tree import root_of
from mcpgw.ledger.vault import SUFFIX

BEGIN_NS = 20_527 * DAY_NS + 9 * 3600 * 10**9
"""Nine in the morning of the first day, UTC."""
DAY = (20_527 * DAY_NS, 20_528 * DAY_NS)
ALICE = "https://idp.example#alice"
PURPOSE = Purpose(requester="os:auditor", reason="quarterly review", gateway="0.1.0")


SEALED = b"age-encryption.org/v1\n-> X25519 \xff\x00\xfe"
"""Stands for an age file: nobody but its recipients could tell."""


class Clock:
    """A second for each record."""

    def __init__(self) -> None:
        self.now_ns = BEGIN_NS

    def __call__(self) -> int:
        self.now_ns += 10**9
        return self.now_ns


def policy(rule: str, policy_hash: str = "ab" * 32) -> Changed:
    document = {f"rule {rule}": {"id": rule, "effect": "allow", "limit": 0.5}}
    standing = Standing(aspect="policy", hash=policy_hash, parts={f"rule {rule}": rule}, document=document)
    return Changed(kind="policy.activated", actor="os:admin", standing=standing)


async def tell(open_ledger: Open, calls: int = 3) -> None:
    """Record the two days. Alice makes `calls` plain calls on the first one."""
    clock = Clock()
    async with open_ledger(clock=clock, session_idle_s=1800.0) as ledger:
        await ledger.record_changes(policy("first", RULING.policy_hash))
        for number in range(calls):
            await called(ledger, "alice", sealed=(SEALED + bytes([number % 256]),))
            await ledger.append(outcome(await ledger.append(intent("bob", "bank__balance"))))
        await ledger.append(refusal("alice"))
        await ledger.append(
            Refusal(
                shown=shown("zoë <b>", "bank__</td>"),
                refused=Refused(code=RefusalCode.UNKNOWN, reason="no such tool"),
                ruling=None,
            )
        )
        await held(ledger, "a1")
        await proposed_and_granted(ledger)
        await interviewed(ledger)
        await ledger.record_changes(policy("second"))
        looked_up = await called(ledger, "alice", "crm__lookup", sealed=(SEALED,))
        clock.now_ns += 3600 * 10**9
        await ledger.close_idle_sessions()
        clock.now_ns = DAY[1] + 10**9
        await ledger.append(outcome(await ledger.append(intent("alice"))))
        await ledger.sum_up()
        await ledger.eraser.shred(shredding.Asked(event_id=looked_up.event_id), "case 7", "os:officer")


async def called(ledger: Ledger, who: str, tool: str = "bank__transfer", *, sealed: tuple[bytes, ...]) -> Sealed[Outcome]:
    """Record a whole call of a tool whose raw payloads go to the vault."""
    wanted = intent(who, tool)
    begun = await ledger.append(replace(wanted, shown=replace(wanted.shown, sealed=sealed)))
    return await ledger.append(outcome(begun, replace(reply(), sealed=sealed)))


async def held(ledger: Ledger, approval_id: str) -> None:
    """One call of Alice's that two people look at: one takes his vote back, the other agrees."""
    await ledger.append(opened(approval_id, key=approval_id, deadline_ns=BEGIN_NS + DAY_NS))
    await ledger.append(vote(approval_id, "carol", comment="wait"))
    await ledger.append(VoteWithdrawn(approval_id=approval_id, voter=vote(approval_id, "carol").voter, comment="too early"))
    await ledger.append(vote(approval_id, "bob"))
    await ledger.append(settled(approval_id, ballots=3))
    await ledger.append(outcome(await ledger.append(spend(approval_id))))


async def proposed_and_granted(ledger: Ledger) -> None:
    """Bob would agree to less, and Alice asks for that; a grant for three calls is used twice."""
    deadline_ns = BEGIN_NS + DAY_NS
    await ledger.append(opened("a2", key="a2", deadline_ns=deadline_ns))
    await ledger.append(proposed("a2", key="less"))
    await ledger.append(replace(opened("a3", key="less", deadline_ns=deadline_ns), accepts="a2"))
    await ledger.append(settled("a3", ballots=1))
    await ledger.append(outcome(await ledger.append(spend("a3"))))
    allowances = (Allowance(max_calls=3, until_ns=deadline_ns, total_of="amount", max_total="100"),)
    await ledger.append(opened("g1", key="g1", deadline_ns=deadline_ns, allowances=allowances))
    await ledger.append(vote("g1", "bob"))
    await ledger.append(settled("g1", ballots=1))
    for amount in ("10", "0.5"):
        await ledger.append(outcome(await ledger.append(use("g1", amount))))


async def interviewed(ledger: Ledger) -> None:
    """A server asks Alice in the middle of a call: first she answers, then not."""
    begun = await ledger.append(intent("alice", "rooms__book"))
    for told in (asked(begun), answered(begun), asked(begun, "Which room?"), unanswered(begun)):
        await ledger.append(told)
    await ledger.append(outcome(begun))


def package(database: Database, folder: Path, asked: Asked, anchors: Sequence[str] = (), purpose: Purpose = PURPOSE) -> Package:
    """Export what is asked for, as the command does."""
    with closing(database.connect_read_only()) as store, store.snapshot():
        return export(
            store,
            asked,
            purpose,
            signer=load_signer(folder / "keys", ORIGIN),
            verifiers=load_verifiers(folder / "keys"),
            public=(folder / "keys" / PUBLIC).read_text(),
            anchors=anchors,
        )


def alices_day(*, raw: bool = False) -> Asked:
    return Asked(since_ns=DAY[0], until_ns=DAY[1], who=ALICE, raw=raw)


def signed_again(files: dict[str, bytes], folder: Path, **facts: object) -> bytes:
    """Return the package of these files as the holder of the log's key could write it: manifest, README and signature fit."""
    manifest = json.loads(files[MANIFEST])
    changed = {**manifest["facts"], **facts}
    before, after = embedded(manifest["facts"]).encode(), embedded(changed).encode()
    files = {**files, README: files[README].replace(before, after)}
    bodies = {name: body for name, body in files.items() if name not in (MANIFEST, SIGNATURE)}
    described = {name: {"sha256": hashlib.sha256(body).hexdigest(), "size": len(body)} for name, body in bodies.items()}
    files[MANIFEST] = _canonical({"facts": changed, "files": described}) + b"\n"
    files[SIGNATURE] = load_signer(folder / "keys", ORIGIN).sign(manifest_text(ORIGIN, files[MANIFEST])).encode()
    return pack(files)


def told_again(files: dict[str, bytes], folder: Path, tree: Sequence[bytes] = ()) -> bytes:
    """As `signed_again`, where the facts are counted anew from records and payloads; and with the hashes of all leaves of the
    log, as its keeper has them, the proof is made anew as well."""
    records = {one["seq"]: one for one in map(json.loads, files[RECORDS].splitlines())}
    told = [json.loads(line) for line in files[PAYLOADS].splitlines()]
    kept = [one for one in told if one["seq"] in records]
    gone = {one["file"] for one in told if "file" in one and one not in kept}
    files = {name: body for name, body in files.items() if name not in gone}
    files[PAYLOADS] = b"".join(_canonical(one) + b"\n" for one in kept)
    old = json.loads(files[MANIFEST])["facts"]
    if tree:
        known = sorted({*range(old["start"], old["end"]), *records})
        files[NODES] = b"".join(nodes(lambda start, end: root_of(tree[start:end]), known, old["size"]))
    shown = {(one["seq"], one["slot"]) for one in kept}
    missing = [
        [seq, slot]
        for seq, one in records.items()
        for slot in sorted(one.get("payloads", {}).keys() - NOBODY_KEEPS)
        if (seq, slot) not in shown
    ]
    return signed_again(
        files,
        folder,
        records=len(records),
        kinds=dict(sorted(Counter(one["kind"] for one in records.values()).items())),
        payloads=len(kept),
        raw=sum(slot.endswith(SUFFIX) for _, slot in shown),
        absent=missing,
        texts={name: place for name, place in old["texts"].items() if place not in gone},
    )


def _canonical(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


async def _in_folder(folder: Path, calls: int) -> None:
    create_keys(folder / "keys", ORIGIN)
    (folder / "data").mkdir()

    def open_ledger(**options: object) -> object:
        return Ledger.open(folder / "data", folder / "keys", origin=ORIGIN, context=lambda: CONTEXT, **options)  # type: ignore[arg-type]

    await tell(open_ledger, calls)  # type: ignore[arg-type]


def main() -> None:
    """Make a folder with such a log, for measuring: `evidence_story.py FOLDER CALLS`."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("calls", type=int)
    args = parser.parse_args()
    args.folder.mkdir(parents=True)
    asyncio.run(_in_folder(args.folder, args.calls))


if __name__ == "__main__":
    main()
