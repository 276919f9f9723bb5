"""What an approval is for, written down so that nothing else can be run with it.

Format, version 2: one JSON object, hashed over its canonical bytes (`core.canonical`). A fact is added or changed only
together with `v`; approvals of an older version then match nothing, end at their deadline, and have to be asked for again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mcpgw.core.canonical import canonical
from mcpgw.core.model import CleanJson, Hold, ShownCall, UnknownTarget

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

    def request(self) -> bytes:
        """Return the bytes that are equal exactly for an identical call.

        Raises:
            ValueError: the arguments have no canonical form.
        """
        return canonical({**self.common, "arguments": self.arguments})

    def bound(self, deadline_ns: int, nonce: str) -> bytes:
        """Return the bytes that the digest is over: the request, valid until the deadline, under this approval alone."""
        return canonical({**self.common, "arguments": self.arguments, "expires_ns": deadline_ns, "nonce": nonce})

    def shown(self, deadline_ns: int) -> CleanJson:
        """Return the facts as they may be listed, notified and kept: clean arguments, and no nonce.

        With the nonce, whoever reads the list could try values for a masked argument until the digest fits.
        """
        return CleanJson({**self.common, "arguments": self.clean, "expires_ns": deadline_ns})


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
