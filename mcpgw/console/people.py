"""Who counts as a person, and who is named in a list. The desk has its own, stricter, word on votes."""

from collections.abc import Sequence

from mcpgw.core.model import Identity, IdentityKind


def is_person(identity: Identity) -> bool:
    """Tell whether this is a human in person, not an agent, a service, or somebody's delegate."""
    return identity.kind is IdentityKind.HUMAN and not identity.actors


def is_named(identity: Identity, names: Sequence[str]) -> bool:
    """Tell whether one of them is the identity, to the letter: `group:` or `user:` with a name, or with `ISSUER#NAME`."""
    return not identity.names.isdisjoint(names)
