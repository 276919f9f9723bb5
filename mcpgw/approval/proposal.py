"""Edit and approve: the other arguments that an approver proposes, from what they wrote to what the requester's client is told.

A proposal binds the call that would be the identical one but for its arguments: its request key is made of the facts that the
denied approval bound. So another caller, tool, definition, policy or ruling finds none.

Format of what is kept, encrypted: a JSON object of `arguments`, and of `changes`, a list of `[path, before, after]`.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mcpgw.approval.facts import Facts
from mcpgw.approval.kept import exact_facts
from mcpgw.approval.seal import Seal
from mcpgw.core.canonical import canonical, commitment
from mcpgw.core.model import (
    Change,
    CleanJson,
    Commitment,
    JsonObject,
    Proposal,
)
from mcpgw.core.visible import visible, visible_json
from mcpgw.ports import Approval

MAX_PROPOSED_BYTES: Final = 65_536
"""Of canonical JSON: what a person writes, and an answer can carry beside the difference."""

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_OF_THE_CALL = ("arguments", "expires_ns", "nonce")
"""Facts that a digest binds and that are not common to the two calls."""


class _Nothing:
    """What stands at a path that one of the two does not have."""


_NOTHING: Final = _Nothing()


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A proposal that has been checked, and is recorded nowhere yet."""

    changes: tuple[Change, ...]
    request_key: str
    arguments: Commitment
    exact: bytes


def draft(approval: Approval, seal: Seal, arguments: object) -> Draft:
    """Check and seal the arguments that a person proposes for a call that waits.

    Raises:
        ValueError: they are no JSON object, too large, or those that it has; or its client knows some values as tokens only.
        SealBroken: the exact facts do not open, or are not those that the digest binds.
    """
    facts = exact_facts(approval, seal)
    before = facts.bound["arguments"]
    if canonical(facts.sent) != canonical(before):
        raise ValueError("its arguments hold values that its client knows as tokens only, and must not learn from a proposal")
    if not isinstance(arguments, Mapping):
        raise ValueError("the arguments must be a JSON object")
    try:
        written = canonical(arguments)
    except RecursionError as error:
        raise ValueError("the arguments are nested too deeply") from error
    if len(written) > MAX_PROPOSED_BYTES:
        raise ValueError(f"the arguments have {len(written)} bytes; {MAX_PROPOSED_BYTES} are the most")
    changes = differences(before, arguments)
    if not changes:
        raise ValueError("these are the arguments that it has already")
    common = {name: fact for name, fact in facts.bound.items() if name not in _OF_THE_CALL}
    lines = [[change.path, change.before, change.after] for change in changes]
    salt = bytes.fromhex(seal.nonce(_name(approval)))
    return Draft(
        changes=changes,
        request_key=seal.request_key(Facts(common=common, arguments=arguments, clean=CleanJson({})).request()),
        arguments=Commitment(digest=commitment(salt, written), salt=salt, size=len(written)),
        exact=seal.close(_name(approval), canonical({"arguments": arguments, "changes": lines})),
    )


def proposal(approval: Approval, seal: Seal) -> tuple[Proposal, ...]:
    """Return the proposal that stands with a denied approval: one, or none where there was none or it was taken up.

    Raises:
        SealBroken: it does not open.
    """
    if not approval.offered:
        return ()
    (vote,) = approval.offer
    kept = json.loads(seal.open(_name(approval), approval.offered))
    return (
        Proposal(
            approval_id=approval.id,
            proposer=vote.voter,
            arguments=kept["arguments"],
            changes=tuple(Change(path=path, before=before, after=after) for path, before, after in kept["changes"]),
            comment=vote.comment,
            until_ns=approval.usable_until_ns,
        ),
    )


def differences(before: JsonObject, after: JsonObject) -> tuple[Change, ...]:
    """Return where two objects differ as JSON values, in the order of keys; nothing if they are the same value."""
    return tuple(_differences("", before, after))


def _differences(path: str, before: Any, after: Any) -> Iterator[Change]:
    match before, after:
        case Mapping(), Mapping():
            for key in sorted({*before, *after}):
                yield from _differences(_below(path, key), before.get(key, _NOTHING), after.get(key, _NOTHING))
        case list(), list() if len(before) == len(after):
            for index, (one, other) in enumerate(zip(before, after, strict=True)):
                yield from _differences(f"{path}[{index}]", one, other)
        case _ if not _same(before, after):
            yield Change(path=path, before=_text(before), after=_text(after))


def _below(path: str, key: str) -> str:
    if not _PLAIN_KEY.fullmatch(key):
        return f"{path}[{visible(json.dumps(key, ensure_ascii=False))}]"
    return f"{path}.{key}" if path else key


def _same(before: object, after: object) -> bool:
    if isinstance(before, _Nothing) or isinstance(after, _Nothing):
        return False
    return canonical(before) == canonical(after)


def _text(value: object) -> str:
    return "" if isinstance(value, _Nothing) else visible_json(value)


def _name(approval: Approval) -> str:
    """What the seal binds a proposal to, so that it opens in no other place than its own."""
    return f"{approval.id}/proposal"
