"""Alters packages in every way and asks the three verifiers: docs/examiners.md. `scripts/evidence_agreement --count 1000`.

Whatever one of them says of a package, the others say too, word for word. Of some altered packages all of them say that they
are sound: the holder of the log's key may sign another reason, and a file that is replaced by its like is the same.
"""

import argparse
import asyncio
import base64
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent.parent)]

from evidence_story import ALICE, PURPOSE, _in_folder, alices_day, package, signed_again, told_again
from ledger_parts import ORIGIN

from mcpgw.cli.package import as_data
from mcpgw.ledger.checkpoint import Checkpoint
from mcpgw.ledger.evidence import CHECKPOINT, KEYS, LEAVES, MANIFEST, NODES, PAYLOADS, RECORDS, SEALED, SIGNATURE, verify
from mcpgw.ledger.evidence.archive import pack, unpack
from mcpgw.ledger.evidence.check import check
from mcpgw.ledger.evidence.collect import Asked
from mcpgw.ledger.keys import load_signer
from mcpgw.ledger.sqlite import SqliteDatabase
from mcpgw.ledger.tree import leaf_hash, root_of
from tests.console.browser import chromium, window

PAGE = Path(verify.__file__).with_name("verify.html")
Files = dict[str, bytes]
Said = dict[str, Any]
Browser = Callable[[bytes, str, list[str]], Awaitable[Said]]


@dataclass
class Story:
    """Where packages come from: the log, what was exported of it, and the key of whoever could forge it."""

    folder: Path
    day: Files
    whole: Files
    anchored: Files
    raw: Files
    notes: list[str]
    dice: random.Random = field(default_factory=random.Random)

    @classmethod
    def made(cls, folder: Path, seed: int) -> "Story":
        asyncio.run(_in_folder(folder, 3))
        database = SqliteDatabase(folder / "data")
        with closing(database.connect_read_only()) as store:
            notes = [one.note for one in store.checkpoints(0, 10_000)]
        exported = [
            unpack(package(database, folder, asked, anchors, PURPOSE).data)
            for asked, anchors in (
                (alices_day(), []),
                (Asked(), []),
                (alices_day(), [notes[3], notes[-1]]),
                (alices_day(raw=True), []),
            )
        ]
        return cls(folder, *exported, notes, random.Random(seed))


# --- ways to alter a package -----------------------------------------------------------------------------------------------


def any_byte(data: bytes, dice: random.Random) -> bytes:
    if not data:
        return b"\0"
    at = dice.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << dice.randrange(8)]) + data[at + 1 :]


def any_bytes(data: bytes, dice: random.Random) -> bytes:
    """Cut off, add, or swap."""
    at = dice.randrange(len(data) + 1)
    return dice.choice([data[:at], data + data[at:], data[:at] + b"\n" + data[at:], data[at:] + data[:at]])


def any_line(data: bytes, dice: random.Random) -> bytes:
    """Remove, repeat, or swap lines, or add one that is none."""
    lines = data.splitlines(keepends=True) or [b"\n"]
    at, other = dice.randrange(len(lines)), dice.randrange(len(lines))
    strange = [b"{}\n", b"\n", b"[]\n", b"\xff\n", b'{"seq":1e5}\n', b'{"a":"\\ud800"}\n', b'{"seq":-0}\n', b'{"seq":true}\n']
    strange += [
        b'{"seq":9007199254740993}\n',
        b'{"a":1,"a":2}\n',
        b"nul\n",
        b'{"seq":4, "a":1}\n',
        b'{"__proto__":{"seq":3}}\n',
    ]
    match dice.randrange(4):
        case 0:
            del lines[at]
        case 1:
            lines.insert(other, lines[at])
        case 2:
            lines[at], lines[other] = lines[other], lines[at]
        case _:
            lines.insert(at, dice.choice(strange))
    return b"".join(lines)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the paths of all fields."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in items:
        yield (*path, name)
        yield from places(item, (*path, name))


def any_field(line: bytes, dice: random.Random) -> bytes:
    """Alter one field of one object, wherever it stands, and write it canonically."""
    told = json.loads(line)
    *path, name = dice.choice([*places(told)])
    parent = told
    for step in path:
        parent = parent[step]
    value = parent[name]
    others: list[Any] = [None, "", 0, -1, True, [], {}, "constructor", "zoë\U0001f600", 2**53, 1.5]
    match value:
        case str():
            others += [value[:-1], value + "0", value.swapcase(), value[::-1]]
        case bool():
            others += [not value] * 4
        case int():
            others += [value + 1, value - 1, value * 2, str(value)]
        case list() | dict():
            others += [type(value)(list(value.items())[1:]) if isinstance(value, dict) else value[1:]] * 4
    if dice.random() < 0.15 and isinstance(parent, dict):
        del parent[name]
    else:
        parent[name] = dice.choice([other for other in others if other != value])
    return canonical(told)


def canonical(told: Any) -> bytes:
    return json.dumps(told, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def any_field_of_a_line(data: bytes, dice: random.Random) -> bytes:
    lines = data.splitlines()
    at = dice.randrange(len(lines))
    lines[at] = any_field(lines[at], dice)
    return b"".join(line + b"\n" for line in lines)


IN_A_FILE = (any_byte, any_bytes, any_line)


def one_file(story: Story) -> bytes:
    """Each file in each way, by somebody who has no key."""
    files = dict(story.dice.choice([story.day, story.anchored, story.raw]))
    name = story.dice.choice([*files])
    match story.dice.randrange(6):
        case 0:
            del files[name]
        case 1:
            files[f"{name}.old"] = files[name]
        case 2:
            files[name] = files[story.dice.choice([*files])]
        case _:
            files[name] = story.dice.choice(IN_A_FILE)(files[name], story.dice)
    return pack(files)


def one_field(story: Story) -> bytes:
    """A field of a record, of a payload, or of the manifest, by somebody who has no key."""
    files = dict(story.dice.choice([story.day, story.raw]))
    name = story.dice.choice([RECORDS, RECORDS, PAYLOADS, MANIFEST])
    files[name] = any_field_of_a_line(files[name], story.dice)
    return pack(files)


def the_zip(story: Story) -> bytes:
    return story.dice.choice([any_byte, any_bytes])(pack(story.day), story.dice)


def by_the_key(story: Story) -> bytes:
    """A file in any way, by the holder of the log's key, who signs the manifest anew."""
    files = dict(story.dice.choice([story.day, story.whole, story.anchored, story.raw]))
    name = story.dice.choice([one for one in files if one not in (MANIFEST, SIGNATURE)])
    ways = [*IN_A_FILE, *([any_field_of_a_line] * 3 if name in (RECORDS, PAYLOADS) else [])]
    files[name] = story.dice.choice(ways)(files[name], story.dice)
    return signed_again(files, story.folder)


def fewer_records(story: Story) -> bytes:
    """Records withheld by the holder of the key, who has everything else fit."""
    files = dict(story.dice.choice([story.day, story.raw]))
    lines = files[RECORDS].splitlines(keepends=True)
    gone = set(story.dice.sample(range(len(lines)), story.dice.choice([1, 1, 2, 5])))
    files[RECORDS] = b"".join(line for at, line in enumerate(lines) if at not in gone)
    tree = [leaf_hash(line) for line in story.whole[RECORDS].splitlines()]
    return told_again(files, story.folder, tree[: json.loads(files[MANIFEST])["facts"]["size"]])


def other_facts(story: Story) -> bytes:
    """What the package says of itself, by the holder of the key."""
    dice = story.dice
    files = dict(dice.choice([story.day, story.raw]))
    facts = json.loads(files[MANIFEST])["facts"]
    changes: list[dict[str, object]] = [
        {"records": facts["records"] + dice.choice([-1, 1])},
        {"kinds": {**facts["kinds"], "call.intent": 0}},
        {"payloads": 0},
        {"size": facts["size"] + 1},
        {"root": facts["root"][::-1]},
        {"start": facts["start"] + 1},
        {"end": facts["end"] - 1},
        {"identities": []},
        {"identities": [*facts["identities"], "https://idp.example#bob"]},
        {"sessions": []},
        {"sessions": [*facts["sessions"], "s9"]},
        {"sessions": facts["sessions"][:1]},
        {"whole": True},
        {"by_caller": False},
        {"absent": []},
        {"absent": [*facts["absent"], [3, "arguments.clean"]]},
        {"texts": {}},
        {"anchors": 1},
        {"raw": facts["raw"] + 1},
        {"query": {**facts["query"], "raw": not facts["query"]["raw"]}},
        {"format": "mcpgw-evidence/2"},
        {"log": "other.example/log"},
        {"reason": "<b>another</b> zoë \U0001f600 \u2028"},
    ]
    return signed_again(files, story.folder, **dice.choice(changes))


def other_raw(story: Story) -> bytes:
    """Sealed payloads exchanged, withheld, added or slipped in, by the holder of the key."""
    dice, files = story.dice, dict(story.raw)
    one, other = dice.sample([name for name in files if name.startswith(SEALED)], 2)
    lines = files[PAYLOADS].splitlines(keepends=True)
    match dice.randrange(5):
        case 0:
            files[one], files[other] = files[other], files[one]
        case 1:
            del files[one]
        case 2:
            files[f"{SEALED}99.result.age"] = files[one]
        case 3:
            files[PAYLOADS] = b"".join(line for line in lines if one.encode() not in line)
        case _:
            del files[one]
            files[PAYLOADS] = b"".join(line for line in lines if one.encode() not in line)
            return told_again(files, story.folder)
    return signed_again(files, story.folder)


def other_notes(story: Story) -> bytes:
    """Keys, checkpoints and signatures that are others, bounded, repeated, or made by strangers."""
    dice, files = story.dice, dict(story.anchored)
    key, quantum = files[KEYS].decode().splitlines()
    keys = [
        f"{key} until=3\n",
        f"{key} from=9999\n",
        f"{key} from=1 until=40\n{quantum}\n",
        f"{key} until=0\n",
        f" {key}  \n\n",
        f"{quantum}\n",
        f"{key}\n{quantum[:-8]}AAAAAAA=\n",
        f"{key}\t\n",
        f"{key}\nnothing\n",
        f"{key}\r\n",
        key.replace("+A", "+B", 1),
        "",
        f"{key}\n{key}\n",
        f"{key} from=1 until=4\n{key}\n",
    ]
    note = files[CHECKPOINT].decode()
    stranger = "— other.example/log AAAAAAAAAAAAAAAAAAAA\n"
    notes = [
        note + stranger,
        note + note.split("\n\n")[1],
        note.replace("\n\n", "\nextension\n\n"),
        note.rstrip("\n"),
        note + "— x\n",
        note + "— a+b AAAAAAAAAAAA\n",
        note + "— \ufeff AAAAAAAAAAAA\n",
        note + "— \u2003 AAAAAAAAAAAA\n",
        note.replace("— ", "- "),
        note[:-3] + "=\n",
        *story.notes[:4],
        load_signer(story.folder / "keys", ORIGIN).sign(note.split("\n\n")[0] + "\nmore\n"),
        load_signer(story.folder / "keys", ORIGIN).sign(Checkpoint(ORIGIN, 34, bytes(32)).text()),
        load_signer(story.folder / "keys", ORIGIN).sign(Checkpoint("other", 34, bytes(32)).text()),
    ]
    anchor = dice.choice([name for name in files if name.endswith(".checkpoint")])
    proof = anchor.replace(".checkpoint", ".consistency")
    match dice.randrange(5):
        case 0:
            files[KEYS] = dice.choice(keys).encode()
        case 1:
            files[CHECKPOINT] = dice.choice(notes).encode()
        case 2:
            files[anchor] = dice.choice(notes).encode()
        case 3:
            files[SIGNATURE] = dice.choice([*notes, files[SIGNATURE].decode() + stranger]).encode()
            return pack(files)
        case _:
            lines = files[proof].decode().splitlines(keepends=True)
            files[proof] = "".join(
                dice.choice([lines[1:], lines * 2, lines[::-1], [*lines, "AAAA\n"], ["x\n"], ["\n"]])
            ).encode()
    return signed_again(files, story.folder)


def another_log(story: Story) -> bytes:
    """The whole log written anew by the holder of its key: what its records say of each other does not fit."""
    dice, files = story.dice, dict(story.whole)
    records = [json.loads(line) for line in files[RECORDS].splitlines()]
    at = dice.randrange(len(records))
    of_kind = [one for one in records if one["kind"] == dice.choice([*sorted({one["kind"] for one in records})])]
    chosen = dice.choice(of_kind or records)
    match dice.randrange(9):
        case 0:
            del records[at]
        case 1:
            records.insert(at, json.loads(json.dumps(chosen)))
        case 2:
            records.remove(chosen)
        case 3:
            chosen["kind"] = dice.choice(["call.intent", "call.held", "call.refused", "gateway.note", "session.closing"])
        case 4 if "session" in chosen:
            chosen["session"]["seq"] += dice.choice([1, -1])
        case 5 if "approval" in chosen:
            chosen["approval"]["id"] = dice.choice(["a2", "a1"])
            chosen["approval"]["digest"] = "00" * 32
        case 6 if "who" in chosen:
            chosen["who"]["sub"] = dice.choice(["alice", "bob", "carol"])
        case 7:
            for one in records:
                if "ballots" in one.get("approval", {}):
                    one["approval"]["ballots"] += dice.choice([0, 1])
                if "use" in one.get("approval", {}):
                    one["approval"]["use"] = {
                        "number": dice.choice([1, 2, 4]),
                        "amount": dice.choice(["0.5", "99.6", "x", "1."]),
                    }
                if "accepts" in one.get("approval", {}):
                    one["approval"]["accepts"] = dice.choice(["a1", "a2", "a9"])
                if one["kind"] in ("approval.voted", "approval.settled"):
                    one["approval"] |= {"verdict": dice.choice(["approve", "deny"])} if one["kind"] == "approval.voted" else {}
                if "aspect" in one.get("facts", {}):
                    one["facts"]["before"] = dice.choice(["", "ab", one["facts"]["before"]])
        case _:
            for one in records:
                if one["kind"] == "session.closed":
                    one["counts"][dice.choice([*one["counts"]])] += dice.choice([0, 1])
                if one["kind"] == "summary.daily":
                    one["facts"]["counts"] = one["facts"]["counts"][dice.randrange(2) :]
    return _sealed(story, files, records)


def _sealed(story: Story, files: Files, records: list[dict[str, Any]]) -> bytes:
    places_ = {one["seq"]: at for at, one in enumerate(records)}
    for at, one in enumerate(records):
        records[at] = {**one, "seq": at} if _is_well_formed(one) else {**one, "seq": at, "kind": "gateway.note"}
    lines = [canonical(one) for one in records]
    hashes = [leaf_hash(line) for line in lines]
    told = [json.loads(line) for line in files[PAYLOADS].splitlines()]
    moved = [{**one, "seq": places_[one["seq"]]} for one in told if one["seq"] in places_]
    kept = [one for one in moved if one["slot"] in records[one["seq"]].get("payloads", {})]
    tree = Checkpoint(ORIGIN, len(lines), root_of(hashes))
    files = {name: body for name, body in files.items() if not name.startswith("policies/")}
    kept = [one for one in kept if "body" in one]
    files |= {
        RECORDS: b"".join(line + b"\n" for line in lines),
        LEAVES: b"".join(hashes),
        NODES: b"",
        PAYLOADS: b"".join(canonical(one) + b"\n" for one in sorted(kept, key=lambda one: (one["seq"], one["slot"]))),
        CHECKPOINT: load_signer(story.folder / "keys", ORIGIN).sign(tree.text()).encode(),
    }
    sessions = sorted({one["session"]["id"] for one in records if "session" in one})
    facts = {"size": tree.size, "root": tree.root.hex(), "end": tree.size, "texts": {}, "sessions": sessions}
    data = unpack(signed_again(files, story.folder, **facts, identities=[ALICE], by_caller=True))
    return told_again(data, story.folder)


def _is_well_formed(one: dict[str, Any]) -> bool:
    """A gateway writes no record of a kind without what belongs to it, so verifiers may take that for granted."""
    needs = {
        "call.held": ("approval", "who"),
        "approval.voted": ("approval", "who"),
        "session.closed": ("counts", "session"),
        "summary.daily": ("facts",),
        "approval.settled": ("approval",),
    }
    approval = one.get("approval", {})
    fits = one["kind"] != "call.held" or {"how", "terms"} <= approval.keys()
    return (
        fits
        and (one["kind"] != "call.intent" or not approval or "digest" in approval)
        and all(name in one for name in needs.get(one["kind"], ()))
    )


def nothing(story: Story) -> bytes:
    return pack(story.dice.choice([story.day, story.whole, story.anchored, story.raw]))


WAYS: tuple[Callable[[Story], bytes], ...] = (
    nothing, one_file, one_file, one_field, one_field, the_zip, by_the_key, by_the_key, fewer_records, other_facts, other_notes,
    another_log, other_raw,
)  # fmt: skip


WITHOUT_A_KEY = (one_file, one_field, the_zip)


# --- asking all three ------------------------------------------------------------------------------------------------------


def by_mcpgw(data: bytes, keys: str, against: list[str]) -> Said:
    return json.loads(json.dumps(as_data(check(data, keys=keys, against=against))))


def by_script(data: bytes, keys: str, against: list[str]) -> Said:
    found = verify.Examination(data, keys.encode(), [note.encode() for note in against])
    found.run()
    told = {"verdict": found.verdict, "problems": sorted(found.problems)}
    return json.loads(json.dumps({**told, "believed": found.believed, "unestablished": found.unestablished}))


def in_page(page: Any) -> Browser:
    """Return what asks `verify.html`, which is open in that page."""

    async def ask(data: bytes, keys: str, against: list[str]) -> Said:
        given = [base64.b64encode(one).decode() for one in (data, keys.encode(), *(note.encode() for note in against))]
        return await page.evaluate(
            """async given => {
                const [data, keys, ...against] = given.map(text => Uint8Array.from(atob(text), char => char.charCodeAt(0)));
                return examine(data, keys, against);
            }""",
            given,
        )

    return ask


@dataclass
class Tally:
    asked: int = 0
    sound: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    ways: Counter[str] = field(default_factory=Counter)
    disagreements: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    """Packages that somebody without a key altered, and that were found sound."""


async def agree(story: Story, count: int, browser: Browser, keep: Path | None = None) -> Tally:
    """Ask all three about so many packages, and return what they said and where they differed."""
    tally = Tally()
    public = story.whole[KEYS].decode()
    originals = {pack(files) for files in (story.day, story.whole, story.anchored, story.raw)}
    assert all(by_mcpgw(data, "", [])["verdict"] == "sound" for data in originals)
    for number in range(count):
        way = WAYS[number % len(WAYS)]
        data = way(story)
        keys = public if story.dice.random() < 0.2 else ""
        against = [story.dice.choice(story.notes)] if story.dice.random() < 0.3 else []
        said = [by_mcpgw(data, keys, against), by_script(data, keys, against), await browser(data, keys, against)]
        tally.asked += 1
        tally.sound += said[0]["verdict"] == "sound"
        tally.ways[f"{way.__name__} {said[0]['verdict']}"] += 1
        tally.kinds.update({kind for kind, _ in said[0]["problems"]})
        if said[0]["verdict"] == "sound" and way in WITHOUT_A_KEY and data not in originals:
            tally.missed.append(f"{number} {way.__name__}")
        if not said[0] == said[1] == said[2]:
            tally.disagreements.append(f"{number} {way.__name__}: {json.dumps(said)}")
            if keep is not None:
                (keep / f"{number}.zip").write_bytes(data)
    return tally


async def _main(folder: Path, count: int, seed: int) -> int:
    story = await asyncio.to_thread(Story.made, folder, seed)
    async with chromium() as browser, window(browser) as page:
        await page.goto(PAGE.as_uri())
        tally = await agree(story, count, in_page(page), folder)
    print(f"{tally.asked} packages, {tally.sound} sound; seed {seed}")
    print("ways:", ", ".join(f"{way} {number}" for way, number in sorted(tally.ways.items())))
    print("found:", ", ".join(f"{kind} {number}" for kind, number in sorted(tally.kinds.items())))
    print(f"disagreements: {len(tally.disagreements)}", *tally.disagreements[:10], sep="\n")
    print(f"altered without a key and found sound: {len(tally.missed)}", *tally.missed)
    return 1 if tally.disagreements or tally.missed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_main(Path(folder), asked.count, asked.seed))


if __name__ == "__main__":
    sys.exit(main())
