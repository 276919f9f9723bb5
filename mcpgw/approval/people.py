"""Who may decide. Four eyes hold for everybody, admins included: there is no role that is asked about here."""

import unicodedata

from mcpgw.core.errors import GatewayError
from mcpgw.core.model import Identity, IdentityKind
from mcpgw.ports import Approval

_UNPROVEN = "unsafe_anonymous"
"""`Identity.method` of a caller who showed no credential: nobody in particular, so never a second person."""


class NotEntitled(GatewayError):
    """The acting identity may not decide on, or look into, this approval; or there is none: the two look the same."""


def unknown(approval_id: str) -> NotEntitled:
    """Return the one answer to an id that does not exist and to one that is not the asker's to see."""
    hint = "Check the id with `mcpgw approvals list`, and that you are among the approvers that the rule names."
    return NotEntitled(f"There is no approval {approval_id} for you to decide.", hint=hint)


def names(principal: str) -> frozenset[str]:
    """Return every name that a principal may go by: as a whole, and its subject, without regard to case and width.

    An issuer or a subject may itself hold a `#`, so each place where a subject could begin counts. This refuses too many
    rather than too few: two issuers' `alice` are taken for one person when it comes to four eyes.
    """
    parts = unicodedata.normalize("NFKC", principal).casefold().split("#")
    return frozenset("#".join(parts[start:]) for start in range(len(parts)))


def same_person(one: str, other: str) -> bool:
    """Tell whether two principals (or bare subjects) may be one person."""
    return bool(names(one) & names(other))


def is_person(identity: Identity) -> bool:
    """Tell whether this is a human acting in person: not an agent or service, not a token delegated to one."""
    return identity.kind is IdentityKind.HUMAN and not identity.actors and identity.method != _UNPROVEN


def is_approver(identity: Identity, approvers: tuple[str, ...]) -> bool:
    """Tell whether an entry names the identity, to the letter: `group:` or `user:` with a name, or with `ISSUER#NAME`."""
    return not identity.names.isdisjoint(approvers)


def asked_for_it(identity: Identity, approval: Approval) -> bool:
    """Tell whether the identity is, or may be, the requester or one whom the request was made through."""
    return any(same_person(identity.principal, name) for name in (approval.requester, *approval.actors))


def is_requester(identity: Identity, approval: Approval) -> bool:
    """Tell whether it is the requester: through the same agents, or in person. Another agent of theirs is not."""
    return identity.principal == approval.requester and (not identity.actors or identity.actors == approval.actors)


def must_be_entitled(voter: Identity, approval: Approval) -> None:
    """Refuse whoever may not decide on this approval.

    Raises:
        NotEntitled: the voter is no approver (as if there were no approval), or asked for the call.
    """
    approver = is_approver(voter, approval.approvers)
    if not approver and not is_requester(voter, approval):
        raise unknown(approval.id)
    if not approver or asked_for_it(voter, approval):
        hint = "Ask another approver; this holds for administrators too."
        raise NotEntitled("You asked for this call, or it was made in your name, so somebody else must decide.", hint=hint)


def must_be_person(voter: Identity) -> None:
    """Refuse whoever is not a human in person, before anything is said about the approval.

    Raises:
        NotEntitled: an agent, a service, a delegated token, or nobody in particular.
    """
    if not is_person(voter):
        hint = "Decide with a personal credential (kind `human`), not with an agent's."
        raise NotEntitled("Only a person, with a credential of their own, may decide on a held call.", hint=hint)
