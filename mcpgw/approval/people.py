"""Who may decide. Four eyes hold for everybody, admins included: there is no role that is asked about here."""

import unicodedata
from collections.abc import Iterable

from mcpgw.core.errors import GatewayError
from mcpgw.core.members import is_one_of
from mcpgw.core.model import Identity
from mcpgw.core.terms import Terms
from mcpgw.ports import Approval


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
    """Tell whether this is a human acting in person; nobody in particular is never a second person."""
    return identity.is_person


def fitting(identity: Identity, entries: Iterable[str]) -> tuple[str, ...]:
    """Return those of the entries that mean the identity."""
    return tuple(entry for entry in entries if is_one_of(identity, entry))


def is_asked(identity: Identity, approval: Approval) -> bool:
    """Tell whether the identity is among those who were asked so far, at this level or an earlier one."""
    return bool(fitting(identity, approval.terms.asked(approval.level)))


def may_open_glass(identity: Identity, terms: Terms) -> bool:
    """Tell whether the identity is an opener of break-glass."""
    return bool(fitting(identity, terms.break_glass.openers))


def asked_for_it(identity: Identity, approval: Approval) -> bool:
    """Tell whether the identity is, or may be, the requester or one whom the request was made through."""
    return any(same_person(identity.principal, name) for name in (approval.requester, *approval.actors))


def is_requester(identity: Identity, approval: Approval) -> bool:
    """Tell whether it is the requester: through the same agents, or in person. Another agent of theirs is not."""
    return identity.principal == approval.requester and (not identity.actors or identity.actors == approval.actors)


def may_see(viewer: Identity, approval: Approval) -> bool:
    """Tell whether it is the viewer's to see: their own call, or one that they, as a person, have a part in."""
    return is_requester(viewer, approval) or (is_person(viewer) and _has_a_part(viewer, approval))


def _has_a_part(viewer: Identity, approval: Approval) -> bool:
    glass = approval.terms.break_glass
    reviewers = glass.reviewers if approval.break_glass else ()
    entries = (*approval.terms.asked(approval.level), *glass.openers, *approval.terms.admins, *reviewers)
    return bool(fitting(viewer, entries))


def must_be_entitled(voter: Identity, approval: Approval, *, break_glass: bool = False) -> None:
    """Refuse whoever may not decide on this approval.

    Raises:
        NotEntitled: the voter is not asked (as if there were no approval, if it is not theirs to see), or asked for the call.
    """
    if not may_see(voter, approval):
        raise unknown(approval.id)
    _must_not_have_asked(voter, approval)
    if break_glass and not may_open_glass(voter, approval.terms):
        raise NotEntitled("You may not break the glass.", hint="[approval.break_glass] says who may, and the rule if at all.")
    if not break_glass and not is_asked(voter, approval):
        raise NotEntitled(f"You are not asked about {approval.id}.", hint="The rule names who is.")


def must_be_able_to_revoke(person: Identity, approval: Approval) -> None:
    """Refuse whoever may not stop an approved call: everybody but those who were asked, openers and admins.

    Raises:
        NotEntitled: they may not.
    """
    if not may_see(person, approval):
        raise unknown(approval.id)
    stoppers = (*approval.terms.asked(approval.level), *approval.terms.break_glass.openers, *approval.terms.admins)
    if not fitting(person, stoppers):
        raise NotEntitled("Only approvers and admins revoke.", hint="The requester can withdraw the call instead.")


def must_be_able_to_resolve(person: Identity, approval: Approval) -> None:
    """Refuse whoever may not say what became of a call: everybody but those who were asked and admins, never the requester.

    Raises:
        NotEntitled: they may not.
    """
    must_be_able_to_revoke(person, approval)
    _must_not_have_asked(person, approval)


def must_be_able_to_review(person: Identity, approval: Approval) -> None:
    """Refuse whoever may not review a use of break-glass: its openers and its requester, and all but the named reviewers.

    Raises:
        NotEntitled: they may not.
    """
    if not may_see(person, approval):
        raise unknown(approval.id)
    _must_not_have_asked(person, approval)
    if any(same_person(person.principal, vote.voter) for vote in approval.votes if vote.break_glass):
        raise NotEntitled("You broke the glass, so somebody else must review it.")
    glass = approval.terms.break_glass
    reviewers = glass.reviewers or (*approval.terms.asked(approval.level), *glass.openers)
    if not fitting(person, reviewers):
        raise NotEntitled("You are not among the reviewers.", hint="[approval.break_glass] names them.")


def _must_not_have_asked(person: Identity, approval: Approval) -> None:
    if asked_for_it(person, approval):
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
