"""A server asks its caller in the middle of a call: every client before every server, in both eras, and what is on record.

Four cells: an earlier client or one of 2026-07-28, before an earlier server or one of 2026-07-28.
"""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, suppress
from itertools import product
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CallToolResult,
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitCompleteNotification,
    ElicitRequestParams,
    ElicitResult,
    ListRootsResult,
    Root,
    TextContent,
)

from mcpgw.ledger.evidence import PAYLOADS, RECORDS
from mcpgw.ledger.evidence.archive import unpack
from mcpgw.ledger.evidence.check import check
from tests.console.bank import TLS
from tests.flows.gateway import (
    BOUND_S,
    DOWNSTREAMS,
    Gateway,
    bearer,
    listening,
    make_folder,
    serving,
    until,
    until_listed,
    words,
)
from tests.real_servers import asking_server

SSN = "078-05-1120"
RULES = """
[console]
auditors = ["group:auditors"]

[[rules]]
id = "never-on-sunday"
effect = "deny"
tools = ["*__book"]
when = "answers.exists(key, has(answers[key].content) && answers[key].content.day == 'Sunday')"
reason = "Nobody works then."

[[rules]]
id = "looked-at"
effect = "hold"
tools = ["*__book_twice"]
may_be_asked = true

[[rules]]
id = "looked-at-strictly"
effect = "hold"
tools = ["*__sum_up"]
when = "args.text.startsWith('secret')"
"""
QUESTIONS = """
[defaults]
questions = ["form", "sampling", "roots"]

[tools.sign]
questions = ["url"]

[tools.whereabouts]
questions = []
"""
UPSTREAMS = ("pipe", "web", "old_pipe", "old_web", "events")
"""The asking server, of 2026-07-28 on two transports and of 2025-11-25 on three."""


class Person:
    """The user of a client, and what their client's host shows them."""

    def __init__(self) -> None:
        self.day = "Monday"
        self.shown: list[str] = []
        self.completed: list[str] = []
        """Pages that their servers are done with."""

    async def fill_in(self, _: Any, params: ElicitRequestParams) -> ElicitResult:
        self.shown.append(params.message)
        if params.mode == "url":
            return ElicitResult(action="accept")
        if self.day == "Sunday?":
            return ElicitResult(action="decline")
        return ElicitResult(action="accept", content={"day": self.day})

    async def complete(self, _: Any, params: CreateMessageRequestParams) -> CreateMessageResult:
        return CreateMessageResult(role="assistant", content=TextContent(type="text", text="short"), model="m")

    async def folders(self, _: Any) -> ListRootsResult:
        return ListRootsResult(roots=[Root(uri="file:///work")])  # type: ignore[arg-type]

    async def hear(self, message: Any) -> None:
        if isinstance(message, ElicitCompleteNotification):
            self.completed.append(message.params.elicitation_id)

    @property
    def callbacks(self) -> dict[str, Any]:
        return {
            "elicitation_callback": self.fill_in,
            "sampling_callback": self.complete,
            "list_roots_callback": self.folders,
            "message_handler": self.hear,
        }


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = make_folder(tmp_path_factory.mktemp("asked") / "gateway", RULES)
    folder.key("alice", "all")
    folder.key("carol", "leads")
    folder.key("audrey", "auditors")
    with ExitStack() as stack:
        for name, transport, *options in (
            ("web", "http"),
            ("old_web", "http", "--legacy-only"),
            ("events", "sse", "--legacy-only"),
        ):
            port = stack.enter_context(listening(asking_server(transport, *options)))
            folder.called(name, transport, f"http://127.0.0.1:{port}/{'sse' if transport == 'sse' else 'mcp'}", QUESTIONS)
        folder.spawned("pipe", asking_server("stdio"), QUESTIONS)
        folder.spawned("old_pipe", asking_server("stdio", "--legacy-only"), QUESTIONS)
        folder.accept()
        yield stack.enter_context(serving(folder))


@pytest.fixture(scope="module")
def person() -> Person:
    return Person()


CELLS = [("http 2026", "web"), ("stdio 2026", "old_pipe"), ("http 2025", "old_web"), ("sse 2025", "pipe")]
"""One pair for each combination of eras, and every transport among them."""


@pytest.fixture(scope="module")
async def clients(gateway: Gateway, person: Person) -> AsyncIterator[dict[str, Client]]:
    """One client for each way into the gateway."""
    async with AsyncExitStack() as stack:
        found: dict[str, Client] = {}
        for downstream in DOWNSTREAMS:
            client = gateway.client(downstream, gateway.folder.keys["alice"], **person.callbacks)
            found[downstream] = await stack.enter_async_context(client)
        for client in found.values():
            await until_listed(client, *(f"{upstream}__book" for upstream in UPSTREAMS))
        yield found


@pytest.fixture
def client(clients: dict[str, Client], downstream: str) -> Client:
    return clients[downstream]


every_pair = pytest.mark.parametrize(("downstream", "upstream"), [*product(DOWNSTREAMS, UPSTREAMS)])
every_cell = pytest.mark.parametrize(("downstream", "upstream"), CELLS)


@pytest.fixture(autouse=True)
def anew(person: Person) -> None:
    person.day = "Monday"
    person.shown.clear()
    person.completed.clear()


async def called(client: Client, name: str, **arguments: Any) -> CallToolResult:
    with anyio.fail_after(BOUND_S):
        return await client.call_tool(name, arguments)


@every_pair
async def test_form_model_and_folders_are_asked_for_in_every_pair_of_eras(
    client: Client, upstream: str, person: Person
) -> None:
    assert words(await called(client, f"{upstream}__book", what="a room")) == "a room: accept Monday"
    assert person.shown == ["Which day for a room?"]
    assert words(await called(client, f"{upstream}__sum_up", text="much")) == "short"
    assert words(await called(client, f"{upstream}__folders")) == "file:///work"


@pytest.mark.parametrize("downstream", [one for one in DOWNSTREAMS if one.endswith("2025")])
@pytest.mark.parametrize("upstream", [one for one in UPSTREAMS if one not in ("pipe", "web")])
async def test_a_client_that_showed_a_page_hears_that_its_server_is_done_with_it(
    client: Client, upstream: str, person: Person
) -> None:
    assert words(await called(client, f"{upstream}__sign")) == "accept"
    assert (person.shown, person.completed) == (["Please sign"], ["elicitation-7"])


@every_cell
async def test_the_user_is_shown_a_clean_question_and_the_server_is_told_the_answer(
    gateway: Gateway, client: Client, upstream: str, person: Person
) -> None:
    person.day = f"the day of {SSN}"
    result = await called(client, f"{upstream}__book", what=f"{SSN}'s room")
    assert person.shown == ["Which day for <US_SSN>'s room?"]
    assert words(result) == "<US_SSN>'s room: accept the day of <US_SSN>", "the server had both, and its reply is clean"
    await until(lambda: not gateway.folder.open_calls(), "all is recorded")
    written = b"".join(file.read_bytes() for file in gateway.folder.data.rglob("*") if file.is_file())
    assert SSN.encode() not in written


@every_cell
async def test_policy_judges_what_was_answered(gateway: Gateway, client: Client, upstream: str, person: Person) -> None:
    person.day = "Sunday"
    try:
        result = await called(client, f"{upstream}__book", what="a room")
    except MCPError as refused:  # the word of an earlier server, whose question had no answer
        said = str(refused)
    else:
        assert result.is_error
        said = words(result)
    assert "Nobody works then." in said
    assert "Sunday" not in gateway.folder.cli("log", "--limit", "20")


@every_cell
async def test_an_approved_call_asks_where_its_rule_says_so(gateway: Gateway, client: Client, upstream: str) -> None:
    count = len(gateway.folder.records("call.held"))
    arguments = {"what": f"{upstream} {id(client)}"}
    result = await called(client, f"{upstream}__book_twice", **arguments)
    assert result.is_error and "not executed" in words(result), words(result)
    held = await until(lambda: gateway.folder.records("call.held")[count:], "the call is held")
    await gateway.folder.acli("approvals", "approve", held[0]["approval"]["id"], "--yes", key=gateway.folder.keys["carol"])
    result = await called(client, f"{upstream}__book_twice", **arguments)
    assert words(result) == f"{arguments['what']}: Monday or Monday"


@every_cell
async def test_what_was_approved_strictly_is_not_added_to(gateway: Gateway, client: Client, upstream: str) -> None:
    """A client of 2026-07-28 before such a server makes the call again, which is then held with its answers; others fail."""
    folder, arguments = gateway.folder, {"text": f"secret of {upstream} {id(client)}"}

    async def approve() -> None:
        result = await called(client, f"{upstream}__sum_up", **arguments)
        assert result.is_error and "not executed" in words(result), words(result)
        approval = str((result.meta or {})["mcpgw/approval"]["id"])
        await folder.acli("approvals", "approve", approval, "--yes", key=folder.keys["carol"])

    await approve()
    if upstream == "web":
        await approve()
        (first, second) = folder.records("call.held")[-2:]
        assert first["approval"]["id"] != second["approval"]["id"]
        shown = await folder.acli("approvals", "show", second["approval"]["id"], key=folder.keys["carol"])
        assert "mcpgw/answers" in shown and "short" in shown, "its approver saw the answer"
        return
    try:
        result = await called(client, f"{upstream}__sum_up", **arguments)
    except MCPError as refused:
        assert "nobody approved" in str(refused) or "did not declare the sampling capability" in str(refused)
    else:
        assert result.is_error and "short" not in words(result)


@pytest.mark.parametrize(("downstream", "upstream"), [("http 2026", "old_pipe")])
async def test_an_auditor_sees_questions_and_answers_takes_them_away_and_they_are_erased(
    gateway: Gateway, client: Client, upstream: str, person: Person, tmp_path: Path
) -> None:
    folder, name = gateway.folder, f"{upstream}__book"
    person.day = f"the day {id(client)}"
    assert person.day in words(await called(client, name, what="a hall"))
    person.day = "Sunday"
    with suppress(MCPError):
        await called(client, name, what="a hall")
    await until(lambda: not folder.open_calls(), "all is recorded")
    (answered,) = [one for one in folder.records("call.answered") if one["target"]["name"] == name][-1:]
    call, session = answered["call"], answered["session"]["id"]
    assert (
        json.loads(await folder.acli("log", "--text", f"day {id(client)}", "--kind", "call.answered", "--json"))["call"] == call
    )

    told = (await folder.acli("replay", session)).splitlines()
    titles = [line.partition("alice ")[2] for line in told if name in line]
    asked = f"is asked by {name}, which waits for the answer"
    assert titles[-8:] == [
        f"calls {name}, and it runs", asked, f"answers {name}, which goes on", f"is answered by {name}",
        f"calls {name}, and it runs", asked, f"gets no answer through to {name}", f"is answered by {name} with an error",
    ]  # fmt: skip
    shown = "\n".join(told)
    assert "Which day for a hall?" in shown and f"the day {id(client)}" in shown and "Nobody works then." in shown
    await folder.acli("replay", session, "--html", str(tmp_path / "session.html"))
    page = (tmp_path / "session.html").read_text()
    assert asked in page and "Which day for a hall?" in page

    headers = bearer(folder.keys["audrey"])
    async with httpx2.AsyncClient(base_url=f"{gateway.url}/api/v1/evidence", headers=headers, verify=TLS) as audrey:
        steps = (await audrey.get(f"/sessions/{session}", params={"limit": 500})).json()["steps"]
        mine = [step for step in steps if step["call"] == call]
        assert [step["kind"] for step in mine] == ["call.intent", "call.asked", "call.answered", "call.outcome"]
        assert [part["label"] for step in mine for part in step["shown"]] == ["arguments", "question", "answer", "result"]
        record = (await audrey.get(f"/records/{answered['seq']}")).json()
        assert person_said(record["payloads"]["answer"]) == f"the day {id(client)}"
        package = (await audrey.post("/export", json={"session": session, "reason": "a question"}, timeout=BOUND_S)).content
    assert check(package).ok
    files = unpack(package)
    packed = {(one["seq"], one["slot"]): one.get("body") for one in map(json.loads, files[PAYLOADS].splitlines())}
    assert person_said(packed[answered["seq"], "answer"]) == f"the day {id(client)}"
    assert b'"kind":"call.unanswered"' in files[RECORDS]

    await folder.acli("shred", "--event", answered["id"], "--reason", "case 8", "--yes")
    after = await folder.acli("replay", session)
    assert f"the day {id(client)}" not in after and "answer: not there any more" in after


def person_said(answer: str) -> str:
    (response,) = json.loads(answer)["inputResponses"].values()
    return str(response["content"]["day"])
