"""Evidence packages: the same bytes for the same query, nothing of Alice's day left out, and whatever is altered is found."""

import json
import re
import zipfile
from collections.abc import Callable
from contextlib import closing
from io import BytesIO
from pathlib import Path

import pytest
from evidence_story import ALICE, DAY, PURPOSE, SEALED, alices_day, package, signed_again, tell, told_again
from hypothesis import given
from hypothesis import strategies as st
from ledger_parts import CONTEXT, ORIGIN, Open
from stores import Kept
from test_cli import run
from test_completeness import written_again

from mcpgw.app.standings import without_secrets
from mcpgw.cli.package import as_data
from mcpgw.core.errors import ConfigError, LedgerUnavailable
from mcpgw.ledger.checkpoint import Checkpoint, InvalidNote, Signer
from mcpgw.ledger.evidence import (
    CHECKPOINT,
    FACTS_BEGIN,
    FACTS_END,
    KEYS,
    LEAVES,
    MANIFEST,
    NODES,
    PAYLOADS,
    README,
    RECORDS,
    SIGNATURE,
    mapping,
    verify,
)
from mcpgw.ledger.evidence.archive import NotAPackage, pack, unpack
from mcpgw.ledger.evidence.check import check, unestablished
from mcpgw.ledger.evidence.collect import Asked
from mcpgw.ledger.evidence.export import manifest_text
from mcpgw.ledger.evidence.multiproof import nodes, root
from mcpgw.ledger.evidence.sense import erased
from mcpgw.ledger.keys import create_keys, load_signer, load_verifiers
from mcpgw.ledger.record import Members, parse
from mcpgw.ledger.rotation import rotate
from mcpgw.ledger.store import Query
from mcpgw.ledger.tree import leaf_hash, root_of

Files = dict[str, bytes]


@pytest.fixture
async def told(anyio_backend: str, open_ledger: Open, kept: Kept) -> Kept:
    await tell(open_ledger)
    (kept.folder / "catalog").mkdir()
    return kept


@pytest.fixture
def day(told: Kept) -> bytes:
    return package(told.database(), told.folder, alices_day()).data


# --- the file --------------------------------------------------------------------------------------------------------------


def test_a_packed_file_is_a_zip_that_others_read_and_has_one_spelling() -> None:
    files = {"b.txt": b"two" * 500, "a/empty": b"", "a.txt": b"one"}
    data = pack(files)
    assert data == pack(dict(reversed(files.items())))
    with zipfile.ZipFile(BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == files
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert unpack(data) == files


def test_not_one_byte_of_a_packed_file_can_be_changed_or_lost() -> None:
    data = pack({"a.txt": b"one", "b.txt": b"two" * 50})
    for at in range(len(data)):
        for changed in (data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], data[:at]):
            with pytest.raises(NotAPackage):
                unpack(changed)
    with pytest.raises(NotAPackage, match="end as a package"):
        unpack(data + b"\0")


def test_what_two_unzippers_could_read_differently_is_no_package() -> None:
    for make in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        made = BytesIO()
        with zipfile.ZipFile(made, "w", make) as archive:
            archive.writestr("a.txt", b"one")  # with the time of day
        with pytest.raises(NotAPackage):
            unpack(made.getvalue())
    with pytest.raises(ValueError, match="ascii"):
        pack({"zoë": b""})


@given(st.integers(1, 70).flatmap(lambda size: st.tuples(st.just(size), st.sets(st.integers(0, size - 1)))))
def test_the_hashes_of_all_other_subtrees_lead_from_any_leaves_to_the_root(drawn: tuple[int, set[int]]) -> None:
    size, known = drawn
    hashes = [leaf_hash(bytes([number])) for number in range(size)]
    given_ = [*nodes(lambda start, end: root_of(hashes[start:end]), sorted(known), size)]
    leaves = {index: hashes[index] for index in known}
    assert root(leaves, given_, size) == root_of(hashes)
    for wrong in (given_[:-1], [*given_, hashes[0]]) if given_ else ([hashes[0]],):
        with pytest.raises(ValueError, match="hash"):
            root(leaves, wrong, size)
    with pytest.raises(ValueError, match="outside"):
        root({size: hashes[0]}, given_, size)


# --- what is in it ---------------------------------------------------------------------------------------------------------


def test_alices_day_is_whole_and_the_same_query_has_the_same_bytes(told: Kept, day: bytes) -> None:
    assert package(told.database(), told.folder, alices_day()).data == day
    findings = check(day)
    assert (findings.verdict, findings.problems) == ("sound", [])
    assert not [one for one in findings.unestablished if "left out" in one or "time that was asked" in one], (
        "a summary covers it"
    )
    files = unpack(day)
    facts = json.loads(files[MANIFEST])["facts"]
    records = [parse(line) for line in files[RECORDS].splitlines()]
    assert facts["identities"] == [ALICE]
    mine = [one for one in records if one.get("who", {}).get("sub") == "alice"]
    with closing(told.database().connect_read_only()) as store:
        since, until = DAY
        assert len(mine) == len(store.search(Query(who=ALICE, since_ns=since, until_ns=until - 1)))
    assert {one["kind"] for one in records} >= {"session.closed", "approval.voted", "approval.settled", "summary.daily"}
    others = {one["who"]["sub"] for one in records if one["kind"].startswith("call.")}
    assert others == {"alice"}, "nobody else's calls are shown"
    assert b"https://idp.example#zo" not in b"".join(files.values()), "nor that somebody else called that day"


def test_everything_that_was_asked_for_is_in_it_with_what_was_in_force(told: Kept) -> None:
    files = unpack(package(told.database(), told.folder, Asked()).data)
    facts = json.loads(files[MANIFEST])["facts"]
    texts = [json.loads(files[name]) for name in sorted(files) if name.startswith("policies/")]
    assert [[*text] for text in texts] == [["rule first"], ["rule second"]]
    assert sorted(facts["texts"].values()) == sorted(name for name in files if name.startswith("policies/"))
    assert {"verify.py", "verify.html"} == {name for name in files if name.startswith("verify")}
    assert facts["whole"] and facts["records"] == facts["end"] - facts["start"]


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        (Asked(tool="crm__*"), {"crm__lookup"}),
        (Asked(server="crm"), {"crm__lookup"}),
        (Asked(who="bob"), {"bank__balance"}),
        (Asked(who="nobody"), set()),
        (Asked(since_ns=DAY[1]), {"bank__transfer"}),
        (Asked(until_ns=1), set()),
    ],
)
@pytest.mark.sqlite
def test_a_narrower_query_shows_less_and_says_what_it_cannot_show(asked: Asked, shown: set[str], told: Kept) -> None:
    data = package(told.database(), told.folder, asked).data
    findings = check(data)
    assert findings.ok, findings.problems
    records = [parse(line) for line in unpack(data)[RECORDS].splitlines()]
    held = {one["approval"]["id"] for one in records if one["kind"].startswith("approval.")}
    calls = [one for one in records if one["kind"].startswith("call.") and one.get("approval", {}).get("id") not in held]
    assert {one["target"]["name"] for one in calls} == shown
    if asked.tool or asked.server:
        assert any("the query asks for less" in one for one in findings.unestablished)
    if asked.who == "nobody":
        assert any("nobody made no calls" in one for one in findings.unestablished)


def test_a_session_is_shown_as_a_whole_although_the_range_cuts_it(told: Kept) -> None:
    with closing(told.database().connect_read_only()) as store:
        mine = [parse(record.leaf) for record in store.search(Query(who=ALICE))]
    session, middle = mine[0]["session"]["id"], int(mine[4]["time_ns"])
    for asked in (Asked(session=session, since_ns=middle), Asked(who=ALICE, since_ns=middle, until_ns=middle + 1)):
        data = package(told.database(), told.folder, asked).data
        assert check(data).ok
        numbers = [one["session"]["seq"] for one in map(parse, unpack(data)[RECORDS].splitlines()) if "session" in one]
        assert numbers == [*range(len(numbers))]


@pytest.mark.sqlite
def test_the_readme_is_for_people_and_obeys_nothing_that_it_shows(told: Kept) -> None:
    page = unpack(package(told.database(), told.folder, Asked()).data)[README].decode()
    assert "zoë &lt;b&gt;" in page and "bank__&lt;/td&gt;" in page and "<b>" not in page
    assert page.count("<script") == 1, "the facts, which are data"
    assert "default-src 'none'" in page and "src=" not in page and "href=" not in page
    for said in ("quarterly review", "os:auditor", "a1", "too early", "US_SSN", "policies/1.json", "500.6(a)", "II.C.22"):
        assert said in page
    facts = json.loads(page.split(FACTS_BEGIN)[1].split(FACTS_END)[0])
    assert facts["reason"] == "quarterly review"


def test_controls_are_named_with_their_section_and_nothing_is_called_compliant() -> None:
    assert {one.source.split(",")[0].split(" ")[0] for one in mapping.CONTROLS} == {
        "FFIEC",
        "GLBA",
        "PCI",
        "Sarbanes-Oxley",
        "NYDFS",
    }
    assert all(one.section and one.asks and one.shows for one in mapping.CONTROLS)
    assert "compl" not in json.dumps(mapping.as_data()).lower()


# --- what is found ---------------------------------------------------------------------------------------------------------


def without(files: Files, wanted: Callable[[dict[str, object]], bool]) -> Files:
    lines = [line for line in files[RECORDS].splitlines(keepends=True) if wanted(json.loads(line))]
    assert len(lines) < len(files[RECORDS].splitlines())
    return {**files, RECORDS: b"".join(lines)}


def test_each_record_of_alices_day_that_is_removed_is_missed(day: bytes, told: Kept) -> None:
    files = unpack(day)
    with closing(told.database().connect_read_only()) as store:
        tree = store.leaf_hashes(0, json.loads(files[MANIFEST])["facts"]["size"])
    unmissed: dict[str, list[str]] = {}
    for record in map(json.loads, files[RECORDS].splitlines()):
        less = without(files, lambda one, seq=record["seq"]: one["seq"] != seq)
        assert ("altered", RECORDS) in check(pack(less)).problems
        by_the_key = check(told_again(less, told.folder, tree))
        found = {kind for kind, _ in by_the_key.problems}
        if record.get("who", {}).get("sub") == "alice":
            assert found & {"session", "summary"}, record
        elif record["kind"].startswith("approval."):
            assert found & {"approval"}, record
        elif by_the_key.ok:
            unmissed[record["kind"]] = by_the_key.unestablished
    said = {
        "session.closed": "which nothing closed",
        "summary.daily": "no daily summary in the package",
        "policy.activated": "",
        "payload.shredded": "gone without a record here",
    }
    assert unmissed.keys() == said.keys(), "what ends a session, counts the others, was in force, or says what was erased"
    for kind, sentences in unmissed.items():
        assert any(said[kind] in sentence for sentence in sentences)


def test_what_was_erased_is_named_by_its_record_and_not_missing(day: bytes) -> None:
    records = [json.loads(line) for line in unpack(day)[RECORDS].splitlines()]
    (erasing,) = [one for one in records if one["kind"] == "payload.shredded"]
    findings = check(day)
    assert findings.ok
    assert f"what payloads said that record {erasing['seq']} says were erased: 4" in findings.unestablished


def sealed_in(files: Files) -> dict[str, bytes]:
    return {name: body for name, body in files.items() if name.startswith("payloads/")}


def test_sealed_payloads_come_along_where_they_are_asked_for_and_only_there(told: Kept, day: bytes) -> None:
    """As they are kept, named by their records, under the commitments of those."""
    raw = package(told.database(), told.folder, alices_day(raw=True))
    assert package(told.database(), told.folder, alices_day(raw=True)).data == raw.data
    files, findings = unpack(raw.data), check(raw.data)
    assert findings.ok, findings.problems
    records = {one["seq"]: one for one in map(parse, files[RECORDS].splitlines())}
    kept = [(seq, slot) for seq, one in records.items() for slot in one.get("payloads", {}) if slot.endswith(".sealed")]
    (gone,) = [one for one in findings.unestablished if "says were erased" in one]
    erased_ones = re.findall("record ([0-9]+) (arguments|result)", gone)
    assert len(erased_ones) == 2 and ": 4; raw: record" in gone
    there = [(seq, slot) for seq, slot in kept if (str(seq), slot.removesuffix(".sealed")) not in erased_ones]
    assert {f"payloads/{seq}.{slot.removesuffix('.sealed')}.age" for seq, slot in there} == sealed_in(files).keys()
    assert raw.facts["raw"] == len(there) == 6 and raw.facts["query"]["raw"] is True
    assert set(sealed_in(files).values()) == {SEALED + bytes([number]) for number in range(3)}
    page = files[README].decode()
    assert all(name in page for name in sealed_in(files)) and page.count("erased, as record") == 2
    assert not sealed_in(unpack(day)) and "asked for: " not in unpack(day)[README].decode() and b"X25519" not in day
    assert not any("raw: record" in one for one in check(day).unestablished)


@pytest.mark.sqlite
def test_a_sealed_payload_that_is_none_of_its_record_is_found_though_the_holder_of_the_key_signed_it(told: Kept) -> None:
    files = unpack(package(told.database(), told.folder, alices_day(raw=True)).data)
    one, other, *_ = sealed_in(files)
    seq, slot, _ = one.removeprefix("payloads/").split(".")
    swapped = {**files, one: files[other] + b"x"}
    stray = {**files, "payloads/99.result.age": files[one]}
    assert ("payload", f"record {seq} {slot}.sealed") in check(signed_again(swapped, told.folder)).problems
    assert check(signed_again(stray, told.folder)).problems == [("payload", "payloads/99.result.age")]
    assert ("index", MANIFEST) in check(signed_again(files, told.folder, raw=7)).problems
    del files[one]
    assert ("missing", one) in check(pack(files)).problems


@pytest.mark.sqlite
def test_the_command_packs_sealed_payloads_and_records_that_they_were_asked_for(told: Kept, tmp_path: Path) -> None:
    out = tmp_path / "raw.zip"
    refused = run(told, "export", "--raw", "--reason", " ", "--out", str(out)).exception
    assert isinstance(refused, ConfigError) and "--reason" in str(refused)
    made = run(told, "export", "--raw", "--who", ALICE, "--reason", "dispute 7", "--out", str(out))
    assert made.exit_code == 0, (made.output, made.exception)
    assert "6 raw payloads are in it, sealed" in made.output
    (recorded,) = [json.loads(line) for line in run(told, "log", "--kind", "evidence.exported", "--json").stdout.splitlines()]
    assert recorded["facts"]["query"] == {"who": ALICE, "until_ns": str(2**63 - 1), "since_ns": "0", "raw": True}
    assert recorded["facts"]["reason"] == "dispute 7"
    assert run(told, "verify", str(out)).exit_code == 0


@pytest.mark.sqlite
def test_many_erased_raw_payloads_are_counted_once_enough_are_named() -> None:
    absent = [[seq, "result.sealed"] for seq in range(1, 31)]
    facts = {"start": 0, "end": 1, "by_caller": True, "whole": True, "identities": [], "sessions": [], "absent": absent}
    asked = {**facts, "query": {"who": "", "raw": True}, "texts": {}}
    named = [one for one in unestablished(asked, {}, {}, []) if "without a record" in one]
    assert named[0].endswith(": 30; raw: " + ", ".join(f"record {seq} result" for seq in range(1, 21)) + ", 10 more")


@pytest.mark.parametrize(
    "told", [[], {"comment": 1}, {"comment": [-1]}, {"comment": [True]}, {"comment": [9]}, {"comment": [1.5]}]
)
def test_a_record_that_names_no_earlier_payloads_erases_nothing(told: object) -> None:
    facts = {"absent": [[1, "comment"], [9, "comment"]]}
    assert erased(facts, {9: {"kind": "payload.shredded", "facts": {"payloads": told}}}) == {
        9: set(),
        -1: {(1, "comment"), (9, "comment")},
    }


def test_each_payload_counts_for_the_first_record_that_erases_it() -> None:
    facts = {"absent": [[1, "comment"], [3, "comment"], [3, "facts"]]}
    one, other = ({"kind": "payload.shredded", "facts": {"payloads": {"comment": comment}}} for comment in ([1, 2], [0, 1]))
    assert erased(facts, {7: one, 8: other}) == {7: {(1, "comment"), (3, "comment")}, 8: set(), -1: {(3, "facts")}}


@pytest.mark.parametrize("before", ["1000", "", None, 2000, "x"])
def test_a_sweep_accounts_for_nothing_that_was_too_young_for_it(before: object) -> None:
    """As somebody could lead a gateway to by its database: see `Erasures.objection`, which looks at the log itself."""
    facts = {"absent": [[1, "comment"], [2, "comment"], [3, "comment"]]}
    told = {"payloads": {"comment": [1, 1, 1]}, "before_ns": before}
    times: dict[int, Members] = {seq: {"kind": "call.held", "time_ns": str(at)} for seq, at in ((1, 999), (2, 1000), (3, 1001))}
    swept: Members = {"kind": "retention.swept", "facts": told}
    due = {(1, "comment")} if before == "1000" else set()
    assert erased(facts, {**times, 9: swept})[9] == due
    assert {place for place in verify.erased_by(9, swept) if verify.is_due(swept, times[place[0]])} == due


def test_a_whole_session_that_is_withheld_by_the_holder_of_the_key_is_missed(day: bytes, told: Kept) -> None:
    files = unpack(day)
    less = without(files, lambda one: "session" not in one)
    data = signed_again(unpack(told_again(less, told.folder)), told.folder, sessions=[])
    assert [kind for kind, _ in check(data).problems if kind == "summary"]


@pytest.mark.parametrize(
    ("edit", "found"),
    [
        (lambda files: files.pop(README), ("missing", README)),
        (lambda files: files.update({"notes.txt": b"x"}), ("foreign", "notes.txt")),
        (lambda files: files.update({README: files[README].replace(b"Calls", b"Cells")}), ("altered", README)),
        (lambda files: files.update({RECORDS: files[RECORDS].replace(b'"alice"', b'"bob"', 1)}), ("altered", RECORDS)),
        (lambda files: files.update({RECORDS: files[RECORDS] + b"{}\n"}), ("record", "line 42")),
        (lambda files: files.update({PAYLOADS: files[PAYLOADS].replace(b"[SSN]", b"[NSS]", 1)}), ("altered", PAYLOADS)),
        (lambda files: files.update({PAYLOADS: files[PAYLOADS][:-1]}), ("altered", PAYLOADS)),
        (lambda files: files.update({LEAVES: files[LEAVES][:-32]}), ("leaves", LEAVES)),
        (lambda files: files.update({NODES: files[NODES][:-1]}), ("root", CHECKPOINT)),
        (lambda files: files.update({NODES: bytes(64)}), ("root", CHECKPOINT)),
        (lambda files: files.update({CHECKPOINT: files[CHECKPOINT].replace(b"\n56\n", b"\n55\n")}), ("checkpoint", CHECKPOINT)),
        (lambda files: files.update({KEYS: b"nothing"}), ("keys", KEYS)),
        (lambda files: files.update({MANIFEST: b"{}"}), ("manifest", MANIFEST)),
        (lambda files: files.update({MANIFEST: files[MANIFEST].replace(b"quarterly", b"yearly")}), ("manifest", SIGNATURE)),
        (lambda files: files.update({SIGNATURE: files[CHECKPOINT]}), ("manifest", SIGNATURE)),
    ],
)
@pytest.mark.sqlite
def test_what_is_altered_is_named(edit: Callable[[Files], object], found: tuple[str, str], day: bytes) -> None:
    files = unpack(day)
    edit(files)
    findings = check(pack(files))
    assert found in findings.problems and findings.verdict == "unsound", findings.problems


@pytest.mark.sqlite
def test_an_altered_record_and_payload_are_named_themselves(day: bytes) -> None:
    files = unpack(day)
    line = next(line for line in files[RECORDS].splitlines() if b'"call.intent"' in line)
    seq = json.loads(line)["seq"]
    bad = {**files, RECORDS: files[RECORDS].replace(line, line.replace(b"because", b"becausf"))}
    assert ("altered", f"record {seq}") in check(pack(bad)).problems
    bad = {**files, PAYLOADS: files[PAYLOADS].replace(b"[SSN]", b"[NSS]", 1)}
    (name,) = [where for kind, where in check(pack(bad)).problems if kind == "payload"]
    assert name.endswith("arguments.clean")
    lines = files[PAYLOADS].splitlines(keepends=True)
    for made in (lines[1:], [*lines, lines[0]], [b"1\n", *lines], [lines[0].replace(b'"seq":', b'"seq":9'), *lines[1:]]):
        assert "payload" in {kind for kind, _ in check(pack({**files, PAYLOADS: b"".join(made)})).problems}


@pytest.mark.sqlite
def test_what_the_package_says_of_itself_is_counted_again(day: bytes, told: Kept) -> None:
    files = unpack(day)
    for facts in ({"records": 3}, {"kinds": {}}, {"payloads": 0}, {"texts": {}}, {"anchors": 1}):
        assert ("index", MANIFEST) in check(signed_again(files, told.folder, **facts)).problems
    other = files[README].replace(b"quarterly review", b"yearly review")
    assert check(signed_again({**files, README: other}, told.folder)).problems == [("index", README)]
    assert ("session", "s9") in check(signed_again(files, told.folder, sessions=["s9"])).problems


@pytest.mark.sqlite
def test_the_signature_of_a_manifest_is_none_of_a_checkpoint_and_the_other_way_round(day: bytes, told: Kept) -> None:
    text = manifest_text(ORIGIN, unpack(day)[MANIFEST])
    with pytest.raises(InvalidNote):
        Checkpoint.parse(text)


# --- keys and checkpoints that were kept elsewhere -------------------------------------------------------------------------


@pytest.mark.sqlite
def test_it_says_by_which_keys_and_anchors_it_is_believed(day: bytes, told: Kept, tmp_path: Path) -> None:
    public = (told.folder / "keys" / "ledger.pub").read_text()
    own = check(day, keys=public)
    assert own.ok and own.believed[0].endswith(", given")
    assert not any("came with the package" in one for one in own.unestablished)
    create_keys(tmp_path / "other", ORIGIN)
    strange = (tmp_path / "other" / "ledger.pub").read_text()
    assert check(day, keys=strange).problems == [("manifest", SIGNATURE)]
    assert check(day, keys="nothing").problems == [("keys", KEYS)]


@pytest.mark.sqlite
def test_a_checkpoint_that_was_kept_elsewhere_is_compared_where_there_is_a_proof(day: bytes, told: Kept) -> None:
    with closing(told.database().connect_read_only()) as store:
        notes = {one.size: one.note for one in store.checkpoints(0, 10_000)}
    mine = json.loads(unpack(day)[MANIFEST])["facts"]["size"]
    assert any("checkpoint over" in one and "given" in one for one in check(day, against=[notes[mine]]).believed)
    for size in (min(notes), max(notes)):
        assert any("no proof of it" in one for one in check(day, against=[notes[size]]).unestablished)
        proved = package(told.database(), told.folder, alices_day(), [notes[size]])
        findings = check(proved.data, against=[notes[size]])
        assert findings.ok and f"checkpoint over {size} records, given" in findings.believed
        assert not any("written anew" in one for one in findings.unestablished)
        files = unpack(proved.data)
        name = next(one for one in files if one.endswith(".consistency"))
        assert files[name] or size == mine
        bad = {**files, name: files[name][45:] + files[name][:45] + b"AAAA\n"}
        assert ("anchor", name.replace(".consistency", ".checkpoint")) in check(signed_again(bad, told.folder)).problems
    signer = load_signer(told.folder / "keys", ORIGIN)
    fork = signer.sign(Checkpoint(ORIGIN, mine, bytes(32)).text())
    assert check(day, against=[fork]).problems == [("anchor", "given 1")]
    assert check(day, against=["nothing"]).problems == [("anchor", "given 1")]
    strange = Signer.generate("other.example/log").sign(Checkpoint("other.example/log", 1, bytes(32)).text())
    with pytest.raises(InvalidNote):
        package(told.database(), told.folder, alices_day(), [strange])
    beyond = signer.sign(Checkpoint(ORIGIN, 10_000, bytes(32)).text())
    with pytest.raises(InvalidNote, match="does not continue"):
        package(told.database(), told.folder, alices_day(), [beyond])


# --- where it comes from ---------------------------------------------------------------------------------------------------


def test_nothing_is_given_away_of_a_log_that_does_not_prove_it(told: Kept) -> None:
    with told.tampering() as admin:
        admin.execute("UPDATE records SET hash = ? WHERE seq = 5", [bytes(32)])
    with pytest.raises(LedgerUnavailable, match=r"altered|add up"):
        package(told.database(), told.folder, alices_day())


@pytest.mark.sqlite
def test_what_the_log_itself_lacks_is_told_and_given_away_all_the_same(told: Kept, tmp_path: Path) -> None:
    written_again(told, lambda leaves: leaves.remove(next(leaf for leaf in leaves if leaf["kind"] == "call.refused")))
    made = run(told, "export", "--who", ALICE, "--reason", "x", "--out", str(tmp_path / "e.zip"))
    assert made.exit_code == 0, (made.output, made.exception)
    assert "Whoever verifies it will be told: session" in made.output
    assert {kind for kind, _ in check((tmp_path / "e.zip").read_bytes()).problems} == {"session", "summary"}
    assert run(told, "verify", str(tmp_path / "e.zip")).exit_code == 1


@pytest.mark.sqlite
def test_a_log_whose_checkpoint_or_leaves_cannot_be_read_is_not_exported(told: Kept) -> None:
    with told.tampering() as admin:
        admin.execute("UPDATE records SET leaf = x'ff' WHERE seq = 3")
    with pytest.raises(LedgerUnavailable, match="a record cannot be read"):
        package(told.database(), told.folder, alices_day())
    with told.tampering() as admin:
        admin.execute("DELETE FROM records WHERE seq = 3")
    with pytest.raises(LedgerUnavailable, match="missing"):
        package(told.database(), told.folder, Asked(tool="crm__*"))
    with told.tampering() as admin:
        admin.execute("UPDATE checkpoints SET note = replace(note, 'bank.example', 'bunk.example')")
    refused = run(told, "export", "--reason", "x", "--out", str(told.folder / "e.zip")).exception
    assert isinstance(refused, LedgerUnavailable)
    assert not (told.folder / "e.zip").exists() and not (told.folder / "data" / "e.zip").exists()


@pytest.mark.sqlite
def test_an_empty_log_has_no_package(kept: Kept) -> None:
    kept.database().migrate()
    with pytest.raises(LedgerUnavailable, match="nothing was recorded"):
        package(kept.database(), kept.folder, Asked(), purpose=PURPOSE)


def test_the_command_writes_it_checks_it_and_records_that_it_did(told: Kept, tmp_path: Path) -> None:
    out = tmp_path / "alice.zip"
    asked = ["--from", "2026-03-15T00:00Z", "--to", "2026-03-16T00:00Z", "--who", ALICE, "--reason", "exam 7"]
    made = run(told, "export", *asked, "--out", str(out))
    assert made.exit_code == 0, (made.output, made.exception)
    assert (out.stat().st_mode & 0o777) == 0o600
    (recorded,) = [json.loads(line) for line in run(told, "log", "--kind", "evidence.exported", "--json").stdout.splitlines()]
    assert recorded["facts"]["reason"] == "exam 7" and recorded["facts"]["sha256"] in made.output
    assert recorded["actor"].startswith("os:") and recorded["facts"]["query"]["who"] == ALICE
    good = run(told, "verify", str(out))
    assert (good.exit_code, "✓ SOUND" in good.output, "believed: key" in good.output) == (0, True, True)
    said = json.loads(run(told, "verify", str(out), "--json", "--keys", str(told.folder / "keys/ledger.pub")).stdout)
    assert (said["verdict"], said["problems"]) == ("sound", [])
    again = run(told, "export", *asked, "--out", str(out)).exception
    assert isinstance(again, ConfigError) and "never replaces" in str(again)
    assert run(told, "export", *asked, "--out", str(tmp_path / "again.zip")).exit_code == 0
    assert (tmp_path / "again.zip").read_bytes() == out.read_bytes(), "the export before it changes nothing"
    for wrong in (["--watch"], ["--from", "3"], ["--to", "3"], ["--witness", "w"], ["--ca", "c"]):
        refused = run(told, "verify", str(out), *wrong).exception
        assert isinstance(refused, ConfigError) and "as a whole" in str(refused)
    alone = run(told, "verify", "--keys", str(told.folder / "keys/ledger.pub")).exception
    assert isinstance(alone, ConfigError) and "--keys" in str(alone)
    files = unpack(out.read_bytes())
    files[RECORDS] = files[RECORDS].replace(b"alice", b"mable", 1)
    out.write_bytes(pack(files))
    bad = run(told, "verify", str(out))
    assert (bad.exit_code, "UNSOUND" in bad.output, f"altered    {RECORDS}" in bad.output) == (1, True, True)


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--reason", " "], "--reason"),
        (["--reason", "x" * 501], "--reason"),
        (["--reason", "x", "--from", "2026-03-16", "--to", "2026-03-15"], "--to"),
        (["--reason", "x", "--out", "/nowhere/x.zip"], "/nowhere/x.zip"),
    ],
)
def test_a_wrong_command_says_where(arguments: list[str], said: str, told: Kept) -> None:
    refused = run(told, "export", "--out", str(told.folder / "e.zip"), *arguments).exception
    assert isinstance(refused, ConfigError) and said in str(refused), refused
    assert not (told.folder / "e.zip").exists()


@pytest.mark.sqlite
def test_an_anchor_is_named_by_a_file_and_compared_from_a_directory(told: Kept, tmp_path: Path) -> None:
    with closing(told.database().connect_read_only()) as store:
        (newest,) = store.newest_checkpoint()
    anchors = tmp_path / "anchors"
    anchors.mkdir()
    (anchors / f"{newest.size:020}.0123456789abcdef.checkpoint").write_text(newest.note)
    file, out = next(anchors.iterdir()), tmp_path / "e.zip"
    made = run(told, "export", "--reason", "x", "--who", "alice", "--anchor", str(file), "--out", str(out))
    assert made.exit_code == 0, made.exception
    said = run(told, "verify", str(out), "--against", str(anchors)).output
    assert f"checkpoint over {newest.size} records, given" in said
    (tmp_path / "empty").mkdir()
    refused = run(told, "verify", str(out), "--against", str(tmp_path / "empty")).exception
    assert isinstance(refused, ConfigError) and "no checkpoint in it" in str(refused)
    wrong = run(
        told, "export", "--reason", "x", "--anchor", str(out.with_name("e.zip")), "--out", str(tmp_path / "f")
    ).exception
    assert isinstance(wrong, ConfigError)


def test_settings_are_recorded_without_what_could_be_a_secret() -> None:
    told = {
        "ledger": {"url": "postgresql://u:pw@db.example/x", "origin": "o"},
        "sinks": [{"secret": "${env:TOKEN}", "url": "https://hooks.example/T0/secret-path"}, {"secret": "hunter2"}],
        "notify": {"addresses": ["${env:SLACK_URL}", "slack://token@x"], "url": ""},
    }
    assert without_secrets(told) == {
        "ledger": {"url": "postgresql://db.example[not recorded]", "origin": "o"},
        "sinks": [{"secret": "${env:TOKEN}", "url": "https://hooks.example[not recorded]"}, {"secret": "[not recorded]"}],
        "notify": {"addresses": ["${env:SLACK_URL}", "[not recorded]"], "url": ""},
    }


@pytest.mark.sqlite
def test_a_package_from_before_the_key_was_rotated_is_believed_as_ever_and_has_the_new_keys_signature(
    told: Kept, tmp_path: Path
) -> None:
    before = package(told.database(), told.folder, alices_day())
    rotate(told.database(), told.folder / "keys", ORIGIN, actor="os:root", context=CONTEXT, quantum=True)
    public = (told.folder / "keys" / "ledger.pub").read_text()
    after = package(told.database(), told.folder, alices_day())
    over = package(told.database(), told.folder, Asked())
    assert {name for name, body in unpack(after.data).items() if unpack(before.data)[name] != body} == {
        KEYS,
        SIGNATURE,
        MANIFEST,
    }
    for data in (before.data, after.data, over.data):
        for keys in ("", public):
            said = as_data(check(data, keys=keys))
            examination = verify.Examination(data, keys.encode(), [])
            examination.run()
            assert (said["verdict"], said["problems"]) == ("sound", []), said
            assert (examination.verdict, examination.believed) == ("sound", said["believed"])
            assert examination.unestablished == said["unestablished"]


def test_every_key_of_the_log_may_have_signed_the_manifest(day: bytes, told: Kept) -> None:
    (key,) = load_verifiers(told.folder / "keys")
    assert check(day, keys=f"{key.vkey()} until=60\n").ok, "it was retired after the checkpoint of the package"
    assert check(day, keys=f"{key.vkey()} until=4\n").problems == [("checkpoint", CHECKPOINT)]
