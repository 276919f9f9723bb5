"""What identities see, remembered for as long as neither the policy, the identity nor what could be seen is another.

A policy is pure, so this changes no answer. One policy has one of these: a policy that is put into force later begins anew.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, TypeAlias

from mcpgw.core.model import Identity, Target

Targets: TypeAlias = tuple[Target, ...]

MOST: Final = 256
"""Identities times kinds that are remembered; a catalog of 2,000 tools takes 16 KB of each."""


class Sight:
    """The last answers. Not for several threads at once."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, int], tuple[Targets, Targets]] = OrderedDict()

    def of(self, identity: Identity, targets: Targets, look: Callable[[Identity, Targets], Targets]) -> Targets:
        """Return what `look` says of them, or said before of the same identity, in every field, and this very tuple.

        The text of an identity tells apart what Python takes for equal: a claim of `1` is none of `true`.
        """
        key = (repr(identity), id(targets))
        known = self._known.pop(key, None) or (targets, look(identity, targets))
        self._known[key] = known  # with the tuple, whose id nothing else can have meanwhile
        if len(self._known) > MOST:
            self._known.popitem(last=False)
        return known[1]
