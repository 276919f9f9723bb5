"""The HTTP API, for verdicts and for evidence: for people's programs, by a bearer credential and by nothing else."""

import hashlib
import json
import re
import runpy
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import anyio
import httpx2
import jsonschema_rs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcpgw.app.evidence import LogEvidence
from mcpgw.cli.common import open_folder, open_ledger
from mcpgw.console.api import ROUTES
from mcpgw.console.api import evidence as evidence_shapes
from mcpgw.console.api.routes import DOCUMENT
from mcpgw.console.api.shapes import laid_out
from mcpgw.console.doors import NotForYou, Wanted
from mcpgw.core.errors import LedgerUnavailable
from mcpgw.core.model import IdentityKind
from mcpgw.ledger.evidence.check import check
from mcpgw.ledger.keys import load_verifiers
from mcpgw.ledger.proof import Proof
from mcpgw.ledger.tree import leaf_hash
from mcpgw.ports import Sheet
from tests.approval.test_grants import asked
from tests.approval.world import BOB, World
from tests.console import contract
from tests.console.bank import TLS, Bank, open_bank
from tests.flows.gateway import BOUND_S, bearer, words

ROOT = Path(__file__).parents[2]
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
SPEC: dict[str, Any] = json.loads((ROOT / "docs/openapi.json").read_text())
ADDRESS = (f"198.51.100.{number}" for number in range(1, 255))
"""Each caller comes from an address of its own, so that one test's wrong keys do not shut out another's."""


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bank]:
    with open_bank(tmp_path_factory.mktemp("api"), contract.WITH_API) as bank:
        yield bank


@asynccontextmanager
async def program(bank: Bank, who: str = "", **headers: str) -> AsyncIterator[httpx2.AsyncClient]:
    """Return what acts for somebody; without a credential, where that is empty."""
    told = {"X-Forwarded-For": next(ADDRESS), **(bearer(bank.key(who)) if who else {}), **headers}
    async with httpx2.AsyncClient(base_url=f"{bank.url}/api/v1", timeout=BOUND_S, headers=told, verify=TLS) as http:
        yield http


def refusals(bank: Bank) -> list[dict[str, Any]]:
    return [record for record in bank.folder.records("call.refused") if record["origin"]["transport"] == "api"]


def fits(answer: httpx2.Response, name: str) -> dict[str, Any]:
    """Return the answer's JSON, which must be what the description says."""
    schema = {**SPEC["components"]["schemas"][name], "components": SPEC["components"]}
    jsonschema_rs.validator_for(schema).validate(answer.json())
    return dict(answer.json())


def is_problem(answer: httpx2.Response, status: int, detail: str = "") -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told = fits(answer, "Problem")
    assert told["status"] == status and detail in told["detail"], told


async def test_a_person_lists_reads_and_approves_and_the_call_runs_once(bank: Bank) -> None:
    approval_id = await bank.hold(7_200_01)
    async with program(bank, "carol") as carol:
        listed = fits(await carol.get("/approvals", params={"state": "pending"}), "Page")
        (entry,) = [one for one in listed["approvals"] if one["id"] == approval_id]
        assert entry["deeds"] == ["vote"] and '"from_account": "<BANK_ACCOUNT>"' in entry["arguments"]
        shown = fits(await carol.get(f"/approvals/{approval_id}"), "Sheet")
        assert shown["exact"] and '"from_account": "CHK-100001"' in shown["arguments"]
        vote = {"verdict": "approve", "shown": shown["shown"], "comment": "called them"}
        voted = fits(await carol.post(f"/approvals/{approval_id}/vote", json=vote), "Approval")
        assert voted["state"] == "approved" and voted["deeds"] == ["revoke"]
        is_problem(await carol.post(f"/approvals/{approval_id}/vote", json=vote), 409, "approved already")
    assert not (await bank.transfer(7_200_01)).is_error
    assert bank.transfers(7_200_01) == 1
    read = [one for one in bank.folder.records("evidence.read") if one["facts"].get("approval_id") == approval_id]
    assert [one["actor"] for one in read] == ["mcpgw:keys#carol"]
    (record,) = bank.folder.records("approval.voted", approval_id=approval_id)
    assert (record["who"]["sub"], record["who"]["method"]) == ("carol", "api_key")


async def test_votes_and_calls_are_taken_back_and_approvals_revoked(bank: Bank) -> None:
    approval_id = await bank.hold(7_200_02)
    async with program(bank, "carol") as carol, program(bank, "alice") as alice:
        shown = (await carol.get(f"/approvals/{approval_id}")).json()["shown"]
        await carol.post(f"/approvals/{approval_id}/vote", json={"verdict": "approve", "shown": shown})
        revoked = await carol.post(f"/approvals/{approval_id}/revoke", json={"comment": "wrong account"})
        assert fits(revoked, "Approval")["state"] == "revoked"
        again = await bank.hold(7_200_02)
        withdrawn = await alice.post(f"/approvals/{again}/withdraw", json={})
        assert fits(withdrawn, "Approval")["state"] == "withdrawn"
        is_problem(await carol.post(f"/approvals/{again}/withdraw", json={}), 403, "Only whoever asked")
        is_problem(await carol.post(f"/approvals/{again}/withdraw-vote", json={}), 409)
        is_problem(await carol.post(f"/approvals/{again}/review", json={"comment": "why"}), 409)
        is_problem(await carol.post(f"/approvals/{again}/resolve", json={"happened": "no", "comment": "looked"}), 409)
        is_problem(await carol.post(f"/approvals/{again}/resolve", json={"happened": "no", "comment": " \t"}), 422, "`comment`")
    assert bank.transfers(7_200_02) == 0


async def test_other_arguments_are_proposed_to_whoever_asked(bank: Bank) -> None:
    approval_id = await bank.hold(7_200_10)
    less = {"from_account": "CHK-100001", "to_account": "CHK-100002", "amount": 7_199.0, "memo": "rent"}
    async with program(bank, "carol") as carol:
        path = f"/approvals/{approval_id}/propose"
        shown = (await carol.get(f"/approvals/{approval_id}")).json()["shown"]
        is_problem(await carol.post(path, json={"arguments": less}), 422, "`shown` is missing.")
        is_problem(await carol.post(path, json={"arguments": [], "shown": shown}), 422, "must be an object")
        is_problem(await carol.post(path, json={"arguments": less, "shown": "0" * 64}), 409, "is not what")
        proposed = await carol.post(path, json={"arguments": less, "shown": shown, "comment": "that much"})
        assert fits(proposed, "Approval")["state"] == "denied"
    again = await bank.transfer(7_200_10)
    assert again.is_error and "7199.0" in words(again) and "that much" in words(again)
    assert not (await bank.transfer(7_199_00)).is_error
    assert (bank.transfers(7_200_10), bank.transfers(7_199_00)) == (0, 1)


async def test_four_eyes_hold_for_programs_as_well(bank: Bank) -> None:
    approval_id = await bank.hold(7_200_03, who="paula")
    async with program(bank, "paula") as paula:
        shown = fits(await paula.get(f"/approvals/{approval_id}"), "Sheet")
        assert shown["deeds"] == ["withdraw"] and "somebody else must decide" in shown["objection"]
        vote = {"verdict": "approve", "shown": shown["shown"]}
        is_problem(await paula.post(f"/approvals/{approval_id}/vote", json=vote), 403, "somebody else must decide")
    assert bank.state(approval_id) == "pending"


async def test_an_approval_needs_the_commitment_to_what_was_shown_and_a_denial_does_not(bank: Bank) -> None:
    one, other = await bank.hold(7_200_04), await bank.hold(7_200_05)
    async with program(bank, "carol") as carol:
        path = f"/approvals/{one}/vote"
        shown = (await carol.get(f"/approvals/{other}")).json()["shown"]
        is_problem(await carol.post(path, json={"verdict": "approve"}), 422, "`shown` is missing")
        is_problem(await carol.post(path, json={"verdict": "approve", "shown": shown}), 409, "is not what")
        assert bank.state(one) == "pending"
        assert fits(await carol.post(path, json={"verdict": "deny", "comment": "no"}), "Approval")["state"] == "denied"


@pytest.mark.parametrize("way", ROUTES, ids=lambda way: way.name)
async def test_every_operation_asks_for_a_persons_own_bearer_credential(bank: Bank, way: Any) -> None:
    approval_id = await bank.hold(7_200_06)
    path = way.path.removeprefix("/api/v1").replace("{approval_id}", approval_id)
    before = len(refusals(bank))
    bank.folder.key("helper", "payments-leads", kind=IdentityKind.SERVICE)
    async with program(bank) as nobody, program(bank, "robot") as robot, program(bank, "helper") as helper:
        missing = await nobody.request(way.method, path, json={})
        is_problem(missing, 401, "A credential is needed")
        assert missing.headers["www-authenticate"].startswith("Bearer ")
        is_problem(await nobody.request(way.method, path, json={}, headers=bearer("mcpgw_wrong")), 401)
        for agent in (robot, helper):
            is_problem(await agent.request(way.method, path, json={}), 403, "for people, in person")
        for method in set(METHODS) - {way.method, *(other.method for other in ROUTES if other.path == way.path)}:
            assert (await nobody.request(method, path)).status_code == 405
    told = refusals(bank)[before:]
    assert [one["outcome"]["code"] for one in told] == ["unauthenticated", "unauthenticated", "denied", "denied"]
    assert [one["actor"] for one in told[2:]] == ["mcpgw:keys#robot", "mcpgw:keys#helper"]
    assert bank.state(approval_id) == "pending"


@pytest.mark.parametrize("way", ROUTES, ids=lambda way: way.name)
async def test_the_consoles_cookie_alone_is_nobody(bank: Bank, way: Any) -> None:
    """So no page of anybody can make a browser decide here: browsers add cookies by themselves, and no bearer credential."""
    approval_id = await bank.hold(7_200_07)
    path = way.path.replace("{approval_id}", approval_id)
    async with bank.person("carol", address=next(ADDRESS)) as carol:
        form = await carol.form(approval_id)
        body = {"verdict": "approve", "shown": form["shown"]} if way.name == "vote" else {}
        headers = {"Origin": "http://gateway.example", "X-CSRF-Token": form["token"]}
        answer = await carol.http.request(way.method, path, json=body, headers=headers)
        is_problem(answer, 401, "A credential is needed")
    assert bank.state(approval_id) == "pending"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Origin": "https://evil.example"}, 403),
        ({"Authorization": "Basic Y2Fyb2w6eA=="}, 400),
    ],
)
async def test_a_head_that_is_not_in_order_is_refused(bank: Bank, headers: dict[str, str], status: int) -> None:
    async with program(bank, "carol") as carol:
        is_problem(await carol.get("/approvals", headers=headers), status)
        is_problem(await carol.get("/approvals", params={"access_token": bank.key("carol")}), 400, "Consider it leaked")


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        (b"", 400, "read in one way"),
        (b"{", 400, "read in one way"),
        (b'{"verdict": "deny", "verdict": "approve"}', 400, "read in one way"),
        (b'{"verdict": NaN}', 400, "read in one way"),
        (b'{"comment": "\\ud800", "verdict": "deny"}', 400, "read in one way"),
        (b"[" * 60_000, 400, "read in one way"),
        (b'["deny"]', 400, "must be a JSON object"),
        (b"{}", 422, "`verdict` is missing."),
        (b'{"verdict": "approved"}', 422, "`verdict` must be one of approve, deny."),
        (b'{"verdict": "deny", "comnt": "x"}', 422, "There is no 'comnt' here. Did you mean `comment`?"),
        (b'{"verdict": "deny", "Verdict": "approve"}', 422, "There is no 'Verdict' here. Did you mean `verdict`?"),
        (b'{"verdict": "deny", "break_glass": "yes"}', 422, "`break_glass` must be a boolean."),
        (b'{"verdict": "deny", "shown": "00"}', 422, "`shown` must look like"),
        (b'{"verdict": "deny", "comment": "' + b"x" * 2_001 + b'"}', 422, "2000 are the most"),
        (b'{"verdict": "deny", "comment": "' + b"x" * 70_000 + b'"}', 413, "65536 bytes"),
    ],
)  # fmt: skip
async def test_a_body_that_is_not_the_operations_is_refused(bank: Bank, body: bytes, status: int, detail: str) -> None:
    async with program(bank, "carol") as carol:
        headers = {"Content-Type": "application/json"}
        is_problem(await carol.post("/approvals/apr_x/vote", content=body, headers=headers), status, detail)


async def test_what_is_no_json_or_a_wrong_query_is_refused(bank: Bank) -> None:
    async with program(bank, "carol") as carol:
        is_problem(await carol.post("/approvals/apr_x/vote", data={"verdict": "deny"}), 415)
        is_problem(await carol.get("/approvals?stat=pending"), 422, "Did you mean `state`?")
        is_problem(await carol.get("/approvals?limit=0"), 422, "`limit` must be at least 1.")
        is_problem(await carol.get("/approvals?limit=ten"), 422, "`limit` must be an integer.")
        is_problem(await carol.get("/approvals?state=pending&state=denied"), 400, "twice")
        is_problem(await carol.get("/approvals?cursor=apr_nobodys"), 410, "not of a page of yours")


async def test_what_is_not_yours_does_not_exist(bank: Bank) -> None:
    approval_id = await bank.hold(7_200_08)
    async with program(bank, "audrey") as audrey:
        answers = [await audrey.get(f"/approvals/{one}") for one in (approval_id, "apr_nobodys")]
        votes = [await audrey.post(f"/approvals/{one}/vote", json={"verdict": "deny"}) for one in (approval_id, "apr_nobodys")]
        is_problem(answers[0], 404)
        is_problem(votes[0], 403)
        for one, other in (answers, votes):
            assert one.text.replace(approval_id, "ID") == other.text.replace("apr_nobodys", "ID")
        is_problem(await audrey.get("/approvals/APR%20X"), 404)
        assert fits(await audrey.get("/approvals"), "Page")["approvals"] == []


async def test_of_a_grant_all_that_it_covers_is_answered() -> None:
    world = World()
    approval_id = await asked(world.desk, world.call(), vary={"memo": {"any": True}}, reason="rents of p\u0430ypal")
    sheet = await world.desk.show(approval_id, BOB)
    desk: Any = world.desk  # the people's side of it is all that is asked here
    told = laid_out(desk, BOB, sheet)
    schema = {**SPEC["components"]["schemas"]["Sheet"], "components": SPEC["components"]}
    jsonschema_rs.validator_for(schema).validate(told)
    assert told["grant"] and '"memo": ANY VALUE AT ALL' in told["granted"] and told["words"] == "rents of p\\u0430ypal"


def test_nothing_that_a_sheet_holds_is_left_out_of_the_answer() -> None:
    """What is added to a sheet is bound by its commitment, so it must be answered too."""
    answered = {
        "approval", "exact", "arguments", "oddities", "commitment", "granted", "words", "preview", "preview_problem",
    }  # fmt: skip
    assert {field.name for field in fields(Sheet)} == answered


async def test_pages_go_on_where_the_one_before_ended(bank: Bank) -> None:
    made = {await bank.hold(7_210_00 + number) for number in range(5)}
    async with program(bank, "carol") as carol:
        seen: list[str] = []
        query: dict[str, Any] = {"state": "pending", "limit": 2}
        while True:
            page = fits(await carol.get("/approvals", params=query), "Page")
            assert len(page["approvals"]) <= 2
            seen += [one["id"] for one in page["approvals"]]
            if "next_cursor" not in page:
                break
            query["cursor"] = page["next_cursor"]
    assert len(seen) == len(set(seen)) and made <= set(seen)


async def test_an_address_that_fails_too_often_has_to_wait(bank: Bank) -> None:
    async with program(bank) as stranger:
        for _ in range(10):
            is_problem(await stranger.get("/approvals", headers=bearer("mcpgw_wrong")), 401)
        late = await stranger.get("/approvals", headers=bearer(bank.key("carol")))
        is_problem(late, 429, "Too many wrong credentials")
        assert int(late.headers["retry-after"]) > 0
    async with program(bank, "carol") as carol:
        for _ in range(12):
            assert (await carol.get("/approvals")).status_code == 200


async def test_the_description_is_served_to_everybody_at_our_own_name(bank: Bank) -> None:
    async with program(bank) as anybody:
        answer = await anybody.get("/openapi.json")
        assert answer.status_code == 200 and answer.json() == SPEC
        is_problem(await anybody.get("/openapi.json", headers={"Host": "evil.example"}), 421)


def test_the_description_in_the_docs_is_the_programs_and_names_every_route() -> None:
    script = runpy.run_path(str(ROOT / "scripts/openapi.py"))
    assert (ROOT / "docs/openapi.json").read_text() == script["page"](), "run scripts/openapi.py > docs/openapi.json"
    described = {(path, method.upper()) for path, ways in SPEC["paths"].items() for method in ways}
    assert described == {(way.path, way.method) for way in ROUTES}
    assert DOCUMENT not in SPEC["paths"] and SPEC["security"] == [{"bearer": []}]
    for schema in SPEC["components"]["schemas"].values():
        jsonschema_rs.meta.validate({**schema, "components": SPEC["components"]})


COMMAND = re.compile(r"^    ((?:curl|\(umask) (?:[^\n]*\\\n)*[^\n]*)", re.MULTILINE)


async def test_the_docs_own_commands_work(bank: Bank, tmp_path: Path) -> None:
    """Each line of the section, in order; what one answers stands for the next one's placeholders."""
    page = (ROOT / "docs/approvals.md").read_text().partition("## Over HTTP")[2].partition("\n## ")[0]
    commands = COMMAND.findall(page)
    assert [command.split()[0] for command in commands] == ["(umask", "curl", "curl", "curl"]
    approval_id = await bank.hold(7_200_09)
    (tmp_path / "carol.key").write_text(bank.key("carol"))
    answer: dict[str, Any] = {}
    for command in commands:
        real = command.replace("https://mcp.bank.example", bank.url)
        script = real.replace("apr_…", approval_id).replace("SHOWN", str(answer.get("shown")))
        with anyio.fail_after(BOUND_S):
            done = await anyio.run_process(["bash", "-euc", script], cwd=tmp_path)
        answer = json.loads(done.stdout or b"{}")
    assert (answer["id"], answer["state"]) == (approval_id, "approved")


# --- evidence ------------------------------------------------------------------------------------------------------------

EVIDENCE = [way for way in ROUTES if way.for_auditors]


@pytest.mark.parametrize("way", EVIDENCE, ids=lambda way: way.name)
async def test_evidence_is_for_auditors_and_the_refusal_is_recorded(bank: Bank, way: Any) -> None:
    path = re.sub(r"{\w+}", "1", way.path.removeprefix("/api/v1"))
    async with program(bank, "carol") as carol:
        before = len(refusals(bank))
        is_problem(await carol.request(way.method, path, json={"reason": "curious"}), 403, "Evidence is for auditors.")
    (told,) = refusals(bank)[before:]
    assert (told["actor"], told["outcome"]["code"]) == ("mcpgw:keys#carol", "denied")


async def test_an_auditor_searches_page_by_page_and_each_look_is_recorded_first(bank: Bank) -> None:
    for number in range(3):
        await bank.hold(7_300_00 + number, memo=f"Zebra crossing {number}")
    async with program(bank, "audrey") as audrey, program(bank, "dora") as dora:
        asked = {"kind": "call.held", "who": "alice", "text": "zebra", "limit": 2}
        page = fits(await audrey.post("/evidence/search", json=asked), "Found")
        assert [one["record"]["kind"] for one in page["records"]] == ["call.held"] * 2
        rest = fits(await audrey.post("/evidence/search", json={"cursor": page["next_cursor"], "limit": 2}), "Found")
        assert len(rest["records"]) == 1 and rest["records"][0]["seq"] < page["records"][0]["seq"]
        assert "next_cursor" not in rest
        is_problem(await dora.post("/evidence/search", json={"cursor": page["next_cursor"]}), 410, "not given to you")
        beside = {"cursor": page["next_cursor"], "who": "bob"}
        is_problem(await audrey.post("/evidence/search", json=beside), 422, "leave the rest away")
    first, second = [one["facts"] for one in bank.folder.records("evidence.read") if one["facts"].get("text")]
    assert first == {"what": "log", "kind": "call.held", "who": "alice", "text": True}
    assert second == {**first, "before": page["records"][0]["seq"]}


async def test_an_auditor_gets_one_record_to_the_byte_with_its_proof(bank: Bank) -> None:
    approval_id = await bank.hold(7_310_00)
    (held,) = bank.folder.records("call.held", approval_id=approval_id)
    async with program(bank, "audrey") as audrey:
        found = fits(await audrey.get(f"/evidence/records/{held['seq']}"), "Record")
        assert json.loads(found["leaf"]) == held and '"memo":"rent"' in found["payloads"]["arguments.clean"]
        assert "CHK-100001" not in json.dumps(found) and found["gone"] == []
        proved = Proof.parse(found["proof"]).check(leaf_hash(found["leaf"].encode()), load_verifiers(bank.folder.path / "keys"))
        assert proved.size > held["seq"] and leaf_hash(found["leaf"].encode()).hex() == found["leaf_hash"]
        is_problem(await audrey.get("/evidence/records/999999999"), 404, "There is no record 999999999")
        for number in ("-1", "9007199254740993", "٣"):
            is_problem(await audrey.get(f"/evidence/records/{number}"), 404)


async def test_an_auditor_replays_a_session_page_by_page(bank: Bank) -> None:
    approval_id = await bank.hold(7_320_00)
    (held,) = bank.folder.records("call.held", approval_id=approval_id)
    path = f"/evidence/sessions/{held['session']['id']}"
    async with program(bank, "audrey") as audrey:
        whole = fits(await audrey.get(path, params={"limit": 500}), "Session")["steps"]
        assert whole[0]["kind"] == "session.opened" and held["seq"] in [one["seq"] for one in whole]
        seen: list[dict[str, Any]] = []
        after: dict[str, Any] = {}
        while True:
            page = fits(await audrey.get(path, params={"limit": 2, **after}), "Session")
            seen += page["steps"]
            if "next_after" not in page:
                break
            after = {"after": page["next_after"]}
        assert seen == whole
        is_problem(await audrey.get("/evidence/sessions/nobodys"), 404, "There is no such session.")
        is_problem(await audrey.get(path, params={"after": "9" * 16}), 422, "`after` must look like")


async def test_an_auditor_takes_a_package_away_and_it_is_recorded_with_its_reason(bank: Bank) -> None:
    await bank.hold(7_330_00)
    async with program(bank, "audrey") as audrey:
        is_problem(await audrey.post("/evidence/export", json={"who": "alice"}), 422, "`reason` is missing")
        nothing = {"since": "2026-03-16", "until": "2026-03-15", "reason": "x"}
        is_problem(await audrey.post("/evidence/export", json=nothing), 422, "No time is asked for")
        is_problem(await audrey.post("/evidence/export", json={"since": "noon", "reason": "x"}), 422, "`since` is no time.")
        answer = await audrey.post("/evidence/export", json={"who": "alice", "since": "1h", "reason": "Exam 2026-07"})
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/zip"
    findings = check(answer.content)
    assert findings.ok and findings.records > 0, findings.problems
    exported = bank.folder.records("evidence.exported")[-1]
    assert exported["actor"] == "mcpgw:keys#audrey" and exported["facts"]["reason"] == "Exam 2026-07"
    assert exported["facts"]["sha256"] == hashlib.sha256(answer.content).hexdigest()


async def test_too_much_is_not_packed_in_one_answer(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = open_folder(bank.folder.path)
    monkeypatch.setattr("mcpgw.app.evidence._MOST_PACKED", 2)
    async with open_ledger(folder) as ledger:
        evidence = LogEvidence(folder, ledger)
        with pytest.raises(NotForYou, match="2 are packed at once"):
            await evidence.package(Wanted(since_ns=0, until_ns=2**63 - 1, reason="x"), "somebody")
        monkeypatch.setattr("mcpgw.app.evidence._PATIENCE_S", 0.05)
        evidence.turns.total_tokens = 1
        async with evidence.turns:
            with pytest.raises(LedgerUnavailable, match="others are reading"):
                await evidence.proved(0)


async def test_the_auditors_pages_own_commands_work(bank: Bank, tmp_path: Path) -> None:
    page = (ROOT / "docs/auditors.md").read_text().partition("## Over HTTP")[2].partition("\n## ")[0]
    commands = COMMAND.findall(page)
    assert [command.split()[0] for command in commands] == ["(umask", "curl", "curl", "curl"]
    await bank.hold(7_340_00)
    (tmp_path / "audrey.key").write_text(bank.key("audrey"))
    said = []
    for command in commands:
        script = command.replace("https://mcp.bank.example", bank.url).replace("/4711", "/3")
        with anyio.fail_after(BOUND_S):
            said.append((await anyio.run_process(["bash", "-euc", script], cwd=tmp_path)).stdout)
    assert "bank__transfer" in said[1].decode() and json.loads(said[2])["seq"] == 3
    assert check((tmp_path / "alice.zip").read_bytes()).ok


TEXTS = st.text(max_size=12) | st.sampled_from(
    ["alice", "bank__*", "[", "*[", "2026-03-15", "1h", "99999999w", "\x00", "\u202e"]
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.sampled_from([*evidence_shapes.SEARCH.body, "unknown"]), TEXTS | st.integers(-1, 300), max_size=4),
    st.sampled_from(["/evidence/search", "/evidence/export"]),
)
def test_whatever_is_asked_the_answer_is_one_that_the_description_names(bank: Bank, asked: dict[str, Any], path: str) -> None:
    headers = {"X-Forwarded-For": "198.51.100.254", **bearer(bank.key("audrey"))}
    answer = httpx2.post(f"{bank.url}/api/v1{path}", json=asked, headers=headers, timeout=BOUND_S, verify=TLS)
    described = SPEC["paths"][f"/api/v1{path}"]["post"]["responses"]
    assert str(answer.status_code) in described and answer.status_code < 500, (asked, answer.text)
    if answer.status_code != 200:
        fits(answer, "Problem")
    elif path.endswith("search"):
        fits(answer, "Found")


OPEN_TO_HER = {
    "list", "show", "vote", "search_evidence", "show_record", "replay_session", "export_evidence",
}  # fmt: skip
"""What whoever is both approver and auditor can do to the end knowing no more than ids; the rest needs a state, or `shown`."""


@pytest.mark.slow
async def test_the_gateway_keeps_to_its_description_whatever_is_sent(bank: Bank) -> None:
    """The short form of scripts/fuzz_api. What it says is worth something only where it got far, so that is looked at too."""
    before = len(refusals(bank))
    held = await contract.hold(bank, examples=5, seed=7, timeout_s=120)
    assert held.kept, held.said
    assert {name for name, _ in held.answers} == {way.name for way in ROUTES}
    assert {way.name for way in ROUTES if 200 in held.statuses(way.name)} >= OPEN_TO_HER, held.answers
    assert all(422 in held.statuses(way.name) for way in ROUTES if way.shape.body), "what does not fit was sent as well"
    codes = [one["outcome"]["code"] for one in refusals(bank)[before:]]
    assert codes.count("unauthenticated") >= 2 * len(OPEN_TO_HER), "each was asked without a credential, and with a wrong one"


async def test_what_is_not_as_described_is_found(bank: Bank, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    described = json.loads((ROOT / "docs/openapi.json").read_text())
    described["components"]["schemas"]["Page"]["required"].append("total")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/openapi.json").write_text(json.dumps(described))
    monkeypatch.setattr(contract, "DESCRIPTION", tmp_path / "docs/openapi.json")
    held = await contract.hold(bank, examples=1, seed=7, timeout_s=120, only="list")
    assert not held.kept and "total" in held.said
