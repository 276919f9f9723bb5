"""The tools of those who ask ahead: for several calls at once, within bounds that people look at, and what came of it."""

from typing import Any, Final, Protocol

from mcpgw.core.access import MAX_ALTERNATIVES, MAX_REASON, Access, access_of, clean_sentences
from mcpgw.core.allowance import MAX_CALLS
from mcpgw.core.errors import GatewayError
from mcpgw.core.model import (
    Call,
    Held,
    JsonObject,
    Masking,
    Patience,
    Refused,
    Request,
    TargetKind,
)
from mcpgw.core.visible import visible
from mcpgw.own.approvals import iso
from mcpgw.own.doors import ApproversDesk
from mcpgw.own.tool import NotUnderstood, Offer, OwnTool
from mcpgw.ports import Approval, ApprovalState

_TEXT: Final = {"type": "string"}
_LOOKED_AT: Final = 1_000_000
"""In effect every approval of the caller."""
_LISTED: Final = 50
"""Grants of one answer, the newest."""
_LONGEST_MIN: Final = 30 * 24 * 60

REQUEST: Final = Offer(
    name="request_access",
    title="Ask for a grant",
    description=(
        "Ask people to approve several calls of one tool at once: like an example call, of which named arguments may vary "
        "within bounds, so many calls, until then. Nothing runs by this. Once people have approved it, calls that fit run "
        "without asking again. Ask for no more than the task needs: people see exactly what is asked for."
    ),
    properties={
        "tool": {**_TEXT, "description": "The tool's name, as it is listed."},
        "arguments": {"type": "object", "description": "An example call: every argument that the calls will have."},
        "vary": {
            "type": "object",
            "description": (
                'By argument, what may differ from the example: {"at_least": 1, "at_most": 500} (or one of the two): a number '
                f'in these bounds; {{"one_of": [...]}}: one of at most {MAX_ALTERNATIVES} values; {{"any": true}}: whatever '
                "it is. All other arguments must be equal to the letter."
            ),
        },
        "max_calls": {"type": "integer", "minimum": 1, "maximum": MAX_CALLS, "description": "How many calls at most."},
        "total": {
            "type": "object",
            "description": 'The most that a number may add up to over all calls: {"argument": "amount", "at_most": 5000}.',
        },
        "minutes": {"type": "integer", "minimum": 1, "maximum": _LONGEST_MIN, "description": "How long, from now on."},
        "reason": {"type": "string", "maxLength": MAX_REASON, "description": "Why; those who decide see it as your words."},
    },
    required=("tool", "arguments", "max_calls", "minutes"),
    output={
        "type": "object",
        "properties": dict.fromkeys(("id", "decide_by", "next"), _TEXT),
        "required": ["id", "decide_by", "next"],
    },
    is_read_only=False,
    annotations={"destructiveHint": False, "idempotentHint": True},
    masking=Masking(paths=("arguments", "vary")),
)
LIST: Final = Offer(
    name="access_list",
    title="List grants",
    description="List the grants that you asked for: which wait for people, and how far those that stand are used.",
    properties={"all": {"type": "boolean", "description": "Ended ones too."}},
    output={
        "type": "object",
        "properties": {
            "grants": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        **dict.fromkeys(("id", "state", "tool", "used", "until"), _TEXT),
                        "covers": {"type": "array", "items": _TEXT},
                    },
                    "required": ["id", "state", "tool", "used", "until", "covers"],
                },
            }
        },
        "required": ["grants"],
    },
    is_read_only=True,
)
_OPEN: Final = (ApprovalState.PENDING, ApprovalState.APPROVED)


class NotAsked(GatewayError):
    """Nobody is asked for this grant; the message says why."""


class Asker(Protocol):
    """The corridor's way to the desk, for a request that runs nothing."""

    async def __call__(self, request: Request, access: Access) -> Held | Refused: ...


class AccessTools:
    """Answers for `REQUEST` and `LIST`, each for its caller through the same agents."""

    def __init__(self, ask: Asker, desk: ApproversDesk) -> None:
        self._ask = ask
        self._desk = desk

    def tools(self) -> tuple[OwnTool, ...]:
        return (OwnTool(offer=REQUEST, answer=self.answer_request), OwnTool(offer=LIST, answer=self.answer_list))

    async def answer_request(self, call: Call) -> JsonObject:
        request = Request(
            identity=call.identity,
            kind=TargetKind.TOOL,
            name=call.arguments["tool"],
            arguments=call.arguments["arguments"],
            origin=call.origin,
            patience=Patience(budget_s=0.0),
        )
        answer = await self._ask(request, _access(call.arguments))
        if isinstance(answer, Refused):
            raise NotAsked(answer.reason)
        return {"id": answer.approval_id, "decide_by": iso(answer.deadline_ns), "next": _NEXT}

    async def answer_list(self, call: Call) -> JsonObject:
        states = () if call.arguments.get("all") else _OPEN
        found = await self._desk.docket(call.identity, states, _LOOKED_AT)
        asker = (call.identity.principal, call.identity.actors)
        own = [one for one in found if one.is_grant and (one.requester, one.actors) == asker]
        return {"grants": [_told(one) for one in own[:_LISTED]]}


_NEXT: Final = "Nothing runs yet. Once people have approved it, make the calls; mcpgw__access_list says how it stands."


def _access(arguments: JsonObject) -> Access:
    named = {name: arguments[name] for name in ("max_calls", "vary", "total", "reason") if name in arguments}
    try:
        return access_of({**named, "lasts_ns": arguments["minutes"] * 60 * 10**9})
    except ValueError as error:
        raise NotUnderstood(f"{error}.") from None


def _told(approval: Approval) -> dict[str, Any]:
    return {
        "id": approval.id,
        "state": approval.state.value,
        "tool": approval.target,
        "used": approval.usage,
        "until": iso(approval.usable_until_ns),
        "covers": [visible(line) for line in clean_sentences(approval.facts["access"])],
    }
