"""An approver's own MCP session: what waits, one call to the letter, the verdict; and what everybody else meets."""

from typing import Any

import anyio
import jsonschema_rs
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError

from mcpgw.core.model import IdentityKind
from mcpgw.own import DECIDE, LIST, SHOW, STATUS
from tests.console.bank import Bank
from tests.flows.gateway import names, words

APPROVERS_TOOLS = {"mcpgw__approvals_list", "mcpgw__approvals_show", "mcpgw__approvals_decide"}
MASKED = "4111 1111 1111 1111"
"""A card number, which every profile masks."""


async def ask(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(f"mcpgw__{tool}", arguments)
    assert not result.is_error, words(result)
    assert isinstance(result.structured_content, dict)
    return result.structured_content


async def refusal(client: Client, tool: str, **arguments: Any) -> str:
    result = await client.call_tool(f"mcpgw__{tool}", arguments)
    assert result.is_error, words(result)
    return words(result)


async def test_an_approver_finds_reads_and_approves_a_held_call_and_it_runs_once(bank: Bank) -> None:
    approval_id = await bank.hold(6_100_01)
    async with bank.client("carol") as carol:
        listed = await ask(carol, "approvals_list")
        (entry,) = [one for one in listed["approvals"] if one["id"] == approval_id]
        assert (entry["tool"], entry["requester"], entry["objection"]) == ("bank__transfer", "mcpgw:keys#alice", "")
        shown = await ask(carol, "approvals_show", id=approval_id)
        assert shown["masked"] is False and '"amount": 6100.01' in shown["arguments"]
        assert shown["page"] == f"http://gateway.example/approvals/{approval_id}"
        decided = await ask(carol, "approvals_decide", id=approval_id, verdict="approve", shown=shown["shown"], comment="ok")
        assert decided["state"] == "approved"
        for offer, answer in ((LIST, listed), (SHOW, shown), (DECIDE, decided)):
            jsonschema_rs.validator_for(offer.output).validate(answer)
    assert not (await bank.transfer(6_100_01)).is_error
    assert bank.transfers(6_100_01) == 1
    (vote,) = bank.folder.records("approval.voted", approval_id=approval_id)
    assert vote["who"]["sub"] == "carol"
    read = [one for one in bank.folder.records("evidence.read") if one["facts"].get("approval_id") == approval_id]
    assert [one["actor"] for one in read] == ["mcpgw:keys#carol"]
    targets = [record["target"]["name"] for record in bank.folder.records("call.intent") if record["who"]["sub"] == "carol"]
    assert targets[-3:] == ["mcpgw__approvals_list", "mcpgw__approvals_show", "mcpgw__approvals_decide"]


async def test_what_is_masked_can_be_denied_and_not_approved(bank: Bank) -> None:
    approval_id = await bank.hold(6_100_02, memo=f"card {MASKED}")
    async with bank.client("carol") as carol:
        shown = await ask(carol, "approvals_show", id=approval_id)
        assert shown["masked"] is True and "shown" not in shown and MASKED not in str(shown)
        assert f"/approvals/{approval_id}" in shown["next"] and "denied here" in shown["next"]
        jsonschema_rs.validator_for(SHOW.output).validate(shown)
        refused = await refusal(carol, "approvals_decide", id=approval_id, verdict="approve")
        assert "shown whole" in refused
        assert "not what" in await refusal(carol, "approvals_decide", id=approval_id, verdict="approve", shown="0" * 64)
        assert bank.state(approval_id) == "pending"
        assert (await ask(carol, "approvals_decide", id=approval_id, verdict="deny"))["state"] == "denied"
        settled = await ask(carol, "approvals_show", id=approval_id)
        assert settled["masked"] is True and "nothing is left to decide" in settled["next"]
        jsonschema_rs.validator_for(SHOW.output).validate(settled)


async def test_look_alikes_are_escaped_and_named(bank: Bank) -> None:
    approval_id = await bank.hold(6_100_03, memo="p\u0430ypal \u202egnp")
    async with bank.client("carol") as carol:
        shown = await ask(carol, "approvals_show", id=approval_id)
    assert "p\\u0430ypal \\u202egnp" in shown["arguments"]
    assert [line.split(",")[0] for line in shown["escaped"]] == [
        "U+0430 CYRILLIC SMALL LETTER A", "U+202E RIGHT-TO-LEFT OVERRIDE",
    ]  # fmt: skip


async def test_four_eyes_hold_over_mcp_as_well(bank: Bank) -> None:
    """Paula leads and asks: her own session shows her call, says why her vote would not count, and refuses it."""
    approval_id = await bank.hold(6_100_04, who="paula")
    async with bank.client("paula") as paula:
        shown = await ask(paula, "approvals_show", id=approval_id)
        assert "somebody else must decide" in shown["objection"] == shown["next"]
        refused = await refusal(paula, "approvals_decide", id=approval_id, verdict="approve", shown=shown["shown"])
        assert "somebody else must decide" in refused
        assert "somebody else" in await refusal(paula, "approvals_decide", id=approval_id, verdict="deny")
    assert bank.state(approval_id) == "pending"


async def test_the_tools_are_listed_for_people_who_could_decide_alone(bank: Bank) -> None:
    bank.folder.key("service", "payments-leads", kind=IdentityKind.SERVICE)
    for who, seen in {"carol": APPROVERS_TOOLS, "alice": set(), "audrey": set(), "robot": set(), "service": set()}.items():
        async with bank.client(who) as client:
            own = {name for name in await names(client) if name.startswith("mcpgw__approvals")}
            assert own == seen, who


@pytest.mark.parametrize("who", ["robot", "alice"])
@pytest.mark.parametrize("tool", sorted(APPROVERS_TOOLS))
async def test_calling_one_anyway_is_an_unknown_tool_to_the_letter(bank: Bank, who: str, tool: str) -> None:
    approval_id = await bank.hold(6_100_05)
    answers = []
    async with bank.client(who) as client:
        for name in (tool, "mcpgw__nothing"):
            with pytest.raises(MCPError) as refused:
                await client.call_tool(name, {"id": approval_id, "verdict": "approve", "shown": "0" * 64})
            answers.append((refused.value.error.code, refused.value.error.message.replace(name, "NAME")))
    assert answers[0] == answers[1]
    assert bank.state(approval_id) == "pending"
    (record, _) = [r for r in bank.folder.records("call.refused") if r["who"]["sub"] == who][-2:]
    assert (record["target"]["name"], record["outcome"]["code"]) == (tool, "unknown")


@pytest.mark.parametrize(
    ("tool", "arguments", "complaint"),
    [
        ("approvals_list", {"stat": "pending"}, "There is no 'stat' here. Did you mean `state`?"),
        ("approvals_list", {"state": "open"}, "`state` must be one of pending, "),
        ("approvals_show", {}, "`id` is missing."),
        ("approvals_show", {"id": 7}, "`id` must be a string."),
        ("approvals_decide", {"id": "apr_x", "verdict": "approved"}, "`verdict` must be one of approve, deny."),
        (
            "approvals_decide",
            {"id": "apr_x", "verdict": "deny", "comment": "x" * 2_001},
            "`comment` has 2001 characters; 2000 are the most.",
        ),
        ("approvals_show", {"id": "apr_nobodys"}, "There is no approval apr_nobodys for you to decide."),
    ],
)
async def test_a_wrong_argument_is_explained(bank: Bank, tool: str, arguments: dict[str, Any], complaint: str) -> None:
    async with bank.client("carol") as carol:
        assert complaint in await refusal(carol, tool, **arguments)


async def test_the_requester_learns_what_became_of_a_call_and_what_to_do(bank: Bank) -> None:
    approval_id = await bank.hold(6_100_06)
    async with bank.client("alice") as alice:
        waiting = await ask(alice, "approval_status", id=approval_id)
        assert waiting["state"] == "pending" and waiting["next"].startswith("Wait")
        jsonschema_rs.validator_for(STATUS.output).validate(waiting)
        assert (await ask(alice, "approval_status", id=approval_id, wait_s=1))["state"] == "pending"
        async with bank.person("carol") as carol:
            await carol.decide(approval_id)
        approved = await ask(alice, "approval_status", id=approval_id, wait_s=30)
        assert approved["state"] == "approved" and "identical call again now" in approved["next"]
        assert "`wait_s`" in await refusal(alice, "approval_status", id=approval_id, wait_s=46)
    async with bank.client("paula") as paula:
        foreign = await refusal(paula, "approval_status", id=approval_id)
        nobodys = await refusal(paula, "approval_status", id="apr_nobodys")
        assert foreign.replace(approval_id, "ID") == nobodys.replace("apr_nobodys", "ID")


async def test_of_other_arguments_that_are_proposed_the_requester_learns_from_the_call_itself(bank: Bank) -> None:
    approval_id = await bank.hold(6_100_08)
    other = '{"from_account": "CHK-100001", "to_account": "CHK-100002", "amount": 6000.5, "memo": "rent"}'
    await bank.folder.acli("approvals", "propose", approval_id, "--arguments", other, "--yes", key=bank.key("carol"))
    async with bank.client("alice") as alice:
        told = await ask(alice, "approval_status", id=approval_id)
    assert told["state"] == "denied" and "propose other arguments" in told["next"]
    assert "6000.5" in words(await bank.transfer(6_100_08))


async def test_waiting_ends_with_the_decision(bank: Bank) -> None:
    approval_id, heard = await bank.hold(6_100_07), []
    async with bank.client("alice") as alice, bank.person("carol") as carol:
        form = await carol.form(approval_id, "deny")

        async def wait() -> None:
            heard.append(await ask(alice, "approval_status", id=approval_id, wait_s=45))

        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait)
                await carol.post(f"/approvals/{approval_id}/verdict", form)
    assert heard[0]["state"] == "denied"


def test_own_tools_are_explained_like_any_other(bank: Bank) -> None:
    allowed = bank.folder.cli("explain", "--as", "carol", "--group", "payments-leads", "--tool", "mcpgw__approvals_decide")
    assert "ALLOW" in allowed
    hidden = ("explain", "--as", "robot", "--kind", "agent", "--group", "payments-leads", "--tool", "mcpgw__approvals_decide")
    assert "as if it did not exist" in bank.folder.cli(*hidden, expect=4)
