"""The attack list of approvals: each test is named for what somebody tries. docs/approvals.md has the index, with those that
other modules try."""

import ast
import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx2
import pytest
from mcp.shared.exceptions import MCPError

from mcpgw.console import ROUTES as PAGES
from mcpgw.console.api import ROUTES as API
from mcpgw.console.api.routes import DOCUMENT
from mcpgw.core.model import IdentityKind
from mcpgw.inbound.http import ROUTES as MCP_DOORS
from tests.approval.world import BOB, IBAN, World
from tests.console.bank import CONFIG, TLS, Bank, approval_of, open_bank
from tests.flows.gateway import BOUND_S, bearer, until, words
from tests.own.conftest import OWN

ROOT = Path(__file__).parents[2]
SHORT = """
[[rules]]
id = "short"
effect = "hold"
tools = ["bank__transfer"]
when = "args.memo == 'short'"
reason = "Nobody has time for this one."
approvers = ["group:payments-leads"]
deadline = "1s"
"""


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bank]:
    """Everything by which a verdict can be given is switched on."""
    config = CONFIG.replace('budget = "200ms"', 'budget = "200ms"\ndecide_over_mcp = true')
    config = config.replace("[console]", "[console]\napi = true").partition("[[rules]]")
    with open_bank(tmp_path_factory.mktemp("attacks"), config[0] + SHORT + config[1] + config[2] + OWN) as bank:
        yield bank


async def api(bank: Bank, who: str, method: str, path: str, **more: Any) -> httpx2.Response:
    async with httpx2.AsyncClient(base_url=bank.url, timeout=BOUND_S, verify=TLS, headers=bearer(bank.key(who))) as http:
        return await http.request(method, f"/api/v1/approvals{path}", **more)


async def approve(bank: Bank, who: str, approval_id: str) -> httpx2.Response:
    shown = (await api(bank, who, "GET", f"/{approval_id}")).json().get("shown", "0" * 64)
    return await api(bank, who, "POST", f"/{approval_id}/vote", json={"verdict": "approve", "shown": shown})


def decided(bank: Bank) -> list[tuple[str, str]]:
    """Return everything that was ever recorded of approvals, but for readings."""
    return [(record["kind"], record["approval"]["id"]) for record in bank.folder.records("approval.*")]


# --- what was approved ---------------------------------------------------------------------------------------------------


async def test_changing_the_arguments_after_the_approval_is_another_call(bank: Bank) -> None:
    approval_id = await bank.hold(8_100_01)
    assert (await approve(bank, "carol", approval_id)).json()["state"] == "approved"
    for cents, memo, who in ((8_100_02, "rent", "alice"), (8_100_01, "rent ", "alice"), (8_100_01, "rent", "paula")):
        other = await bank.transfer(cents, memo, who)
        assert other.is_error and approval_of(other)["id"] != approval_id
    assert bank.transfers(8_100_01) == bank.transfers(8_100_02) == 0
    assert not (await bank.transfer(8_100_01)).is_error
    assert not (await bank.transfer(8_100_01)).is_error, "the identical call is given the one result"
    assert bank.transfers(8_100_01) == 1


async def test_a_vote_on_what_another_call_showed_is_refused_on_every_surface(bank: Bank) -> None:
    one, other = await bank.hold(8_100_03), await bank.hold(8_100_04)
    shown = (await api(bank, "carol", "GET", f"/{other}")).json()["shown"]
    vote = {"verdict": "approve", "shown": shown}
    assert (await api(bank, "carol", "POST", f"/{one}/vote", json=vote)).status_code == 409
    async with bank.person("carol") as carol:
        assert (await carol.post(f"/approvals/{one}/verdict", await carol.form(other))).status_code == 409
    async with bank.client("carol") as client:
        assert "is not what" in words(await client.call_tool("mcpgw__approvals_decide", {"id": one, **vote}))
    assert bank.state(one) == bank.state(other) == "pending"


# --- when it is too late -------------------------------------------------------------------------------------------------


async def test_approving_after_the_deadline_is_refused_on_every_surface(bank: Bank) -> None:
    approval_id = await bank.hold(8_100_05, memo="short")
    async with bank.person("carol") as carol:
        form = await carol.form(approval_id)
        assert await until(lambda: bank.state(approval_id) == "expired", "the deadline has passed")
        assert (await carol.post(f"/approvals/{approval_id}/verdict", form)).status_code == 409
    vote = {"verdict": "approve", "shown": form["shown"]}
    assert (await api(bank, "carol", "POST", f"/{approval_id}/vote", json=vote)).status_code == 409
    async with bank.client("carol") as client:
        refused = await client.call_tool("mcpgw__approvals_decide", {"id": approval_id, **vote})
        assert refused.is_error and "expired already" in words(refused)
    said = await bank.folder.acli("approvals", "approve", approval_id, "--yes", key=bank.key("carol"), expect=1)
    assert "expired" in said
    assert bank.folder.records("approval.voted", approval_id=approval_id) == []
    assert bank.transfers(8_100_05) == 0


async def test_an_approver_whose_key_is_revoked_after_the_vote_released_nothing(bank: Bank) -> None:
    bank.folder.key("erin", "payments-leads")
    approval_id = await bank.hold(8_100_06)
    assert (await approve(bank, "erin", approval_id)).json()["state"] == "approved"
    key_id = bank.key("erin").split("_")[1]
    await bank.folder.acli("keys", "revoke", key_id)
    result = await bank.transfer(8_100_06)
    assert result.is_error and bank.transfers(8_100_06) == 0
    assert (await api(bank, "carol", "GET", f"/{approval_id}")).json()["state"] == "revoked"


# --- who may not ---------------------------------------------------------------------------------------------------------


def make_agents(bank: Bank) -> list[str]:
    """Make what an agent may hold: its own key, one on behalf of an approver, a service's; all in the approvers' group."""
    bank.folder.key("bot", "payments-leads", kind=IdentityKind.AGENT)
    bank.folder.key("batch", "payments-leads", kind=IdentityKind.SERVICE)
    said = bank.folder.cli(
        *("keys", "create", "--kind", "agent", "--subject", "helper", "--acts-for", "carol", "--group", "payments-leads")
    )
    bank.folder.keys["carols helper"] = re.findall(r"mcpgw_[0-9a-f]{12}_[A-Za-z0-9_-]{49}", said)[0]
    return ["bot", "batch", "carols helper"]


async def test_an_agent_decides_on_no_surface_with_its_own_token(bank: Bank) -> None:
    approval_id = await bank.hold(8_100_07)
    shown = (await api(bank, "dora", "GET", f"/{approval_id}")).json()["shown"]
    before = decided(bank)
    for who in make_agents(bank):
        for way in (way for way in API if way.path.startswith("/api/v1/approvals")):
            path = way.path.removeprefix("/api/v1/approvals").replace("{approval_id}", approval_id)
            body = {"verdict": "approve", "shown": shown} if way.name == "vote" else {}
            assert (await api(bank, who, way.method, path, json=body)).status_code == 403, (who, way.name)
        async with bank.client(who) as client:
            with pytest.raises(MCPError, match="Unknown tool"):
                await client.call_tool("mcpgw__approvals_decide", {"id": approval_id, "verdict": "approve", "shown": shown})
        async with bank.person(address="203.0.113.9") as browser:
            assert (await browser.sign_in(bank.key(who))).status_code == 403
            browser.http.cookies.set("mcpgw-console", bank.key(who))
            verdict = {"token": bank.key(who), "shown": shown, "verdict": "approve", "comment": ""}
            assert (await browser.post(f"/approvals/{approval_id}/verdict", verdict)).status_code == 401
        said = await bank.folder.acli("approvals", "approve", approval_id, "--yes", key=bank.key(who), expect=1)
        assert "person" in said or "people" in said, said
    assert decided(bank) == before and bank.state(approval_id) == "pending"


async def test_the_requester_decides_on_no_surface_although_they_lead(bank: Bank) -> None:
    approval_id = await bank.hold(8_100_08, who="paula")
    shown = (await api(bank, "paula", "GET", f"/{approval_id}")).json()["shown"]
    before = decided(bank)
    assert (await approve(bank, "paula", approval_id)).status_code == 403
    async with bank.client("paula") as client:
        vote = {"id": approval_id, "verdict": "approve", "shown": shown}
        assert "somebody else must decide" in words(await client.call_tool("mcpgw__approvals_decide", vote))
    said = await bank.folder.acli("approvals", "approve", approval_id, "--yes", key=bank.key("paula"), expect=1)
    assert "somebody else must decide" in said
    assert decided(bank) == before and bank.state(approval_id) == "pending"


async def hold_long(bank: Bank, note: str) -> str:
    """Ask for what no rule's condition looks into, with an argument of any length, and return the approval's id."""
    async with bank.client("alice") as alice:
        result = await alice.call_tool("bank__close_account", {"account": "CHK-100001", "note": note})
    assert result.is_error, words(result)
    return str(approval_of(result)["id"])


# --- what deceives the eye -----------------------------------------------------------------------------------------------


async def test_a_look_alike_is_written_out_on_every_surface(bank: Bank) -> None:
    memo, shown = "p\u0430ypal \u202egnp\u200b", "p\\u0430ypal \\u202egnp\\u200b"
    approval_id = await bank.hold(8_100_09, memo=memo)
    async with bank.person("carol") as carol:
        page = (await carol.get(f"/approvals/{approval_id}")).text
        docket = (await carol.get("/approvals")).text
    answer = (await api(bank, "carol", "GET", f"/{approval_id}")).json()
    listed = (await api(bank, "carol", "GET", "?state=pending")).json()["approvals"]
    async with bank.client("carol") as client:
        told = (await client.call_tool("mcpgw__approvals_show", {"id": approval_id})).structured_content or {}
    printed = await bank.folder.acli("approvals", "show", approval_id, key=bank.key("carol"))
    summary = next(one["arguments"] for one in listed if one["id"] == approval_id)
    for text in (page, docket, answer["arguments"], told["arguments"], printed, summary):
        assert shown in text and "\u202e" not in text and "\u0430" not in text
    assert any("RIGHT-TO-LEFT OVERRIDE" in line for line in answer["escaped"])


async def test_a_megabyte_of_arguments_is_shown_whole_and_bound_to_its_last_character(bank: Bank) -> None:
    """Cut, it would hide what stands at its end; in lists, whole, it would bury all the others."""
    note = "harmless " * 105_000
    one, other = await hold_long(bank, note + "A"), await hold_long(bank, note + "B")
    async with bank.person("carol") as carol:
        page = (await carol.get(f"/approvals/{one}")).text
        assert html.escape(note + 'A"') in page.replace("&#34;", "&quot;")
        docket = (await carol.get("/approvals")).text
        assert len(docket) < 200_000 and one in docket and other in docket
        form = {**await carol.form(one), "shown": (await carol.form(other))["shown"]}
        assert (await carol.post(f"/approvals/{one}/verdict", form)).status_code == 409, "one character makes another vote"
    answer = (await api(bank, "carol", "GET", f"/{one}")).json()
    assert note + 'A"' in answer["arguments"]
    assert len((await api(bank, "carol", "GET", "?state=pending")).content) < 100_000
    async with bank.client("carol") as client:
        listed = (await client.call_tool("mcpgw__approvals_list", {})).structured_content or {}
        assert {one, other} <= {entry["id"] for entry in listed["approvals"]}, "it hides nobody else's"
        told = (await client.call_tool("mcpgw__approvals_show", {"id": one})).structured_content or {}
        assert told["masked"] and "shown" not in told and "too long" in told["next"] and len(str(told)) < 100_000
    assert bank.state(one) == bank.state(other) == "pending"


async def test_reading_a_megabyte_of_look_alikes_leaves_the_gateway_answering(world: World) -> None:
    """To write out each character takes seconds. The event loop goes round meanwhile, and so do other people's requests."""
    approval_id = await world.held(world.call(arguments={"to": IBAN, "memo": "\u0436\u0430x " * 100_000}))
    rounds, done = 0, anyio.Event()

    async def look() -> None:
        sheet = await world.desk.show(approval_id, BOB)
        assert "\\u0436\\u0430x" in sheet.arguments
        done.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(look)
        while not done.is_set():
            await anyio.lowlevel.checkpoint()
            rounds += 1
    assert rounds > 100, "a handful, if it were laid out in the event loop itself"


# --- what follows links --------------------------------------------------------------------------------------------------

HREF = re.compile(r'(?:href|src|action)="(/[^"]*)"')
FETCHERS = {
    "a click": {},
    "a link in a mail": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    "a prefetch": {"Sec-Purpose": "prefetch"},
    "a prerender": {"Sec-Purpose": "prefetch;prerender"},
    "a mail scanner": {"User-Agent": "Mozilla/5.0 (compatible; LinkScanner)"},
    "an image": {"Sec-Fetch-Dest": "image", "Accept": "image/*"},
}


@pytest.mark.parametrize("how", FETCHERS)
async def test_no_get_of_any_route_or_link_changes_anything(bank: Bank, how: str) -> None:
    """As an approver who is signed in and whose bearer credential is sent along, and as nobody; every route there is, with
    everything in the query that a form would send, and every link of every page."""
    approval_id = await bank.hold(8_100_12, memo=how)
    async with bank.person("dora", address="203.0.113.1") as dora, bank.person(address="203.0.113.2") as nobody:
        form = await dora.form(approval_id)
        before = decided(bank)
        routes = {door.path for door in PAGES} | {way.path for way in API} | {door.path for door in MCP_DOORS} | {DOCUMENT}
        standing = {"/live/approvals", "/mcp", "/sse"}  # streams, that a GET opens and that end when they are left
        todo = [path.replace("{approval_id}", approval_id).replace("{seq}", "0") for path in routes - standing]
        seen: set[str] = set()
        while todo:
            path = todo.pop(0)
            kind = re.sub(r"[0-9]+", "N", path.partition("?")[0])  # of the log's endless pages, one
            if kind in seen:
                continue
            seen.add(kind)
            for browser in (dora, nobody):
                credential = bearer(bank.key("dora")) if path.startswith("/api") and browser is dora else {}
                for more in ({}, {**form, "deed": "withdraw_vote", "happened": "yes", "_method": "POST"}):
                    answer = await browser.http.get(path, params=more, headers={**FETCHERS[how], **credential})
                    assert answer.status_code < 500, (path, answer.text)
                    if browser is dora and not more and "html" in answer.headers.get("content-type", ""):
                        todo += [html.unescape(link).partition("#")[0] for link in HREF.findall(answer.text)]
        assert len(seen) > len(routes) - len(standing)
        assert await dora.visits("/approvals"), "and nobody was signed out"
    assert decided(bank) == before and bank.state(approval_id) == "pending"


# --- the index -----------------------------------------------------------------------------------------------------------

ROW = re.compile(r"^\| [^|]+ \| [^|]+ \| `(tests/[\w/]+\.py)` ((?:`test_\w+`(?:, )?)+) \|$", re.MULTILINE)


def test_the_index_of_attacks_names_tests_that_are_there_and_every_one_of_these() -> None:
    section = (ROOT / "docs/approvals.md").read_text().partition("## Attacks")[2].partition("\n## ")[0]
    rows = ROW.findall(section)
    assert len(rows) == section.count("\n| ") - 1, "each line but the heading names a module and its tests"
    listed: set[str] = set()
    for module, cell in rows:
        names = set(re.findall(r"test_\w+", cell))
        tree = ast.parse((ROOT / module).read_text())
        there = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert names <= there, (module, names - there)
        listed |= names
    own = {node.name for node in ast.parse(Path(__file__).read_text()).body if isinstance(node, ast.AsyncFunctionDef)}
    assert {name for name in own if name.startswith("test_")} <= listed
