"""What an approval is for, written down so that nothing else can be run with it.

Format, version 2: one JSON object, hashed over its canonical bytes (`core.canonical`). A fact is added or changed only
together with `v`; approvals of an older version then match nothing, end at their deadline, and have to be asked for again.
The facts of a grant are those of its example call, and `access`: no call's facts have that, so neither passes for the other.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mcpgw.core.access import Access, as_data, clean_data
from mcpgw.core.canonical import canonical
from mcpgw.core.model import (
    CleanJson,
    Hold,
    ShownCall,
    UnknownTarget,
)

FORMAT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The facts of one held call. Equal facts are the identical call; the caller's `_meta` is not among them.

    `hold` is among them because rules may look at what else the caller is (groups, claims): an approval by people whom
    today's ruling would not ask is not an approval.
    """

    common: Mapping[str, Any]
    """All but the arguments: who, through whom, what, how it is defined, under which policy, who had to agree."""
    arguments: Mapping[str, Any]
    """Exact."""
    clean: CleanJson
    """The arguments as they may be recorded."""
    access: Mapping[str, Any] = field(default_factory=dict)
    """Of a grant, what is asked for beside its example; empty of a call."""
    clean_access: Mapping[str, Any] = field(default_factory=dict)

    def request(self) -> bytes:
        """Return the bytes that are equal exactly for an identical call.

        Raises:
            ValueError: the arguments have no canonical form.
        """
        return canonical({**self.common, **self.access, "arguments": self.arguments})

    def bound(self, deadline_ns: int, nonce: str) -> bytes:
        """Return the bytes that the digest is over: the request, valid until the deadline, under this approval alone."""
        exact = {**self.common, **self.access, "arguments": self.arguments}
        return canonical({**exact, "expires_ns": deadline_ns, "nonce": nonce})

    def shown(self, deadline_ns: int) -> CleanJson:
        """Return the facts as they may be listed, notified and kept: clean arguments, and no nonce.

        With the nonce, whoever reads the list could try values for a masked argument until the digest fits.
        """
        return CleanJson({**self.common, **self.clean_access, "arguments": self.clean, "expires_ns": deadline_ns})


def facts_of(shown: ShownCall, hold: Hold) -> Facts:
    """Gather the facts of a held call.

    Raises:
        ValueError: nobody publishes the name that the call asks for, so there is nothing to approve.
    """
    call = shown.call
    target = call.target
    if isinstance(target, UnknownTarget):
        raise ValueError(f"nobody publishes {target.name}")
    common = {
        "v": FORMAT,
        "principal": call.identity.principal,
        "actors": list(call.identity.actors),
        "target": {
            "kind": target.kind.value,
            "name": target.name,
            "server": target.server,
            "server_fingerprint": target.server_fingerprint,
            "definition_hash": target.definition_hash,
        },
        "policy_hash": hold.ruling.policy_hash,
        "hold": {"rule_ids": list(hold.ruling.rule_ids), "terms": hold.terms.binding()},
    }
    return Facts(common=common, arguments=call.arguments, clean=shown.arguments)


def facts_of_grant(shown: ShownCall, hold: Hold, access: Access, words: CleanJson) -> Facts:
    """Gather the facts of a grant whose example the call is; `words` holds the requester's reason as it may be recorded.

    Raises:
        ValueError: as `facts_of`.
    """
    clean = clean_data(access, shown.call.arguments, shown.arguments)
    return replace(
        facts_of(shown, hold),
        access={"access": as_data(access)},
        clean_access={"access": {**clean, "reason": str(words.get("reason", ""))}},
    )
