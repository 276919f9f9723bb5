"""What an approver looks at: exactly the facts that the digest binds, in characters that cannot deceive."""

from dataclasses import dataclass

from mcpgw.approval.grants import granted, words
from mcpgw.approval.kept import exact_facts
from mcpgw.approval.seal import Seal
from mcpgw.core.canonical import commitment
from mcpgw.core.visible import oddities, visible_json
from mcpgw.ports import Approval


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """One approval, laid out for a person: of one call, or of a grant, whose arguments are an example."""

    approval: Approval
    exact: bool
    """True: the arguments are what will run, to the letter. False: they are the clean ones, the exact ones being erased."""
    arguments: str
    """JSON over several lines, see `visible_json`."""
    oddities: tuple[str, ...]
    """The characters that were escaped in it, for the reader's attention; mostly none."""
    commitment: str
    """Hex `SHA-256(nonce || arguments)`, of a grant with all that it covers behind them: says later what was on the screen, and
    tells nothing by itself."""
    granted: tuple[str, ...] = ()
    """Of a grant: what it covers, one sentence each. Whoever shows the arguments of a grant must show these."""
    words: str = ""
    """Of a grant: the requester's own words, which nobody checked."""


def lay_out(approval: Approval, seal: Seal) -> Sheet:
    """Lay out an approval: with exact arguments while people decide, with clean ones once they are erased.

    Raises:
        SealBroken: the exact facts do not open, or are not those that the digest binds.
    """
    exact = bool(approval.exact)
    facts = exact_facts(approval, seal).bound if exact else approval.facts
    text = visible_json(facts["arguments"])
    covered, said = granted(facts, exact=exact), words(facts)
    shown = "\n".join([text, *covered, said]) if covered else text
    salt = bytes.fromhex(seal.nonce(approval.id))
    return Sheet(
        approval=approval,
        exact=exact,
        arguments=text,
        oddities=oddities([facts["arguments"], facts["access"]] if covered else facts["arguments"]),
        commitment=commitment(salt, shown.encode()),
        granted=covered,
        words=said,
    )
