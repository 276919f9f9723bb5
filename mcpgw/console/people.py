"""Who counts as a person, and who is named in a list. The desk has its own, stricter, word on votes."""

from collections.abc import Sequence

from mcpgw.core.model import Identity, IdentityKind


def is_person(identity: Identity) -> bool:
    """Tell whether this is a human in person, not an agent, a service, or somebody's delegate."""
    return identity.kind is IdentityKind.HUMAN and not identity.actors


def is_named(identity: Identity, names: Sequence[str]) -> bool:
    """Tell whether one of `group:NAME`, `user:SUBJECT` or `user:ISSUER#SUBJECT` is the identity, to the letter."""
    own = {f"user:{identity.subject}", f"user:{identity.principal}", *(f"group:{group}" for group in identity.groups)}
    return not own.isdisjoint(names)
