"""From the corridor's `Answer` to a JSON-RPC result or error. Wire codes are chosen here and nowhere else."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from mcp.shared.exceptions import MCPError
from mcp_types.jsonrpc import INTERNAL_ERROR, INVALID_PARAMS

from mcpgw.core.model import (
    Answer,
    CleanReply,
    Completed,
    Failed,
    FailureCode,
    Held,
    Outcome,
    Proposal,
    Receipt,
    RefusalCode,
    Refused,
    ReplyKind,
    Target,
    TargetKind,
    UnknownTarget,
)
from mcpgw.core.visible import visible, visible_json
from mcpgw.inbound.links import with_published_uris
from mcpgw.inbound.shaping import encoded_size, truncated

CALL_META: Final = "mcpgw/call"
"""`_meta` key of a result: the id under which the ledger holds the call."""
RECEIPT_META: Final = "mcpgw/receipt"
"""`_meta` key of any answer, and key of a JSON-RPC error's `data`: `log`, `index`, `leaf_hash` and the signed `checkpoint`
over the record that concludes the call. docs/proofs.md says how to check it."""
APPROVAL_META: Final = "mcpgw/approval"
"""`_meta` key of a held call's result: `id`, `deadline` (UTC, ISO 8601), where people have a page `url`, and where its rule
lets it run unattended whether this gateway waits for it, `unattended`."""
REFUSED_META: Final = "mcpgw/refused"
"""`_meta` key of a refused call's result: the ids of the `rules` that decided, and the `approval` if people did."""


PROPOSAL_META: Final = "mcpgw/proposal"
"""`_meta` key of a denied call's result, where an approver proposes other arguments: `approval`, `by`, `tool`, `arguments`,
`changes` (each a `path` with the JSON texts `before` and `after`), `comment` and `until` (UTC, ISO 8601)."""


HELD: Final = -32010
"""The code of the error that a held prompt, read or completion is answered with: only a tool's result can say that it is an
error. Its data holds `APPROVAL_META`. As the next, of the range that is the implementation's (2026-07-28, error codes)."""
REFUSED: Final = -32011
"""The code of the error where policy or people refused one; its data holds `REFUSED_META`."""
_RESOURCE_NOT_FOUND: Final = -32002
"""Until 2025-11-25 (server/resources); since 2026-07-28 it is -32602."""

_OURS: Final = (CALL_META, RECEIPT_META, APPROVAL_META, REFUSED_META, PROPOSAL_META)


def to_result(
    answer: Answer,
    target: Target | UnknownTarget,
    *,
    public_url: str,
    receipts: bool,
    attended: bool = False,
    uri: str = "",
    modern: bool = True,
) -> dict[str, Any]:
    """Return the result that answers a request of the target's kind, before it is shaped for an era.

    With `receipts`, the answer carries the receipt of its record, where it has one. `attended`: the gateway waits for a held
    call in its client's place. `uri`: of a resource, as the client asked for it.

    Raises:
        MCPError: the answer is a JSON-RPC error. Whatever is no reply is one, but for tools, whose results can say so.
    """
    given = _given(answer, receipts)
    try:
        result = _result(answer, target, public_url, attended, _Lost(uri, modern))
    except MCPError as error:
        raise _with_receipt(error, given) from error.__cause__
    return {**result, "_meta": {**result.get("_meta", {}), **given}} if given else result


@dataclass(frozen=True, slots=True)
class _Lost:
    """What it takes to say that there is no such resource."""

    uri: str
    modern: bool


def _result(answer: Answer, target: Target | UnknownTarget, public_url: str, attended: bool, lost: _Lost) -> dict[str, Any]:
    match answer:
        case Completed():
            return _completed(answer, target)
        case Held():
            return _told(target.kind, HELD, _held_text(answer, public_url, attended), _held(answer, public_url, attended))
        case Refused():
            return _refused(answer, target, lost)
        case Failed():
            return _failed(answer, target.kind)


def completed_meta(answer: Completed, *, receipts: bool) -> dict[str, Any]:
    """Return what is told of a call beside the words of its server."""
    return {CALL_META: _call(answer), **_given(answer, receipts)}


def held_meta(answer: Answer, public_url: str, *, receipts: bool, attended: bool) -> dict[str, Any]:
    """Return what is told of a held call however it is told; of another answer, nothing."""
    return {**_held(answer, public_url, attended), **_given(answer, receipts)} if isinstance(answer, Held) else {}


def _told(kind: TargetKind, code: int, text: str, meta: dict[str, Any] | None = None) -> dict[str, Any]:
    """Tell that there is no reply: in a tool's result, which the model reads, and else in an error.

    Raises:
        MCPError: it is no tool.
    """
    if kind is not TargetKind.TOOL:
        raise MCPError(code, text, meta)
    return error_result(text, meta)


def _given(answer: Answer, receipts: bool) -> dict[str, Any]:
    return {RECEIPT_META: _receipt(answer.receipt[0])} if receipts and answer.receipt else {}


def misses_it_of_the_gateway(error: MCPError) -> MCPError:
    """Return what a server's `MissingRequiredClientCapability` means to a client that does declare what it names.

    Tasks are declared for each client that declares them. What is left are questions that the catalog or the call's approval
    does not let the server ask, and capabilities that the gateway does not know.
    """
    data = error.error.data
    kept = {key: value for key, value in data.items() if key == RECEIPT_META} if isinstance(data, dict) else {}
    return MCPError(INTERNAL_ERROR, "The server asks for a client capability that the gateway does not pass on.", kept or None)


def _receipt(receipt: Receipt) -> dict[str, Any]:
    log, _, _ = receipt.checkpoint.partition("\n")
    return {"log": log, "index": receipt.index, "leaf_hash": receipt.leaf_hash, "checkpoint": receipt.checkpoint}


def _with_receipt(error: MCPError, given: dict[str, Any]) -> MCPError:
    """Put the receipt beside the error's data. Data of an upstream that is no object stays as it is, without a receipt."""
    data = error.error.data
    if not given or not (data is None or isinstance(data, dict)):
        return error
    return MCPError(error.error.code, error.error.message, {**(data or {}), **given})


def error_result(text: str, meta: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return a tool result that is an error: the model reads it, where a JSON-RPC error may never reach the model."""
    result: dict[str, Any] = {"content": [{"type": "text", "text": text}], "isError": True}
    return {**result, "_meta": meta} if meta else result


def _completed(answer: Completed, target: Target | UnknownTarget) -> dict[str, Any]:
    return reply_result(answer.reply, _call(answer), target)


def reply_result(reply: CleanReply, call: dict[str, str], target: Target | UnknownTarget) -> dict[str, Any]:
    """Return the result that a clean reply amounts to; `call` says in its `_meta` which call it is the reply of.

    Raises:
        MCPError: the reply is a JSON-RPC error.
    """
    if reply.kind is ReplyKind.ERROR:
        raise _upstream_error(reply)
    result = dict(reply.payload)
    if result.get("resultType", "complete") != "complete":
        return _told(target.kind, INTERNAL_ERROR, "The server asks for more input, which cannot be passed on to this client.")
    result = _whole(target.kind, result)
    if isinstance(target, Target) and not target.is_own:
        result = with_published_uris(result, target.server)
    result["_meta"] = {**_without_ours(result.get("_meta")), CALL_META: call}
    return _within_limit(result, target)


def _whole(kind: TargetKind, result: dict[str, Any]) -> dict[str, Any]:
    """Return the result with what clients refuse to be without, and without what a client may keep: each read is judged."""
    match kind:
        case TargetKind.TOOL:
            return {**result, "content": _list(result.get("content"))}
        case TargetKind.RESOURCE:
            return {**result, "contents": _list(result.get("contents")), "ttlMs": 0, "cacheScope": "private"}
        case TargetKind.PROMPT:
            return {**result, "messages": _list(result.get("messages"))}
        case TargetKind.COMPLETION:
            found = result.get("completion")
            found = found if isinstance(found, dict) else {}
            return {**result, "completion": {**found, "values": _list(found.get("values"))}}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _without_ours(meta: object) -> dict[str, Any]:
    """What an upstream says, but for keys that the gateway alone may speak by."""
    return {key: value for key, value in meta.items() if key not in _OURS} if isinstance(meta, dict) else {}


def _call(answer: Completed) -> dict[str, str]:
    entry = answer.sealed.entry
    call = (entry.intent.entry if isinstance(entry, Outcome) else entry).shown.call
    return {"id": call.id, "replayed_from": answer.replayed_from} if answer.replayed_from else {"id": call.id}


def _upstream_error(reply: CleanReply) -> MCPError:
    code, message = reply.payload.get("code"), reply.payload.get("message")
    if not isinstance(code, int) or isinstance(code, bool):
        code = INTERNAL_ERROR
    if not isinstance(message, str):
        message = "The server answered with an error that says nothing."
    data = reply.payload.get("data")
    data = _without_ours(data) if isinstance(data, dict) else data
    try:
        encoded_size({"message": message, "data": data})
    except ValueError:
        return MCPError(code, "The server answered with an error that is not valid JSON text, and is withheld.")
    return MCPError(code, message, data)


def _within_limit(result: dict[str, Any], target: Target | UnknownTarget) -> dict[str, Any]:
    """Hosts write large results to the user's disk, beyond the reach of any policy, so each target has a limit."""
    kind = target.kind
    try:
        size = encoded_size(result)
    except ValueError:
        return _told(kind, INTERNAL_ERROR, "The call ran, but its result is not valid JSON text and is withheld.")
    if isinstance(target, UnknownTarget) or size <= target.max_result_bytes:
        return result
    # A cut result could not keep its promise to the output schema, and clients refuse what breaks it.
    if kind is TargetKind.TOOL and target.truncate and "outputSchema" not in target.definition:
        return truncated(result, target.max_result_bytes, size)
    limit = f"{size} bytes long, and the limit of this {kind.value} is {target.max_result_bytes}"
    text = f"The call ran, but its result is {limit}. Ask for less, or in parts."
    return _told(kind, INTERNAL_ERROR, text, {CALL_META: result["_meta"][CALL_META]})


def _held(held: Held, public_url: str, attended: bool) -> dict[str, Any]:
    """The `_meta` of a held call."""
    approval: dict[str, Any] = {"id": held.approval_id, "deadline": _iso(held.deadline_ns)}
    if not held.running:
        url = _page(held, public_url)
        approval |= {**({"unattended": attended} if held.unattended else {}), **({"url": url} if url else {})}
    return {APPROVAL_META: approval}


def _held_text(held: Held, public_url: str, attended: bool) -> str:
    if held.running:
        return f"Approved as {held.approval_id}; an identical call is under way. Call again the same way for its result."
    url = _page(held, public_url)
    lines = [
        f"Held for approval {held.approval_id}, not executed. {_what_next(held, attended)}",
        f"Reason: {held.reason}" if held.reason else "",
        f"Without a decision by {_iso(held.deadline_ns)} it is denied.",
        f"It waits at {url}" if url else "",
    ]
    return "\n".join(line for line in lines if line)


def _page(held: Held, public_url: str) -> str:
    return f"{public_url}/approvals/{held.approval_id}" if public_url else ""


def _iso(time_ns: int) -> str:
    """Return Unix nanoseconds as ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).isoformat()


def _what_next(held: Held, attended: bool) -> str:
    if attended:
        return "Once approved it runs by itself; call again with identical arguments for its result."
    again = "Call again with identical arguments once approved."
    return f"{again} It does not run by itself: too many calls wait for that already." if held.unattended else again


def _refused(refused: Refused, target: Target | UnknownTarget, lost: _Lost) -> dict[str, Any]:
    kind = target.kind
    match refused.code:
        case RefusalCode.DENIED | RefusalCode.NOT_APPROVED:
            why = {"rules": list(refused.rule_ids), "approval": refused.approval_id}
            denied = denied_result(refused.reason, why, target.name, refused.proposal)
            return _told(kind, REFUSED, denied["content"][0]["text"], denied["_meta"])
        case RefusalCode.UNKNOWN if kind is TargetKind.RESOURCE:
            raise MCPError(INVALID_PARAMS if lost.modern else _RESOURCE_NOT_FOUND, refused.reason, {"uri": lost.uri})
        case RefusalCode.UNKNOWN | RefusalCode.MALFORMED | RefusalCode.UNAUTHENTICATED:
            # No reasons in the data: a hidden name and one that does not exist must answer alike, byte for byte but for a
            # receipt, whose hash covers random bits.
            raise MCPError(INVALID_PARAMS, refused.reason)
        case RefusalCode.UNAVAILABLE | RefusalCode.ABANDONED:
            raise MCPError(INTERNAL_ERROR, refused.reason)


def denied_result(reason: str, why: dict[str, Any], tool: str, proposal: tuple[Proposal, ...]) -> dict[str, Any]:
    """Return the result of a call that was denied, with what would be approved instead, where somebody proposed it."""
    meta: dict[str, Any] = {REFUSED_META: why}
    lines = [reason]
    for proposed in proposal:
        by, until = proposed.proposer.rpartition("#")[2], _iso(proposed.until_ns)
        meta[PROPOSAL_META] = {
            "approval": proposed.approval_id,
            "by": by,
            "tool": tool,
            "arguments": dict(proposed.arguments),
            "changes": [{"path": one.path, "before": one.before, "after": one.after} for one in proposed.changes],
            "comment": proposed.comment,
            "until": until,
        }
        lines += [
            f"{visible(by)} proposes other arguments; to accept, call {tool} again with exactly these, until {until}:",
            visible_json(dict(proposed.arguments)),
            "What differs:",
            *(f"  {one.path}: {one.before or '(nothing)'} -> {one.after or '(nothing)'}" for one in proposed.changes),
            *([f"Comment: {visible(proposed.comment)}"] if proposed.comment else []),
        ]
    return error_result("\n".join(lines), meta)


def _failed(failed: Failed, kind: TargetKind) -> dict[str, Any]:
    effect = "It may have had an effect." if failed.reached else "It had no effect."
    text = f"{failed.reason} {effect}"
    if failed.code in (FailureCode.INTERNAL, FailureCode.UNRECORDED):
        raise MCPError(INTERNAL_ERROR, text)
    return _told(kind, INTERNAL_ERROR, text)
