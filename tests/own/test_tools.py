"""Offers, and the doors that own tools come through, without a gateway around them."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import jsonschema_rs
import pytest

from mcpgw.app import own
from mcpgw.core.errors import GatewayError, LedgerUnavailable, RedactionError, UpstreamError
from mcpgw.core.model import (
    Call,
    CleanJson,
    CleanReply,
    Intent,
    Origin,
    Permit,
    RawNotice,
    RawReply,
    ReplyKind,
    Sealed,
    ShownCall,
    Target,
    TargetKind,
    UnknownTarget,
)
from mcpgw.core.naming import is_server_name
from mcpgw.own import LIST, SHOW, ApproversTools, CatalogWithOwn, Offer, OwnTool, UpstreamsWithOwn
from mcpgw.redaction import RedactionConfig, ShownDefinitions
from mcpgw.settings import from_text
from tests.approval.granting import asked
from tests.approval.world import BOB, MANIFEST, RAW, World, person
from tests.flows.gateway import make_folder
from tests.inbound.doors import MemoryCatalog, target
from tests.inbound.test_kinds import resource, template

ECHO = Offer(
    name="echo",
    title="Echo",
    description="Says it again.",
    properties={"say": {"type": "string", "maxLength": 5}},
    required=("say",),
    output={"type": "object"},
    is_read_only=True,
    timeout_s=5.0,
)


async def ignore(_: RawNotice) -> None:
    raise AssertionError("own tools send no notices")


nobody: Any = None
"""The caller, whom own tools ask nothing."""


class Elsewhere:
    async def send(self, permit: Permit, on_notice: Any, interview: Any) -> RawReply:
        raise UpstreamError("asked elsewhere", sent=False)


def permit(to: Target | UnknownTarget, arguments: Mapping[str, Any]) -> Permit:
    shown = ShownCall(call=a_call(to, arguments), arguments=CleanJson({}), raw=RAW, manifest=MANIFEST)
    allow: Any = None
    return Permit(Sealed(Intent(shown=shown, allow=allow), 0, "", "", 0))


def a_call(to: Target | UnknownTarget, arguments: Mapping[str, Any]) -> Call:
    return Call(id="c", identity=BOB, target=to, arguments=arguments, origin=Origin(transport="http", protocol_version=""))


async def send(answer: Any, arguments: Mapping[str, Any], to: Target | UnknownTarget = ECHO.target) -> dict[str, Any]:
    door = UpstreamsWithOwn(Elsewhere(), [OwnTool(offer=ECHO, answer=answer)])
    return dict((await door.send(permit(to, arguments), ignore, nobody)).payload)


async def test_an_answer_is_data_and_the_same_as_text() -> None:
    async def answer(call: Call) -> dict[str, Any]:
        return {"said": call.arguments["say"]}

    payload = await send(answer, {"say": "ä"})
    assert payload == {"content": [{"type": "text", "text": '{"said": "ä"}'}], "structuredContent": {"said": "ä"}}


async def test_other_permits_go_to_the_upstreams_and_an_own_name_never_does() -> None:
    async def answer(_: Call) -> dict[str, Any]:
        raise AssertionError("not asked")

    for to in (target("bank__echo"), UnknownTarget(kind=TargetKind.TOOL, name="x")):
        with pytest.raises(UpstreamError, match="asked elsewhere"):
            await send(answer, {}, to)
    with pytest.raises(UpstreamError, match="no tool 'mcpgw__gone' of its own") as gone:
        await send(answer, {}, replace(ECHO.target, name="mcpgw__gone"))
    assert not gone.value.sent


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({}, "`say` is missing."),
        ({"say": 1}, "`say` must be a string."),
        ({"say": "x" * 10_000}, "`say` has 10000 characters; 5 are the most."),
        ({"say": "x", "sai": 1}, "There is no 'sai' here. Did you mean `say`?"),
        ({"say": "x", "y" * 10_000: 1}, "There is no 'yyy"),
    ],
)
async def test_what_does_not_fit_never_reaches_who_answers(arguments: dict[str, Any], complaint: str) -> None:
    async def answer(_: Call) -> dict[str, Any]:
        raise AssertionError("not asked")

    payload = await send(answer, arguments)
    text = payload["content"][0]["text"]
    assert payload["isError"] is True and complaint in text and len(text) < 600


async def test_a_refusal_is_a_result_and_a_ledger_that_cannot_write_is_a_failure() -> None:
    async def refuse(_: Call) -> dict[str, Any]:
        raise GatewayError("Not today.", hint="Ask tomorrow.")

    async def lose(_: Call) -> dict[str, Any]:
        raise LedgerUnavailable("disk full")

    refused = await send(refuse, {"say": "x"})
    assert (refused["isError"], refused["content"][0]["text"]) == (True, "Not today. Ask tomorrow.")
    with pytest.raises(UpstreamError) as lost:
        await send(lose, {"say": "x"})
    assert lost.value.sent


async def test_an_answer_that_takes_too_long_is_given_up() -> None:
    async def sleep(_: Call) -> dict[str, Any]:
        await anyio.sleep_forever()
        raise AssertionError

    with pytest.raises(TimeoutError):
        await send(sleep, {"say": "x"}, replace(ECHO.target, timeout_s=0.01))


def test_the_catalog_lists_both_in_order_and_no_upstream_can_have_the_name() -> None:
    resources = [resource("file:///a"), template("db://{id}")]
    tools = {"bank__a": target("bank__a"), "zoo__z": target("zoo__z")}
    catalog = CatalogWithOwn(MemoryCatalog(tools, resources, ["file:///b"]), [ECHO])
    assert [one.name for one in catalog.targets(TargetKind.TOOL)] == ["bank__a", "mcpgw__echo", "zoo__z"]
    assert catalog.find(TargetKind.TOOL, "mcpgw__echo") is ECHO.target
    assert isinstance(catalog.find(TargetKind.PROMPT, "mcpgw__echo"), UnknownTarget)
    assert sorted(catalog.targets(TargetKind.RESOURCE), key=lambda one: one.name) == sorted(resources, key=lambda one: one.name)
    assert (catalog.templates("bank"), catalog.withheld("bank")) == (resources[1:], ["file:///b"])
    assert not is_server_name("mcpgw")


OFFERS = own.offers(from_text("[approval]\ndecide_over_mcp = true", Path()))


def test_deciding_is_offered_only_where_it_is_switched_on() -> None:
    assert "approvals_decide" in {offer.name for offer in OFFERS}
    assert "approvals_decide" not in {offer.name for offer in own.offers(from_text("", Path()))}


@pytest.mark.parametrize("offer", OFFERS, ids=lambda offer: offer.name)
def test_each_offer_can_be_listed_and_carries_no_value_behind_a_token(offer: Offer) -> None:
    listed = ShownDefinitions(RedactionConfig(model="none")).shown(offer.target)
    assert (listed["description"], listed["inputSchema"]) == (offer.description, offer.definition["inputSchema"])
    assert listed["name"] == f"mcpgw__{offer.name}" and isinstance(listed["annotations"]["readOnlyHint"], bool)
    for schema in (listed["inputSchema"], listed.get("outputSchema", {})):
        jsonschema_rs.meta.validate(schema)
    assert offer.target.is_own and not offer.target.restore_tokens
    assert all(isinstance(one, dict) and ("description" in one) for one in offer.properties.values() if "enum" not in one)


WOULD_HOLD = """
[scopes.own]
tools = ["mcpgw__*"]

[roles.leads]
members = ["group:leads"]
scopes = ["own"]

[[rules]]
id = "everything"
effect = "hold"
"""


def test_check_refuses_a_rule_that_would_hold_an_own_tool(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "gateway", WOULD_HOLD)
    said = folder.cli("check", expect=1)
    assert "The rule everything would hold mcpgw__approvals_list, about which nobody can be asked" in said
    folder.config.write_text(folder.config.read_text().replace('effect = "hold"', 'effect = "hold"\ntools = ["bank__*"]'))
    assert "would hold" not in folder.cli("check")


class Censor:
    """A redactor that masks nothing, one word, or cannot work."""

    def __init__(self, word: str = "", *, broken: bool = False) -> None:
        self.word = word
        self.broken = broken

    async def show(self, call: Call) -> ShownCall:
        raise AssertionError("not asked")

    async def clean_notice(self, call: Call, notice: RawNotice) -> Any:
        raise AssertionError("not asked")

    async def clean(self, call: Call, reply: RawReply) -> CleanReply:
        if self.broken:
            raise RedactionError("the model is gone")
        text = json.dumps(reply.payload)
        payload = json.loads(text.replace(self.word, "<X>") if self.word else text)
        return CleanReply(kind=ReplyKind.RESULT, payload=CleanJson(payload), raw=RAW, manifest=MANIFEST)


async def shown(world: World, approval_id: str, redactor: Censor) -> dict[str, Any]:
    tools = ApproversTools(world.desk, redactor, "")
    return dict(await tools.answer_show(a_call(SHOW.target, {"id": approval_id})))


OPEN = {"to": "<IBAN>", "amount": 5}
"""Arguments of which the world's redaction for the record changes nothing."""


@pytest.mark.parametrize(
    ("arguments", "redactor", "masked"),
    [
        (OPEN, Censor(), False),
        (OPEN, Censor("alice"), True),
        (OPEN, Censor("amount"), True),
        (OPEN, Censor(broken=True), True),
        ({"to": "DE89", "amount": 5}, Censor(), True),
    ],
)
async def test_the_commitment_is_given_where_nothing_at_all_is_masked(
    world: World, arguments: dict[str, Any], redactor: Censor, masked: bool
) -> None:
    answer = await shown(world, await world.held(world.call(arguments=arguments)), redactor)
    assert answer["masked"] is masked and ("shown" in answer) is not masked
    assert ("DE89" not in str(answer) and "mcpgw approvals" in answer["next"]) or not masked


async def test_a_grant_is_never_approved_here_however_clean_its_example_is(world: World) -> None:
    """Its arguments are an example: they are not all that would run."""
    answer = await shown(world, await asked(world.desk, world.call(arguments=OPEN)), Censor())
    assert answer["masked"] is True and "shown" not in answer
    assert answer["granted"] == [
        '"amount": any number from 1 up to 20000',
        "Every other argument exactly as in the example, and no other.",
        "5 calls, 50000 in all of amount",
    ]
    assert answer["next"].startswith("This asks for more than one call, so it cannot be approved here.")
    jsonschema_rs.validator_for(SHOW.output).validate(answer)


async def test_a_list_is_cut_at_the_nearest_deadlines_and_says_how_many_more(world: World) -> None:
    ids = []
    for number in range(52):
        ids.append(await world.held(world.call(arguments={"to": "<IBAN>", "amount": number})))
        world.later(1)
    answer = await ApproversTools(world.desk, Censor(), "https://gw").answer_list(a_call(LIST.target, {}))
    assert [one["id"] for one in answer["approvals"]] == ids[:50] and answer["more"] == 2
    nobodys = replace(a_call(LIST.target, {"state": "done"}), identity=person("mallory"))
    assert await ApproversTools(world.desk, Censor(), "").answer_list(nobodys) == {"approvals": [], "more": 0}
