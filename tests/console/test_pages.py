"""Which pages exist, for whom, and with which headers; what the log's pages tell, and what they tell of their reader."""

import html
import json
import re
from dataclasses import fields
from typing import Any
from urllib.parse import urlencode

import anyio
import httpx2
import pytest

from mcpgw.console import ROUTES, Access, ConsoleConfig, Doors, make_routes
from mcpgw.console.doors import CatalogView, ServerView
from mcpgw.console.view import View
from mcpgw.core.canonical import canonical
from mcpgw.core.question import FIELDS
from mcpgw.inbound.http import ROUTES as MCP_ROUTES
from mcpgw.ledger.keys import load_verifiers
from mcpgw.ledger.proof import Proof
from mcpgw.ledger.tree import leaf_hash
from mcpgw.ports import ServerState
from tests.console.bank import Bank, found

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def test_every_route_is_in_the_table_and_none_is_an_mcp_door() -> None:
    nowhere: Any = None
    doors = Doors(**{field.name: nowhere for field in fields(Doors)})
    routes = make_routes(doors, ConsoleConfig(name="x", version="1", public_url=""))
    assert [(route.path, {*route.methods}) for route in routes] == [(door.path, {door.method}) for door in ROUTES]
    assert not {door.path for door in ROUTES} & {door.path for door in MCP_ROUTES}
    assert {door.path for door in ROUTES if door.access is Access.PUBLIC} == {"/sign-in", "/static/{name}"}
    assert {door.path for door in ROUTES if door.access is Access.AUDITOR} == {
        "/log", "/log/{seq}", "/sessions/{session}", "/upstreams",
    }  # fmt: skip


async def test_every_page_that_is_not_public_asks_to_sign_in(bank: Bank) -> None:
    allowed: dict[str, set[str]] = {}
    for door in ROUTES:
        allowed.setdefault(door.path, set()).add(door.method)
    access = {(door.path, door.method): door.access for door in ROUTES}
    async with bank.person() as nobody:
        for path, methods in allowed.items():
            real = path.replace("{approval_id}", "apr_x").replace("{name}", "x")
            real = real.replace("{seq}", "1").replace("{session}", "1")
            for method in METHODS:
                answer = await nobody.http.request(
                    method, real, headers={"Origin": nobody.url}, data={"token": "x"} if method == "POST" else None
                )
                if method not in methods:
                    assert answer.status_code == 405, (method, path)
                elif access[path, method] is not Access.PUBLIC:
                    wanted = (401, None) if method == "POST" else (303, "/sign-in?next=")
                    assert answer.status_code == wanted[0], (method, path, answer.text)
                    assert not wanted[1] or answer.headers["location"].startswith(wanted[1])


@pytest.mark.parametrize(
    "path", ["/approvals/", "/log/", "/admin", "/static", "/static/", "/static/../view.py", "/console", "/approvals/x/y"]
)
async def test_what_is_not_in_the_table_does_not_exist(bank: Bank, path: str) -> None:
    async with bank.person("dora") as dora:
        assert (await dora.get(path)).status_code == 404


async def test_a_host_that_is_not_ours_is_not_answered(bank: Bank) -> None:
    async with bank.person("dora") as dora:
        for path in ("/", "/sign-in", "/approvals", "/log"):
            assert (await dora.get(path, Host="evil.example")).status_code == 421


async def test_every_answer_forbids_framing_sniffing_and_keeping(bank: Bank) -> None:
    async with bank.person() as nobody, bank.person("dora") as dora:
        for answer in [
            await nobody.get("/sign-in"), await nobody.get("/approvals"), await nobody.post("/sign-out", {}),
            *[await dora.get(path) for path in ("/", "/approvals", "/approvals/apr_x")],
            *[await dora.get(path) for path in ("/log", "/log/0", "/log/x", "/sessions/x", "/upstreams")],
        ]:  # fmt: skip
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
            assert "form-action 'self'" in policy and "base-uri 'none'" in policy
            assert answer.headers["x-frame-options"] == "DENY"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["referrer-policy"] == "same-origin"
            assert answer.headers["cross-origin-opener-policy"] == "same-origin"
            assert "server" not in answer.headers


async def test_static_files_are_our_own_and_named_by_their_content(bank: Bank) -> None:
    async with bank.person() as nobody:
        page = (await nobody.get("/sign-in")).text
        links = re.findall(r'(?:src|href)="([^"#]+)"', page)
        assert all(link.startswith("/") and not link.startswith("//") for link in links)
        assert " style=" not in page and "<style" not in page and " on" not in re.sub(r">[^<]*<", "><", page)
        for link in {link for link in links if link.startswith("/static/")}:
            answer = await nobody.get(link)
            assert answer.status_code == 200 and "immutable" in answer.headers["cache-control"]
            assert (await nobody.get(re.sub(r"\.[0-9a-f]{12}\.", ".000000000000.", link))).status_code == 404


async def test_the_log_and_the_upstreams_are_for_auditors(bank: Bank) -> None:
    await bank.transfer(15_20)
    async with bank.person("carol") as carol, bank.person("audrey") as audrey:
        (opened, *_) = bank.folder.records("session.opened")
        for path in ("/log", "/log/0", f"/sessions/{opened['session']['id']}", "/upstreams"):
            assert (await audrey.get(path)).status_code == 200
            before = len(bank.refusals())
            answer = await carol.get(path)
            assert answer.status_code == 403 and "for auditors" in answer.text
            assert [record["actor"] for record in bank.refusals()[before:]] == ["mcpgw:keys#carol"]
        assert (await carol.post("/log", {"token": await carol.token(), "who": "alice"})).status_code == 403
        home = (await carol.get("/")).text
        assert "/log" not in home and "checkpoint" not in home and "Ready" in home
        with anyio.fail_after(60):
            while True:
                home = (await audrey.get("/")).text
                if "1 of 1" in home:  # its server may still be starting
                    break
                await anyio.sleep(0.1)
        assert "bank.example/ledger" in home


async def test_reading_the_log_is_itself_in_the_log_with_what_was_asked(bank: Bank) -> None:
    async with bank.person("audrey") as audrey:
        await audrey.get("/log?who=alice&tool=bank__*&decision=&nonsense=1")
        asked = bank.folder.records("evidence.read")[-1]
        assert asked["actor"] == "mcpgw:keys#audrey"
        assert asked["facts"] == {"what": "log", "who": "alice", "tool": "bank__*"}
        await audrey.get("/log/3")
        assert bank.folder.records("evidence.read")[-1]["facts"] == {"what": "record", "seq": 3}
        await audrey.get("/sessions/nobodys?after=3")
        read = bank.folder.records("evidence.read")[-1]
        assert read["facts"] == {"what": "session", "session": "nobodys", "after": 3}
        await audrey.get("/upstreams")
        read = bank.folder.records("evidence.read")[-1]
        assert (read["actor"], read["facts"]) == ("mcpgw:keys#audrey", {"what": "upstreams"})


async def test_the_log_is_searched_and_paged(bank: Bank) -> None:
    for number in range(6):
        await bank.hold(15_00 + number)
    async with bank.person("audrey") as audrey, bank.person("dora") as dora:
        for _ in range(60):
            await audrey.get("/log/0")
        seen: list[int] = []
        path = "/log?who=audrey&kind=evidence.read&until=2261-01-01"
        pages = 0
        while path:
            page = (await audrey.get(path)).text
            seen += rows(page)
            pages += 1
            assert 'value="audrey"' in page and f'value="{"2261-01-02T00:00:00" if pages > 1 else "2261-01-01"}"' in page
            older = re.search(r'href="([^"]+)" rel="next"', page)
            path = html.unescape(older[1]) if older else ""
            if pages == 1:
                second = rows((await audrey.get(path)).text)
                assert rows((await audrey.get(path)).text) == second, "a page stays, whatever was recorded meanwhile"
                refused = await dora.get(path)
                assert refused.status_code == 410 and "not given to you" in refused.text and rows(refused.text) == []
        assert pages >= 2 and seen == sorted(seen, reverse=True) and len(set(seen)) == len(seen) >= 60
        held = rows((await audrey.get("/log?kind=call.held&since=1h&who=alice")).text)
        assert len(held) >= 6
        assert rows((await audrey.get("/log?until=2020-01-01")).text) == []
        assert "No record matches" in (await audrey.get("/log?tool=nosuch")).text


def rows(page: str) -> list[int]:
    return [int(number) for number in re.findall(r'<a href="/log/(\d+)">\d+</a>', page)]


async def test_every_field_of_a_question_can_be_asked(bank: Bank) -> None:
    approval_id = await bank.hold(7_600_00, memo="Marigold")
    (held,) = bank.folder.records("call.held", approval_id=approval_id)
    asked = {
        "who": "alice", "group": "tellers", "tool": "bank__*", "server": "bank", "kind": "call.held", "decision": "hold",
        "rule": "large-transfers", "masked": "BANK_ACCOUNT", "text": "marigold", "call": held["call"],
        "approval": approval_id, "session": held["session"]["id"],
    }  # fmt: skip
    assert tuple(asked) == FIELDS
    async with bank.person("audrey") as audrey:
        token = await audrey.token()
        for name, value in asked.items():
            answer = await audrey.post("/log", {"token": token, "approval": approval_id, "kind": "call.held", name: value})
            page = answer if answer.status_code == 200 else await audrey.get(answer.headers["location"])
            assert rows(page.text) == [held["seq"]] and f'name="{name}" value="{html.escape(value)}"' in page.text, name
            none = await audrey.get(f"/log?{urlencode({'kind': 'call.*', 'approval': approval_id, name: 'nosuch'})}")
            assert rows(none.text) == [], name


async def test_words_are_in_no_address_and_beside_the_record_of_the_reading(bank: Bank) -> None:
    for number in range(51):
        await bank.transfer(1_00 + number, memo="Periwinkle")
    async with bank.person("audrey") as audrey:
        form = {"token": await audrey.token(), "text": " periwinkle", "kind": "call.held"}
        page = await audrey.post("/log", form)
        assert page.status_code == 200 and len(rows(page.text)) == 50
        assert "/log?cursor=" not in page.text, "a cursor that holds words is no address either"
        on = {"token": form["token"], "cursor": found(re.compile(r'name="cursor" value="([^"]+)"'), page.text)}
        rest = (await audrey.post("/log", on)).text
        assert len(rows(rest)) == 1 and 'value="periwinkle"' in rest and 'name="cursor"' not in rest
        plain = await audrey.post("/log", {"token": form["token"], "who": "alice", "rule": ""})
        assert (plain.status_code, plain.headers["location"]) == (303, "/log?who=alice")
    first, second = [one for one in bank.folder.records("evidence.read") if one["facts"].get("text")][-2:]
    assert first["facts"] == {"what": "log", "kind": "call.held", "text": True}
    assert second["facts"] == {**first["facts"], "before": rows(page.text)[-1]}
    assert "document" in first["payloads"] and "periwinkle" not in json.dumps([first, second])


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("since=yesterday", 422), ("until=9999999999999h", 422), ("since=0001-01-01T00:00%2b23:00", 422),
        ("cursor=x", 410), ("cursor=x&who=alice", 422), (f"who={'x' * 501}", 422),
    ],
)  # fmt: skip
async def test_a_question_that_cannot_be_read_is_answered_in_words(bank: Bank, query: str, status: int) -> None:
    async with bank.person("audrey") as audrey:
        before = len(bank.folder.records("evidence.read"))
        answer: httpx2.Response = await audrey.get(f"/log?{query}")
        assert answer.status_code == status and 'role="alert"' in answer.text
        assert len(bank.folder.records("evidence.read")) == before


async def test_a_records_page_shows_the_leaf_its_clean_payloads_and_the_proof(bank: Bank) -> None:
    approval_id = await bank.hold(15_10, memo="told beside the record 078-05-1120 \u202e")
    async with bank.person("audrey") as audrey:
        listed = rows((await audrey.get(f"/log?approval={approval_id}")).text)
        [held] = bank.folder.records("call.held", approval_id=approval_id)
        assert listed == [held["seq"]]
        page = (await audrey.get(f"/log/{held['seq']}")).text
        leaf = found(re.compile(r'<pre tabindex="0" aria-labelledby="leaf">(.*?)</pre>', re.S), page)
        assert json.loads(html.unescape(leaf)) == held and "told beside" not in leaf
        payload = found(re.compile(r'aria-label="arguments.clean">(.*?)</pre>', re.S), page)
        assert "\\u202e" in payload and "078-05-1120" not in page
        assert json.loads(html.unescape(payload))["memo"] == "told beside the record <US_SSN> \u202e"
        proof = html.unescape(found(re.compile(r'checkpoint">(.*?)</pre>', re.S), page))
        keys = load_verifiers(bank.folder.path / "keys")
        assert Proof.parse(proof).check(leaf_hash(canonical(held)), keys).size > held["seq"]
        assert "it is the hash of the leaf above" in page
        assert f"/log?approval={approval_id}" in page and f"/sessions/{held['session']['id']}" in page
        assert (await audrey.get("/log/999999999")).status_code == 404
        assert (await audrey.get("/log/1e3")).status_code == 404


async def test_a_session_is_replayed_with_what_its_client_did_not_see(bank: Bank) -> None:
    hostile = "</pre><script>alert(1)</script>\u202ekcehc"
    approval_id = await bank.hold(7_610_00, memo=hostile)
    async with bank.person("carol") as carol:
        await carol.decide(approval_id, comment="Matches \u202e<b>the lease")
    await bank.transfer(7_610_00, memo=hostile)
    await bank.transfer(15_22, memo="m" * 9_000)
    (held, *_) = bank.folder.records("call.held", approval_id=approval_id)
    (outcome, *_) = bank.folder.records("call.outcome", approval_id=approval_id)
    name = held["session"]["id"]
    async with bank.person("audrey") as audrey, bank.person() as nobody:
        link = found(re.compile(r'href="(/sessions/[^"]+)"'), (await audrey.get(f"/log?approval={approval_id}")).text)
        assert link == f"/sessions/{name}"
        assert (await nobody.get(link)).headers["location"] == f"/sign-in?next={link}"
        pages, path = [], link
        while path:
            pages.append((await audrey.get(path)).text)
            more = re.search(r'href="([^"]+)" rel="next"', pages[-1])
            path = more[1] if more else ""
        assert (await audrey.get("/sessions/nobodys")).status_code == 404
        assert (await audrey.get(f"{link}?after=x")).status_code == 404
    steps = "".join(page.partition('<ol class="steps">')[2].partition("</ol>")[0] for page in pages).split("<li class=")[1:]
    numbers = [int(found(re.compile(r'href="/log/(\d+)"'), step)) for step in steps]
    assert numbers == sorted(set(numbers)) and "opens a session" in steps[0]
    told = dict(zip(numbers, steps, strict=True))
    assert "and it is held" in told[held["seq"]] and "hold by large-transfers" in told[held["seq"]]
    assert "masked: BANK_ACCOUNT at" in told[held["seq"]] and "\\u202ekcehc" in told[held["seq"]]
    (voted,) = bank.folder.records("approval.voted", approval_id=approval_id)
    vote = told[voted["seq"]]
    assert "side-people" in vote and "votes to approve" in vote and "Matches \\u202e&lt;b&gt;the lease" in vote
    assert "answered after" in told[outcome["seq"]]
    assert any("This is its beginning" in step for step in steps)
    whole = "".join(pages)
    assert whole.count("<script") == len(pages) and "\u202e" not in whole and "<b>the" not in whole


async def test_upstreams_show_what_is_held_back_and_why(bank: Bank) -> None:
    async with bank.person("audrey") as audrey:
        page = (await audrey.get("/upstreams")).text
    assert "bank 1.0.0" in page and "2026-07-28" in page and "mcpgw catalog accept" in page
    assert page.count("<form") == 1, "signing out is all that can be done here"


def test_what_a_hostile_upstream_says_of_itself_is_inert() -> None:
    hostile = '<script>alert(1)</script>"><img src=x onerror=alert(1)>\u202egnp'
    server = ServerView(
        name=hostile, state=ServerState.DOWN, problem=hostile, protocol_version=hostile, software=hostile,
        quarantined=(hostile,), drift=(f"+ {hostile}", f"- {hostile}"),
    )  # fmt: skip
    view = View(name=hostile, version="1")
    page = bytes(view.page("upstreams.html", catalog=CatalogView(servers=(server,), problems=(hostile,))).body).decode()
    assert page.count("<script") == 1 and "<img src=x" not in page and "\u202e" not in page
    assert page.count("\\u202egnp") >= 9
