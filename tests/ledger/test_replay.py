"""A session step by step, on either store and from a package: the same steps, in order, and nothing of it is obeyed."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pyrage
import pytest
from click.testing import Result
from evidence_story import ALICE, alices_day, package, tell
from ledger_parts import ORIGIN, Open, intent, outcome, reply, shown
from playwright.async_api import expect
from stores import Kept
from typer.testing import CliRunner

from mcpgw.cli.main import build
from mcpgw.core.canonical import commitment
from mcpgw.core.errors import ConfigError
from mcpgw.core.model import CleanJson, Commitment
from mcpgw.ledger.beside import beside
from mcpgw.ledger.evidence.archive import unpack
from mcpgw.ledger.evidence.collect import Asked
from mcpgw.ledger.evidence.replay_page import page
from mcpgw.ledger.record import Members, parse
from mcpgw.ledger.replay import LogSource, PackageSource, Side, Step, as_data, steps
from mcpgw.ledger.store import Query
from mcpgw.ledger.vault import Sheet, seal
from tests.console.browser import CHROMIUM, chromium, window

NASTY = "\x1b[2J\x1b]0;owned\x07 \u202egpj.exe </pre><script>alert(1)</script> p\u0430ypal"


@pytest.fixture
async def told(anyio_backend: str, open_ledger: Open, kept: Kept) -> Kept:
    await tell(open_ledger)
    (kept.folder / "catalog").mkdir()
    (kept.folder / "config.toml").write_text(f'[ledger]\norigin = "{ORIGIN}"\nurl = "{kept.address}"\n')
    return kept


def sessions_of(kept: Kept, who: str) -> list[str]:
    with closing(kept.database().connect_read_only()) as store:
        return [str(one.index["session"]) for one in store.search(Query(who=who, kind="session.opened"))]


def replayed(kept: Kept, session: str) -> list[Step]:
    with closing(kept.database().connect_read_only()) as store:
        return [*steps(LogSource(store), session)]


def run(kept: Kept, *arguments: str) -> Result:
    return CliRunner().invoke(build(["replay"]), ["replay", "-C", str(kept.folder), *arguments])


def test_a_session_is_told_from_its_opening_to_its_end_with_what_others_did_between(told: Kept) -> None:
    first, _ = sessions_of(told, ALICE)
    found = replayed(told, first)
    assert [one.seq for one in found] == sorted({one.seq for one in found}), "each record once, in the order of the log"
    assert (found[0].kind, found[0].offset_ns, found[-1].kind) == ("session.opened", 0, "session.closed")
    said = [(one.kind, one.who, one.title, one.side) for one in found if "a1" in " ".join(one.marks)]
    assert said == [
        ("call.held", "alice", "calls bank__transfer, and it is held", Side.CLIENT),
        ("approval.voted", "carol", "votes to approve", Side.PEOPLE),
        ("approval.vote_withdrawn", "carol", "takes the vote back", Side.PEOPLE),
        ("approval.voted", "bob", "votes to approve", Side.PEOPLE),
        ("approval.settled", "", "the call is approved", Side.GATEWAY),
        ("call.intent", "alice", "calls bank__transfer, and it runs", Side.CLIENT),
        ("call.outcome", "alice", "is answered by bank__transfer", Side.CLIENT),
    ]
    marks = {mark for one in found for mark in one.marks}
    assert {
        "allow by r1",
        "deny by r1",
        "refused: denied",
        "masked: US_SSN at rows[*].ssn, 3 times, found by column@1",
        "takes up what was proposed on a2",
        "changes amount",
        "asks for a grant of 3 calls, together 100 of amount",
        "use 1 of a grant, 10",
        "use 2 of a grant, 0.5",
    } <= marks
    told_of = [(one.title, [shown.text for shown in one.shown], one.marks) for one in found if "rooms__book" in one.title]
    assert [title for title, _, _ in told_of] == [
        "calls rooms__book, and it runs",
        "is asked by rooms__book, which waits for the answer",
        "answers rooms__book, which goes on",
        "is asked by rooms__book, which waits for the answer",
        "gets no answer through to rooms__book",
        "is answered by rooms__book",
    ]
    assert [len(texts) for _, texts, _ in told_of] == [1, 1, 1, 1, 0, 1]
    assert "Which day?" in told_of[1][1][0] and "Monday" in told_of[2][1][0]
    assert "The caller did not answer in time." in told_of[4][2]
    comments = [shown.text for one in found for shown in one.shown if shown.slot == "comment"]
    assert '"wait"' in comments and '"for less"' in comments
    assert all(one.who in ("alice", "bob", "carol", "gateway", "") for one in found), "nothing of other people's sessions"


def test_a_package_tells_the_same_steps_as_the_log(told: Kept) -> None:
    data = package(told.database(), told.folder, alices_day()).data
    first, _ = sessions_of(told, ALICE)
    assert [*steps(PackageSource(unpack(data)), first)] == replayed(told, first)
    assert [*steps(PackageSource(unpack(data)), "no-such-session")] == []


def test_steps_behind_any_place_are_the_rest_of_the_whole(told: Kept) -> None:
    first, _ = sessions_of(told, ALICE)
    whole = replayed(told, first)
    for at, step in enumerate(whole):
        with closing(told.database().connect_read_only()) as store:
            assert [*steps(LogSource(store), first, after=step.place)] == whole[at + 1 :]


class Few:
    """`Source` of a session that used a grant which was approved before; says whose payloads were read."""

    def __init__(self) -> None:
        self.read: list[int] = []
        self.records = [call_of(1, 0), call_of(7, 1), call_of(10, 2, approval={"id": "a1"}), call_of(12, 3)]

    def session(self, session: str) -> Iterator[Members]:
        return iter(self.records)

    def approval(self, approval_id: str) -> list[Members]:
        settled = {"id": approval_id, "state": "approved"}
        return [{"seq": seq, "time_ns": str(seq), "kind": "approval.settled", "approval": settled} for seq in (5, 11)]

    def payloads(self, seq: int) -> Mapping[str, bytes]:
        self.read.append(seq)
        return {}


def call_of(seq: int, number: int, **more: Any) -> Members:
    return {"seq": seq, "time_ns": str(seq), "kind": "call.intent", "session": {"seq": number}, "call": f"c{seq}", **more}


def test_what_was_done_before_the_session_had_to_do_with_it_is_neither_lost_nor_told_twice_on_any_page() -> None:
    whole = [(one.seq, one.place) for one in steps(Few(), "s")]
    assert whole == [(1, 1), (7, 7), (5, 10), (10, 10), (11, 11), (12, 12)]
    for after in (1, 7, 10, 11, 12):
        source = Few()
        rest = [(one.seq, one.place) for one in steps(source, "s", after=after)]
        assert rest == [one for one in whole if one[1] > after]
        assert source.read == [seq for seq, _ in rest], "nothing beside the records of earlier pages is read again"


def test_windows_of_the_log_do_not_show(told: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = sessions_of(told, ALICE)
    whole = replayed(told, first)
    monkeypatch.setattr("mcpgw.ledger.replay._WINDOW", 3)
    assert [one.seq for one in replayed(told, first) if one.side is Side.CLIENT] == [
        one.seq for one in whole if one.side is Side.CLIENT
    ]


def test_what_is_missing_is_said(told: Kept) -> None:
    first, _ = sessions_of(told, ALICE)
    whole = replayed(told, first)
    answered = next(one for one in whole if one.kind == "call.outcome")
    with told.tampering() as admin:
        admin.execute(
            f"DELETE FROM records WHERE seq = {whole[2].seq - 1 if whole[2].seq - 1 == whole[1].seq else whole[1].seq}"
        )
        admin.execute(f"DELETE FROM payloads WHERE seq = {answered.seq}")
    found = replayed(told, first)
    assert any("1 records of the session before it are not here" in one.marks for one in found)
    (gone,) = [one for one in found if one.seq == answered.seq]
    assert [(one.slot, one.text) for one in gone.shown] == [("result.clean", "")]
    assert as_data(gone)["shown"][0]["gone"] is True
    assert "not there any more" in page(first, ORIGIN, found, gateway="0")


@pytest.mark.sqlite
def test_the_command_shows_it_records_that_and_writes_a_page_once(told: Kept, tmp_path: Path) -> None:
    first, _ = sessions_of(told, ALICE)
    said = run(told, first)
    assert said.exit_code == 0, said.exception
    assert "alice calls bank__transfer, and it is held" in said.output and "carol takes the vote back" in said.output
    with closing(told.database().connect_read_only()) as store:
        (record,) = store.search(Query(kind="evidence.read", limit=1))
    assert parse(record.leaf)["facts"] == {"what": "session", "session": first}
    html = tmp_path / "session.html"
    assert run(told, first, "--html", str(html)).exit_code == 0
    assert isinstance(run(told, first, "--html", str(html)).exception, ConfigError), "it replaces nothing"
    (tmp_path / "alice.zip").write_bytes(package(told.database(), told.folder, alices_day()).data)
    packed = CliRunner().invoke(build(["replay"]), ["replay", first, "--package", str(tmp_path / "alice.zip")])
    assert (packed.exit_code, packed.stdout) == (0, said.stdout)


@pytest.mark.sqlite
def test_what_cannot_be_shown_is_refused_in_words(told: Kept, tmp_path: Path) -> None:
    first, _ = sessions_of(told, ALICE)
    key = tmp_path / "key.txt"
    key.write_text("no key")
    mine = tmp_path / "mine.txt"
    mine.write_text(str(pyrage.x25519.Identity.generate()))
    (tmp_path / "clean.zip").write_bytes(package(told.database(), told.folder, alices_day()).data)
    data = bytearray(package(told.database(), told.folder, alices_day()).data)
    data[len(data) // 2] ^= 1
    (tmp_path / "bad.zip").write_bytes(data)
    for arguments, why in (
        (["nobody\x1b"], "there is no session 'nobody\\\\u001b'"),
        ([first, "--step"], "no terminal"),
        ([first, "--speed", "fast"], "'fast' is no speed"),
        ([first, "--speed", "-1"], "'-1' is no speed"),
        ([first, "--raw"], "name the file of your private key"),
        ([first, "--reason", "x"], "is for raw payloads"),
        ([first, "--raw", "--identity", str(key)], "why raw payloads are looked at"),
        ([first, "--raw", "--identity", str(key), "--reason", "dispute"], "no X25519 identity"),
        ([first, "--package", str(tmp_path / "bad.zip")], "is not sound"),
        ([first, "--package", str(tmp_path / "clean.zip"), "--raw", "--identity", str(mine)], "made without raw payloads"),
    ):
        failed = run(told, *arguments)
        assert isinstance(failed.exception, ConfigError) and why in str(failed.exception), (arguments, failed.exception)


async def nasty(open_ledger: Open) -> None:
    async with open_ledger() as ledger:
        one = intent("m\u0430llory")
        one = replace(one, shown=replace(one.shown, arguments=CleanJson({"memo": NASTY, NASTY: 1})))
        await ledger.append(outcome(await ledger.append(one), reply(NASTY)))


@pytest.mark.sqlite
async def test_nothing_in_a_payload_is_obeyed(open_ledger: Open, kept: Kept, tmp_path: Path) -> None:
    await nasty(open_ledger)
    (session,) = sessions_of(kept, "m\u0430llory")
    found = replayed(kept, session)
    (kept.folder / "catalog").mkdir()
    (kept.folder / "config.toml").write_text(f'[ledger]\norigin = "{ORIGIN}"\n')
    done = await _printed(kept, session)
    made = page(session, ORIGIN, found, gateway="0")
    for text in (done, made):
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\u0430]", text)
        assert "\\u202e" in text and "\\u001b" in text and "\\u0430" in text
    assert "<script>alert" not in made and made.count("<script>") == 1


async def _printed(kept: Kept, session: str) -> str:
    return (await anyio.to_thread.run_sync(lambda: run(kept, session))).stdout


@pytest.mark.sqlite
@pytest.mark.skipif(not CHROMIUM.exists(), reason="scripts/browser installs it")
async def test_the_page_plays_by_itself_and_is_whole_without_its_script(open_ledger: Open, kept: Kept, tmp_path: Path) -> None:
    await tell(open_ledger)
    first, _ = sessions_of(kept, ALICE)
    found = replayed(kept, first)
    (tmp_path / "s.html").write_text(page(first, ORIGIN, found, gateway="0"))
    async with chromium() as browser:
        async with window(browser) as open_page:
            asked: list[str] = []
            open_page.on("request", lambda request: asked.append(request.url))
            await open_page.goto((tmp_path / "s.html").as_uri())
            visible = open_page.locator(".step:visible")
            await expect(visible).to_have_count(len(found))
            await open_page.get_by_label("steps shown").fill("2")
            await expect(visible).to_have_count(2)
            await open_page.get_by_label("steps shown").fill(str(len(found) - 5))
            await open_page.get_by_label("speed").select_option("100")
            await open_page.get_by_role("button", name="Play").click()
            await expect(open_page.get_by_role("button", name="Play")).to_be_visible(timeout=20_000)
            await expect(visible).to_have_count(len(found), timeout=20_000)
            assert asked == [(tmp_path / "s.html").as_uri()], "nothing is fetched"
        async with window(browser, java_script_enabled=False) as plain:
            await plain.goto((tmp_path / "s.html").as_uri())
            await expect(plain.locator(".step:visible")).to_have_count(len(found))
            await expect(plain.locator("#player")).to_be_hidden()


# --- raw beside clean ----------------------------------------------------------------------------------------------------


@pytest.mark.sqlite
@pytest.mark.parametrize("lies", [False, True])
async def test_raw_is_shown_beside_clean_and_what_it_proves_is_said(
    lies: bool, open_ledger: Open, kept: Kept, tmp_path: Path
) -> None:
    key = pyrage.x25519.Identity.generate()
    (tmp_path / "key.txt").write_text(f"# mine\n{key}\n")
    (kept.folder / "catalog").mkdir()
    (kept.folder / "config.toml").write_text(f'[ledger]\norigin = "{ORIGIN}"\n')
    async with open_ledger() as ledger:
        one = shown("alice")
        body, salt = json.dumps({"ssn": "078-05-1120", "n": 1}).encode(), b"s" * 32
        sheet = Sheet(slot="arguments", call_id=one.call.id, body=b"{}" if lies else body, size=len(body), salt=salt)
        one = replace(
            one,
            arguments=CleanJson({"ssn": "[SSN]", "n": 1}),
            raw=Commitment(digest=commitment(salt, body), salt=salt, size=len(body)),
            sealed=(seal(sheet, [str(key.to_public())]),),
        )
        await ledger.append(outcome(await ledger.append(replace(intent(), shown=one))))
    (session,) = sessions_of(kept, "alice")
    arguments = (session, "--raw", "--identity", str(tmp_path / "key.txt"), "--reason", "dispute 7")
    done = await anyio.to_thread.run_sync(lambda: run(kept, *arguments))
    assert done.exit_code == 0, done.exception
    if lies:
        assert "IT IS NOT WHAT THE RECORD COMMITS TO" in done.stdout
    else:
        assert "it is what the record commits to" in done.stdout
        assert re.search(r'≠ +"ssn": "\[SSN\]", +"ssn": "078-05-1120",', done.stdout)
        assert not re.search(r'≠ +"n": 1', done.stdout)
    with closing(kept.database().connect_read_only()) as store:
        (record,) = store.search(Query(kind="evidence.read", limit=1))
    assert parse(record.leaf)["facts"] == {"what": "raw session", "session": session, "reason": "dispute 7"}
    html = tmp_path / "raw.html"
    assert (await anyio.to_thread.run_sync(lambda: run(kept, *arguments, "--html", str(html)))).exit_code == 0
    assert ("078-05-1120" in html.read_text()) is not lies and "differs" in html.read_text()
    packed = package(kept.database(), kept.folder, Asked(raw=True))
    (tmp_path / "raw.zip").write_bytes(packed.data)
    alone = ["replay", session, "--package", str(tmp_path / "raw.zip"), "--raw", "--identity", str(tmp_path / "key.txt")]
    elsewhere = await anyio.to_thread.run_sync(lambda: CliRunner().invoke(build(["replay"]), alone))
    assert (elsewhere.exit_code, elsewhere.stdout) == (0, done.stdout), "the same, on another machine, and without a reason"
    plain = await anyio.to_thread.run_sync(lambda: run(kept, session))
    assert "078-05-1120" not in plain.stdout and "the raw payload is sealed in the vault" in plain.stdout
    (tmp_path / "other.txt").write_text(str(pyrage.x25519.Identity.generate()))
    others = (session, "--raw", "--identity", str(tmp_path / "other.txt"), "--reason", "x")
    assert "none of these keys opens it" in (await anyio.to_thread.run_sync(lambda: run(kept, *others))).stdout


def test_lines_stand_beside_the_lines_that_they_became() -> None:
    pairs = [*beside('{"a": 1, "ssn": "<US_SSN>", "z": 2}', '{"a": 1, "ssn": "078", "extra": true, "z": 2}')]
    assert [(one.clean.strip(), one.raw.strip()) for one in pairs if one.differs] == [
        ('"ssn": "<US_SSN>",', '"ssn": "078",'),
        ("", '"extra": true,'),
    ]
    cut = [*beside('{"a": 1}', '{"a": "a long text that was cu')]
    assert cut[-1].raw or cut[0].raw, "what was cut is no JSON, and is shown as it is"
