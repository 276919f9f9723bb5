"""Which pages exist, for whom, and with which headers; what the log's pages tell, and what they tell of their reader."""

import html
import json
import re
from dataclasses import fields
from typing import Any

import anyio
import httpx2
import pytest

from mcpgw.console import ROUTES, Access, ConsoleConfig, Doors, make_routes
from mcpgw.console.doors import CatalogView, ServerView
from mcpgw.console.view import View
from mcpgw.inbound.http import ROUTES as MCP_ROUTES
from mcpgw.ports import ServerState
from tests.console.bank import Bank

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def test_every_route_is_in_the_table_and_none_is_an_mcp_door() -> None:
    nowhere: Any = None
    doors = Doors(**{field.name: nowhere for field in fields(Doors)})
    routes = make_routes(doors, ConsoleConfig(name="x", version="1", public_url=""))
    assert [(route.path, {*route.methods}) for route in routes] == [(door.path, {door.method}) for door in ROUTES]
    assert not {door.path for door in ROUTES} & {door.path for door in MCP_ROUTES}
    assert {door.path for door in ROUTES if door.access is Access.PUBLIC} == {"/sign-in", "/static/{name}"}
    assert {door.path for door in ROUTES if door.access is Access.AUDITOR} == {"/log", "/log/{seq}", "/upstreams"}


async def test_every_page_that_is_not_public_asks_to_sign_in(bank: Bank) -> None:
    allowed: dict[str, set[str]] = {}
    for door in ROUTES:
        allowed.setdefault(door.path, set()).add(door.method)
    access = {(door.path, door.method): door.access for door in ROUTES}
    async with bank.person() as nobody:
        for path, methods in allowed.items():
            real = path.replace("{approval_id}", "apr_x").replace("{seq}", "1").replace("{name}", "x")
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
            *[await dora.get(path) for path in ("/log", "/log/0", "/log/x", "/upstreams")],
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
    async with bank.person("carol") as carol, bank.person("audrey") as audrey:
        for path in ("/log", "/log/0", "/upstreams"):
            assert (await audrey.get(path)).status_code == 200
            before = len(bank.refusals())
            answer = await carol.get(path)
            assert answer.status_code == 403 and "for auditors" in answer.text
            assert [record["actor"] for record in bank.refusals()[before:]] == ["mcpgw:keys#carol"]
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
        await audrey.get("/upstreams")
        read = bank.folder.records("evidence.read")[-1]
        assert (read["actor"], read["facts"]) == ("mcpgw:keys#audrey", {"what": "upstreams"})


async def test_the_log_is_searched_and_paged(bank: Bank) -> None:
    for number in range(6):
        await bank.hold(15_00 + number)
    async with bank.person("audrey") as audrey:
        for _ in range(60):
            await audrey.get("/log/0")
        seen: list[int] = []
        path = "/log?who=audrey&kind=evidence.read"
        pages = 0
        while path:
            page = (await audrey.get(path)).text
            seen += rows(page)
            pages += 1
            older = re.search(r'href="([^"]+)" rel="next"', page)
            path = html.unescape(older[1]) if older else ""
        assert pages >= 2 and seen == sorted(seen, reverse=True) and len(set(seen)) == len(seen) >= 60
        held = rows((await audrey.get("/log?kind=call.held&since=1h&who=alice")).text)
        assert len(held) >= 6
        assert rows((await audrey.get("/log?until=2020-01-01")).text) == []
        assert "No record matches" in (await audrey.get("/log?tool=nosuch")).text


def rows(page: str) -> list[int]:
    return [int(number) for number in re.findall(r'<a href="/log/(\d+)">', page)]


@pytest.mark.parametrize(
    "query", ["since=yesterday", "until=9999999999999h", "before=x", "since=0001-01-01T00:00+23:00", "before=-1"]
)
async def test_a_question_that_cannot_be_read_is_answered_in_words(bank: Bank, query: str) -> None:
    async with bank.person("audrey") as audrey:
        answer: httpx2.Response = await audrey.get(f"/log?{query}")
        assert answer.status_code == 400 and 'role="alert"' in answer.text


async def test_a_records_page_shows_the_leaf_and_its_proof(bank: Bank) -> None:
    approval_id = await bank.hold(15_10, memo="never in the record 078-05-1120")
    async with bank.person("audrey") as audrey:
        found = rows((await audrey.get(f"/log?approval={approval_id}")).text)
        [held] = bank.folder.records("call.held", approval_id=approval_id)
        assert found == [held["seq"]]
        page = (await audrey.get(f"/log/{held['seq']}")).text
        leaf = re.search(r'<pre tabindex="0" aria-labelledby="leaf">(.*?)</pre>', page, re.S)
        assert leaf and json.loads(html.unescape(leaf[1])) == held
        assert "it is the hash of the leaf above" in page and "\N{EM DASH} bank.example/ledger" in page
        assert "078-05-1120" not in page and "never in the record" not in page
        assert f"/log?approval={approval_id}" in page
        assert (await audrey.get("/log/999999999")).status_code == 404
        assert (await audrey.get("/log/1e3")).status_code == 404


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
