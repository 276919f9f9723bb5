"""What an approver looks at: exactly the facts that the digest binds, in characters that cannot deceive."""

from mcpgw.approval.grants import granted, words
from mcpgw.approval.kept import exact_facts
from mcpgw.approval.seal import Seal
from mcpgw.core.canonical import commitment
from mcpgw.core.visible import oddities, visible, visible_json
from mcpgw.ports import Approval, Sheet

MAX_PREVIEW = 4_000
"""Characters of a preview on a sheet: the record holds all of it."""


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
    preview, problem = _previewed(approval)
    if preview or problem:
        shown = "\n".join([shown, "preview", problem, preview])  # no line of a JSON text begins like that
    salt = bytes.fromhex(seal.nonce(approval.id))
    return Sheet(
        approval=approval,
        exact=exact,
        arguments=text,
        oddities=oddities([facts["arguments"], facts["access"]] if covered else facts["arguments"]),
        commitment=commitment(salt, shown.encode()),
        granted=covered,
        words=said,
        preview=preview,
        preview_problem=problem,
    )


def _previewed(approval: Approval) -> tuple[str, str]:
    """Return what the server says, in characters that cannot deceive and no more than a person reads, and what is wrong."""
    for previewed in approval.preview:
        found = {name: value for name, value in previewed.reply.items() if name not in ("_meta", "isError", "resultType")}
        content = found.get("content")
        texts = [block.get("text") for block in content if isinstance(block, dict)] if isinstance(content, list) else []
        told = "\n".join(text for text in texts if isinstance(text, str)) or (visible_json(found) if found else "")
        shown = "\n".join(map(visible, told.split("\n")))
        cut = f"{shown[:MAX_PREVIEW]}\n… (cut: it has {len(shown)} characters)" if len(shown) > MAX_PREVIEW else shown
        return cut, visible(previewed.problem)
    return "", ""
