"""What a server says of a held call: whose call stands with which approval, what is shown of it, and what a vote is tied to."""

from dataclasses import replace
from typing import Any

import anyio
import pytest

from mcpgw.app.previews import _MOST, Previews
from mcpgw.approval.seal import Seal
from mcpgw.approval.sheet import MAX_PREVIEW, lay_out
from mcpgw.core.entries import Refusal, Verdict
from mcpgw.core.errors import ApprovalConflict, AuthenticationError
from mcpgw.core.model import (
    Allow,
    Intent,
    JsonObject,
    Patience,
    Preview,
    RefusalCode,
    Refused,
    Request,
    Ruling,
    ShownCall,
    TargetKind,
    UnknownTarget,
    Waiting,
)
from mcpgw.ports import ApprovalState, Peer, Previewed, Sheet
from tests.approval.world import BOB, HOLD, KEY, REPLY, TOOL, World

NOW = Patience(budget_s=0.0)
RULING = Ruling(rule_ids=("r",), reason="because", policy_hash="p")


async def held(world: World) -> str:
    answer = await world.settle(patience=NOW)
    assert isinstance(answer, Waiting)
    return answer.approval_id


def preview_of(world: World, approval_id: str) -> ShownCall:
    shown = world.call()
    return replace(shown, call=replace(shown.call, previews=approval_id))


async def test_the_first_preview_that_ends_while_people_decide_stands_with_the_approval(world: World) -> None:
    approval_id = await held(world)
    refused = Refused(code=RefusalCode.DENIED, reason="no")
    await world.ledger.append(Refusal(shown=preview_of(world, "apr_nobodys"), refused=refused, ruling=RULING))
    assert world.ledger.rows[approval_id].preview_event == ""
    intent = await world.ledger.append(Intent(shown=preview_of(world, approval_id), allow=Allow(ruling=RULING)))
    assert world.ledger.rows[approval_id].state is ApprovalState.PENDING, "it spends nothing"
    await world.finish(intent, REPLY)
    first = world.ledger.rows[approval_id].preview_event
    await world.ledger.append(Refusal(shown=preview_of(world, approval_id), refused=refused, ruling=RULING))
    assert world.ledger.rows[approval_id].preview_event == first != ""


async def test_one_that_ends_too_late_is_for_nobody(world: World) -> None:
    approval_id = await held(world)
    await world.desk.vote(approval_id, BOB, Verdict.APPROVE)
    refused = Refused(code=RefusalCode.DENIED, reason="no")
    await world.ledger.append(Refusal(shown=preview_of(world, approval_id), refused=refused, ruling=RULING))
    row = world.ledger.rows[approval_id]
    assert (row.state, row.preview_event) == (ApprovalState.APPROVED, "")


def text(*texts: str) -> JsonObject:
    return {"content": [{"type": "text", "text": one} for one in texts]}


SHOWN: list[tuple[Previewed, str, str]] = [
    (Previewed(call_id="c", reply=text("would pay 5", "and 6")), "would pay 5\nand 6", ""),
    (Previewed(call_id="c", reply=text("\u202e5\x1b[2J")), "\\u202e5\\u001b[2J", ""),
    (
        Previewed(call_id="c", reply={**text(), "structuredContent": {"n": 1}}),
        '{\n  "content": [],\n  "structuredContent": {\n    "n": 1\n  }\n}',
        "",
    ),
    (Previewed(call_id="c", reply={"content": "odd"}), '{\n  "content": "odd"\n}', ""),
    (Previewed(call_id="c", reply={"content": ["odd"]}), '{\n  "content": [\n    "odd"\n  ]\n}', ""),
    (Previewed(call_id="c", reply={}, problem="It is\ndown."), "", "It is\\ndown."),
    (Previewed(call_id="c", reply=text("no such account"), problem="An error."), "no such account", "An error."),
    (Previewed(call_id="c", reply={"_meta": {"a": 1}, "isError": False}), "", ""),
]


@pytest.mark.parametrize(("previewed", "preview", "problem"), SHOWN)
async def test_it_is_shown_in_characters_that_cannot_deceive(
    world: World, previewed: Previewed, preview: str, problem: str
) -> None:
    sheet = await laid_out(world, previewed)
    assert (sheet.preview, sheet.preview_problem) == (preview, problem)


async def laid_out(world: World, *previewed: Previewed) -> Sheet:
    approval_id = await held(world)
    approval = world.ledger.records[approval_id]
    return lay_out(replace(approval, preview=previewed), Seal(KEY))


async def test_no_more_is_shown_than_a_person_reads_and_a_vote_is_tied_to_all_that_is(world: World) -> None:
    long = await laid_out(world, Previewed(call_id="c", reply=text("x" * (MAX_PREVIEW + 1))))
    assert long.preview == f"{'x' * MAX_PREVIEW}\n… (cut: it has {MAX_PREVIEW + 1} characters)"
    sheets = [
        await laid_out(world),
        await laid_out(world, Previewed(call_id="c", reply=text("5"))),
        await laid_out(world, Previewed(call_id="c", reply=text("6"))),
        await laid_out(world, Previewed(call_id="c", reply=text("5"), problem="An error.")),
    ]
    assert len({sheet.commitment for sheet in sheets}) == 4 and len({sheet.arguments for sheet in sheets}) == 1


async def test_a_vote_on_a_sheet_without_its_preview_is_refused_once_there_is_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    approval_id = await held(world)
    sheet = await world.desk.show(approval_id, BOB)
    assembled = world.ledger._assembled
    later = (Previewed(call_id="c", reply=text("would pay 5")),)
    monkeypatch.setattr(world.ledger, "_assembled", lambda row: replace(assembled(row), preview=later))
    with pytest.raises(ApprovalConflict, match="What you were shown"):
        await world.desk.vote(approval_id, BOB, Verdict.APPROVE, shown=sheet.commitment)
    again = await world.desk.show(approval_id, BOB)
    await world.desk.vote(approval_id, BOB, Verdict.APPROVE, shown=again.commitment)


class Walks:
    """A corridor that keeps what it is asked."""

    def __init__(self, error: Exception | None = None) -> None:
        self.requests: list[Request] = []
        self.peers: list[Peer] = []
        self.error = error

    async def walk(self, request: Request, peer: Peer) -> None:
        self.requests.append(request)
        self.peers.append(peer)
        await anyio.lowlevel.checkpoint()
        if self.error:
            raise self.error


async def asked(shown: ShownCall, walks: Walks, times: int = 1) -> list[Request]:
    async with anyio.create_task_group() as tasks:
        previews = Previews(walks, tasks, 5.0)  # type: ignore[arg-type]
        for number in range(times):
            previews.ask(shown, f"apr_{number}")
    return walks.requests


def with_preview(world: World, *preview: Preview, **call: Any) -> ShownCall:
    shown = world.call(target=replace(TOOL, preview=preview))
    return replace(shown, call=replace(shown.call, **call))


async def test_a_call_is_previewed_as_the_catalog_says_with_the_arguments_as_they_were_sent(world: World) -> None:
    dry = Preview(arguments={"dry_run": True})
    (request,) = await asked(with_preview(world, dry, sent={"to": "tok_1"}), Walks())
    assert (request.name, request.arguments, request.previews) == (TOOL.name, {"to": "tok_1", "dry_run": True}, "apr_0")
    (request,) = await asked(with_preview(world, Preview(tool="bank__look")), Walks())
    assert (request.name, dict(request.arguments)) == ("bank__look", dict(world.call().call.arguments))
    assert await asked(with_preview(world), Walks()) == []
    unknown = UnknownTarget(kind=TargetKind.TOOL, name="x")
    assert await asked(with_preview(world, target=unknown), Walks()) == []


async def test_too_many_at_once_and_failures_cost_previews_alone(world: World, caplog: pytest.LogCaptureFixture) -> None:
    shown = with_preview(world, Preview(arguments={"dry_run": True}))
    assert len(await asked(shown, Walks(), times=_MOST + 2)) == _MOST
    assert f"no preview, since {_MOST} are under way" in caplog.text
    assert len(await asked(shown, Walks(OSError("no disk")))) == 1
    assert "apr_0: its preview failed" in caplog.text


async def test_nobody_listens_to_a_preview(world: World) -> None:
    walks = Walks()
    await asked(with_preview(world, Preview(arguments={"dry_run": True})), walks)
    (peer,) = walks.peers
    with pytest.raises(AuthenticationError):
        await peer.identity()
    assert not peer.wants(None)  # type: ignore[arg-type]
    await peer.notify(None)  # type: ignore[arg-type]
    await peer.waiting(Waiting(approval_id="a", deadline_ns=1), "", 0.0)


async def test_the_desk_tells_of_calls_that_it_newly_holds_and_of_nothing_else(world: World) -> None:
    told: list[str] = []
    desk = world.new_desk()
    desk._on_held = lambda shown, approval_id: told.append(approval_id)
    for _ in range(2):
        answer = await desk.settle(world.call(), HOLD, NOW, None)  # type: ignore[arg-type]
        assert isinstance(answer, Waiting) and told == [answer.approval_id]
