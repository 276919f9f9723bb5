"""The tools of those who decide: what waits, one held call as exactly as may be, and the verdict on it.

What they return passes redaction, as everything does that leaves. So an approval can be given here only of what was shown
whole: `show` gives out the commitment that `decide` asks for where nothing was masked, and nowhere else.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from mcpgw.core.access import clean_sentences
from mcpgw.core.entries import Verdict
from mcpgw.core.errors import GatewayError, RedactionError
from mcpgw.core.model import (
    Audience,
    Call,
    CleanReply,
    JsonObject,
    RawReply,
    ReplyKind,
)
from mcpgw.core.visible import visible, visible_json, visible_line
from mcpgw.own.doors import ApproversDesk
from mcpgw.own.shelf import result_payload
from mcpgw.own.tool import Offer, OwnTool
from mcpgw.ports import Approval, ApprovalState, Redactor, Sheet

APPROVAL_ID: Final = {"type": "string", "pattern": "^[a-z0-9_]{1,64}$", "description": "An approval's id, `apr_…`."}
_TEXT: Final = {"type": "string"}
_LISTED: Final = 50
"""Approvals of one answer; the nearest deadlines, where people are waited for."""
_LOOKED_AT: Final = 1_000_000
"""In effect every approval in that state: none may be hidden by others that are newer."""
_COMMENT: Final = 2_000
_SUMMARY: Final = {
    "id": _TEXT,
    "state": _TEXT,
    "tool": _TEXT,
    "requester": _TEXT,
    "actors": {"type": "array", "items": _TEXT},
    "rules": {"type": "array", "items": _TEXT},
    "reason": _TEXT,
    "opened": _TEXT,
    "deadline": _TEXT,
    "votes": _TEXT,
    "objection": {"type": "string", "description": "Why your vote would not count; empty if it would."},
    "page": {"type": "string", "description": "Where people decide on it; empty where there are no pages."},
}


_MASKED: Final = {"type": "string", "description": "Masked, and cut where they are long."}
_SHORT: Final = 300
"""Characters of masked arguments in a list, which a requester must not be able to fill."""
_LONG: Final = 20_000
"""Characters of arguments that are shown: no person reads more of them in a chat, and the answer stays below its limit."""


def _object(properties: Mapping[str, Any], **optional: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {**properties, **optional}, "required": [*properties]}


LIST: Final = Offer(
    name="approvals_list",
    title="List held calls",
    description="List the held calls that are yours to see, those that wait for people first and by default alone.",
    properties={
        "state": {
            "enum": [state.value for state in ApprovalState],
            "description": "Only approvals in this state; `pending` if left out.",
        }
    },
    output=_object(
        {
            "approvals": {"type": "array", "items": _object({**_SUMMARY, "arguments": _MASKED})},
            "more": {"type": "integer", "description": "How many others there are in that state."},
        }
    ),
    is_read_only=True,
    audience=Audience.DECIDERS,
)
SHOW: Final = Offer(
    name="approvals_show",
    title="Show a held call",
    description=(
        "Show one held call: who asks, through which agents, for what, and with which arguments. Show your user everything, "
        "to the letter. Where something is masked, it cannot be approved here: `next` says where it can."
    ),
    properties={"id": APPROVAL_ID},
    required=("id",),
    output=_object(
        {
            **_SUMMARY,
            "server": _TEXT,
            "definition_hash": _TEXT,
            "policy_hash": _TEXT,
            "digest": {"type": "string", "description": "What an approval binds; hex SHA-256."},
            "arguments": {"type": "string", "description": "JSON, with what could deceive written as an escape."},
            "escaped": {"type": "array", "items": _TEXT, "description": "The characters that were."},
            "masked": {"type": "boolean", "description": "Whether any of this may not be what would run, to the letter."},
            "next": _TEXT,
        },
        granted={
            "type": "array",
            "items": _TEXT,
            "description": "Of a grant, whose arguments are an example: what it covers, as far as it may be shown here.",
        },
        preview={"type": "string", "description": "What the server says that the call would do; nobody checked it."},
        preview_problem={"type": "string", "description": "Why there is no preview, or why not to rely on it."},
        shown={
            "type": "string",
            "description": "Commitment to the arguments, for an approval; where nothing is masked.",
        },
    ),
    is_read_only=True,
    audience=Audience.DECIDERS,
)
DECIDE: Final = Offer(
    name="approvals_decide",
    title="Decide on a held call",
    description=(
        "Approve or deny a held call in your user's name. Do so only after your user saw what mcpgw__approvals_show returned, "
        "and said what to do. An approval needs `shown` from there."
    ),
    properties={
        "id": APPROVAL_ID,
        "verdict": {"enum": [verdict.value for verdict in Verdict]},
        "shown": {"type": "string", "pattern": "^[0-9a-f]{64}$", "description": "As mcpgw__approvals_show returned it."},
        "comment": {"type": "string", "maxLength": _COMMENT, "description": "Why; for colleagues and examiners."},
    },
    required=("id", "verdict"),
    output=_object({"id": _TEXT, "state": _TEXT, "votes": _TEXT}),
    is_read_only=False,
    audience=Audience.DECIDERS,
    annotations={"destructiveHint": True, "idempotentHint": False},
)


class NotHere(GatewayError):
    """It can be done, but not by this tool."""


class ApproversTools:
    """Answers for `LIST`, `SHOW` and `DECIDE`, each as its caller and nobody else."""

    def __init__(self, desk: ApproversDesk, redactor: Redactor, public_url: str) -> None:
        """`public_url` is where the pages are; empty where there are none."""
        self._desk = desk
        self._redactor = redactor
        self._public_url = public_url

    def tools(self, *, may_decide: bool) -> tuple[OwnTool, ...]:
        """Return the tools; without the last where verdicts are not given over MCP."""
        reading = (OwnTool(offer=LIST, answer=self.answer_list), OwnTool(offer=SHOW, answer=self.answer_show))
        return (*reading, OwnTool(offer=DECIDE, answer=self.answer_decide)) if may_decide else reading

    async def answer_list(self, call: Call) -> JsonObject:
        state = ApprovalState(call.arguments.get("state", ApprovalState.PENDING))
        found = await self._desk.docket(call.identity, (state,), _LOOKED_AT)
        if state is ApprovalState.PENDING:
            found = tuple(sorted(found, key=lambda approval: approval.decide_by_ns))
        listed = [{**self._summary(call, one), "arguments": _in_short(one)} for one in found[:_LISTED]]
        return {"approvals": listed, "more": len(found) - len(listed)}

    async def answer_show(self, call: Call) -> JsonObject:
        """Show it whole if redaction leaves it whole, else with clean arguments and without the commitment."""
        sheet = await self._desk.show(call.arguments["id"], call.identity)
        if sheet.exact and not sheet.granted and len(sheet.arguments) <= _LONG and _is_clean(sheet):
            whole = self._laid_out(call, sheet, sheet.arguments)
            whole |= {
                "preview": sheet.preview,
                "preview_problem": sheet.preview_problem,
                "masked": False,
                "shown": sheet.commitment,
                "next": self._next(call, sheet.approval),
            }
            if await self._passes_unchanged(call, whole):
                return whole
        arguments = sheet.approval.facts["arguments"]
        text = visible_json(arguments) if len(sheet.arguments) <= _LONG else visible_line(arguments, _LONG)
        return {**self._laid_out(call, sheet, text), "masked": True, "next": self._elsewhere(sheet)}

    async def answer_decide(self, call: Call) -> JsonObject:
        verdict, shown = Verdict(call.arguments["verdict"]), call.arguments.get("shown", "")
        if verdict is Verdict.APPROVE and not shown:
            hint = "Pass `shown` of mcpgw__approvals_show. Where it gives none, decide on the page, or with `mcpgw approvals`."
            raise NotHere("Only what was shown whole can be approved.", hint=hint)
        try:
            comment = call.arguments.get("comment", "")
            approval = await self._desk.vote(call.arguments["id"], call.identity, verdict, comment, shown=shown)
        except ValueError as error:
            raise NotHere(f"Nothing was recorded: {error}.") from None
        return {"id": approval.id, "state": approval.state.value, "votes": self._desk.standing(approval).tally}

    async def _passes_unchanged(self, call: Call, answer: dict[str, Any]) -> bool:
        """Tell whether redaction would leave all of the answer as it is, by asking it."""
        raw = result_payload(answer)
        try:
            clean: CleanReply = await self._redactor.clean(call, RawReply(kind=ReplyKind.RESULT, payload=raw))
        except RedactionError:
            return False
        return _same(clean.payload, raw)

    def _summary(self, call: Call, approval: Approval) -> dict[str, Any]:
        return {
            "id": approval.id,
            "state": approval.state.value,
            "tool": approval.target,
            "requester": visible(approval.requester),
            "actors": [visible(actor) for actor in approval.actors],
            "rules": list(approval.rule_ids),
            "reason": approval.reason,
            "opened": iso(approval.opened_ns),
            "deadline": iso(approval.decide_by_ns),
            "votes": self._desk.standing(approval).tally,
            "objection": self._desk.objection(call.identity, approval),
            "page": self._page(approval),
        }

    def _laid_out(self, call: Call, sheet: Sheet, arguments: str) -> dict[str, Any]:
        target = sheet.approval.facts["target"]
        return {
            **self._summary(call, sheet.approval),
            "server": target["server"],
            "definition_hash": target["definition_hash"],
            "policy_hash": sheet.approval.policy_hash,
            "digest": sheet.approval.digest,
            "arguments": arguments,
            "escaped": list(sheet.oddities),
            **({"granted": _granted(sheet.approval)} if sheet.granted else {}),
        }

    def _next(self, call: Call, approval: Approval) -> str:
        if objection := self._desk.objection(call.identity, approval):
            return objection
        return "Nothing is masked: these arguments are what would run, to the letter."

    def _elsewhere(self, sheet: Sheet) -> str:
        approval = sheet.approval
        if not sheet.exact:
            return f"It is {approval.state.value}: nothing is left to decide, and the exact arguments are erased."
        page = self._page(approval)
        where = f"Look at {page}, or" if page else "Look at it"
        if sheet.granted:
            why = "This asks for more than one call"
        else:
            why = "Something is masked" if len(sheet.arguments) <= _LONG else "The arguments are too long to be shown here"
        return f"{why}, so it cannot be approved here. {where} with `mcpgw approvals`. It can be denied here."

    def _page(self, approval: Approval) -> str:
        return f"{self._public_url}/approvals/{approval.id}" if self._public_url else ""


def _in_short(approval: Approval) -> str:
    return visible_line(approval.facts["arguments"], _SHORT)


def _granted(approval: Approval) -> list[str]:
    return [visible(line) for line in (*clean_sentences(approval.facts["access"]), *map(str, approval.allowances))]


def iso(time_ns: int) -> str:
    """Return Unix nanoseconds as UTC, ISO 8601, to the second."""
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).isoformat()


def _is_clean(sheet: Sheet) -> bool:
    """Tell whether the exact arguments are what the record shows: what was masked for the record is masked here as well."""
    return _same(json.loads(sheet.arguments), sheet.approval.facts["arguments"])


def _same(one: Any, other: Any) -> bool:
    """Compare as JSON text, for which `1`, `1.0` and `true` differ."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
