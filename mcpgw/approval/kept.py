"""What is kept, encrypted, of a held call while people decide: the facts that its digest binds, to the letter.

Format: the bytes that were hashed, which are one JSON object. Where redaction put values into the arguments, one object with
these bytes as text under `bound`, and under `sent` the arguments with the tokens: the call is to be made again as it was made,
so that the same values are kept out of its reply.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from mcpgw.approval.seal import Seal, SealBroken
from mcpgw.core.canonical import canonical
from mcpgw.core.model import JsonObject
from mcpgw.ports import Approval


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactFacts:
    bound: dict[str, Any]
    """What the digest is over."""
    sent: JsonObject
    """The arguments as the caller sent them."""


def kept(bound: bytes, sent: JsonObject) -> bytes:
    """Return what is to be encrypted; `sent` is empty where the arguments are bound as they were sent."""
    return canonical({"bound": bound.decode(), "sent": sent}) if sent else bound


def exact_facts(approval: Approval, seal: Seal) -> ExactFacts:
    """Open what `kept` made.

    Raises:
        SealBroken: it does not open, is erased, or is not what the digest binds.
    """
    plain = seal.open(approval.id, approval.exact, grant=approval.is_grant)
    outer = json.loads(plain)
    bound = outer["bound"].encode() if "bound" in outer else plain
    if hashlib.sha256(bound).hexdigest() != approval.digest:
        hint = "Run `mcpgw verify`: the store may have been changed."
        raise SealBroken(f"The facts kept for {approval.id} are not those that its digest binds.", hint=hint)
    facts: dict[str, Any] = json.loads(bound)
    return ExactFacts(bound=facts, sent=outer.get("sent", facts["arguments"]))
