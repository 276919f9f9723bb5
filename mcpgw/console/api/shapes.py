"""What requests carry and answers hold, as JSON Schemas: the same that are checked are those that are published."""

from datetime import UTC, datetime
from typing import Any, Final

from mcpgw.console.api.entrance import Shape
from mcpgw.console.doors import PeoplesDesk
from mcpgw.core.entries import Happened, Verdict
from mcpgw.core.model import Identity, JsonObject
from mcpgw.core.visible import visible, visible_line
from mcpgw.ports import Approval, ApprovalState, Deed, Sheet

MAX_PAGE: Final = 200
_TEXT: Final = {"type": "string"}
_TEXTS: Final = {"type": "array", "items": _TEXT}
_TIME: Final = {"type": "string", "format": "date-time"}
_COMMENT: Final = {"type": "string", "maxLength": 2_000, "description": "Why; for colleagues and examiners."}
_WHY: Final = {**_COMMENT, "pattern": r"\S"}

LIST: Final = Shape(
    query={
        "state": {
            "enum": [state.value for state in ApprovalState],
            "description": "Approvals in this state alone; all, if left out.",
        },
        "limit": {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "description": "Of one page; 50 if left out."},
        "cursor": {"type": "string", "pattern": "^[a-z0-9_]{1,64}$", "description": "`next_cursor` of the page before."},
    }
)
VOTE: Final = Shape(
    body={
        "verdict": {"enum": [verdict.value for verdict in Verdict]},
        "shown": {
            "type": "string",
            "pattern": "^[0-9a-f]{64}$",
            "description": "The commitment to the arguments that you were shown; an approval needs it.",
        },
        "comment": _COMMENT,
        "break_glass": {"type": "boolean", "description": "Stand in for the approvers, as an opener of break-glass."},
    },
    required=("verdict",),
)
PROPOSE: Final = Shape(
    body={
        "arguments": {"type": "object", "description": "All of them, as you would approve the call."},
        "shown": VOTE.body["shown"],
        "comment": {**_COMMENT, "description": "Whoever asked sees it."},
    },
    required=("arguments", "shown"),
)
COMMENT: Final = Shape(body={"comment": _COMMENT})
RESOLVE: Final = Shape(
    body={
        "happened": {"enum": [happened.value for happened in Happened], "description": "Whether it took effect."},
        "comment": _WHY,
    },
    required=("happened", "comment"),
)
REVIEW: Final = Shape(body={"comment": _WHY}, required=("comment",))


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties]}


_APPROVAL: Final[dict[str, Any]] = {
    "id": _TEXT,
    "state": {"type": "string", "enum": [state.value for state in ApprovalState]},
    "tool": _TEXT,
    "server": _TEXT,
    "requester": {"type": "string", "description": "Principal."},
    "actors": {**_TEXTS, "description": "The agents that it came through, the nearest first."},
    "rules": _TEXTS,
    "reason": _TEXT,
    "opened": _TIME,
    "deadline": {**_TIME, "description": "When it is too late to decide."},
    "usable_until": {**_TIME, "description": "When what is approved can no longer run."},
    "grant": {"type": "boolean", "description": "Whether it is for more than one call; `arguments` is an example then."},
    "usage": {"type": "string", "description": "Of a grant: how far it is used."},
    "digest": {"type": "string", "description": "What an approval binds: hex SHA-256."},
    "definition_hash": _TEXT,
    "policy_hash": _TEXT,
    "votes": {"type": "string", "description": "How many approved, of how many that are needed."},
    "break_glass": {"type": "boolean"},
    "deeds": {**_TEXTS, "description": "What you can do about it now."},
    "objection": {"type": "string", "description": "Why your vote would not count; empty if it would."},
}
APPROVAL: Final = _object(
    **_APPROVAL,
    arguments={"type": "string", "description": "JSON on one line: masked, as they are recorded, and cut where long."},
)
_SHORT: Final = 300
"""Characters of masked arguments in a list, which a requester must not be able to fill."""
PAGE: Final = {
    "type": "object",
    "properties": {
        "approvals": {"type": "array", "items": {"$ref": "#/components/schemas/Approval"}},
        "next_cursor": {"type": "string", "description": "For the next page; not there on the last one."},
    },
    "required": ["approvals"],
}
SHEET: Final = _object(
    **_APPROVAL,
    exact={"type": "boolean", "description": "Whether `arguments` is what will run, to the letter, or masked."},
    arguments={"type": "string", "description": "JSON, with what could deceive written as an escape."},
    granted={**_TEXTS, "description": "Of a grant: all that it covers. Show these with `arguments`."},
    words={"type": "string", "description": "Of a grant: the requester's own words, which nobody checked."},
    escaped={**_TEXTS, "description": "The characters that were."},
    preview={"type": "string", "description": "What the server says that the call would do; nobody checked it. Show it."},
    preview_problem={"type": "string", "description": "Why there is no preview, or why not to rely on it. Show it."},
    shown={
        "type": "string",
        "description": "Commitment to `arguments`, the preview, and of a grant to `granted` and `words`; for the vote.",
    },
)
PROBLEM: Final = {
    "type": "object",
    "properties": {"title": _TEXT, "status": {"type": "integer"}, "detail": _TEXT, "hint": _TEXT},
    "required": ["title", "status", "detail"],
}


def summary(desk: PeoplesDesk, viewer: Identity, approval: Approval) -> JsonObject:
    """Return an approval with masked arguments."""
    return {**_common(desk, viewer, approval), "arguments": visible_line(approval.facts["arguments"], _SHORT)}


def laid_out(desk: PeoplesDesk, viewer: Identity, sheet: Sheet) -> JsonObject:
    """Return an approval as it is laid out for whoever decides."""
    return {
        **_common(desk, viewer, sheet.approval),
        "exact": sheet.exact,
        "arguments": sheet.arguments,
        "granted": list(sheet.granted),
        "words": sheet.words,
        "escaped": list(sheet.oddities),
        "preview": sheet.preview,
        "preview_problem": sheet.preview_problem,
        "shown": sheet.commitment,
    }


def _common(desk: PeoplesDesk, viewer: Identity, approval: Approval) -> dict[str, Any]:
    target = approval.facts["target"]
    deeds = desk.deeds(viewer, approval)
    undecided = approval.state is ApprovalState.PENDING and Deed.VOTE not in deeds
    return {
        "id": approval.id,
        "state": approval.state.value,
        "tool": approval.target,
        "server": target["server"],
        "requester": visible(approval.requester),
        "actors": [visible(actor) for actor in approval.actors],
        "rules": list(approval.rule_ids),
        "reason": approval.reason,
        "opened": _time(approval.opened_ns),
        "deadline": _time(approval.decide_by_ns),
        "usable_until": _time(approval.usable_until_ns),
        "grant": approval.is_grant,
        "usage": approval.usage,
        "digest": approval.digest,
        "definition_hash": target["definition_hash"],
        "policy_hash": approval.policy_hash,
        "votes": desk.standing(approval).tally,
        "break_glass": approval.break_glass,
        "deeds": sorted(deed.value for deed in deeds),
        "objection": desk.objection(viewer, approval) if undecided else "",
    }


def _time(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).isoformat()
