"""The policy in force, which can be swapped whole while calls are judged."""

from mcpgw.core.model import (
    Call,
    Decision,
    Identity,
    Target,
)
from mcpgw.policy import Policy


class LivePolicy:
    """Implements `ports.Policy` by the policy that was activated last. A swap is one assignment: no call sees half of it."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    @property
    def policy_hash(self) -> str:
        return self._policy.policy_hash

    def activate(self, policy: Policy) -> None:
        self._policy = policy

    def decide(self, call: Call) -> Decision:
        return self._policy.decide(call)

    def sees(self, identity: Identity, target: Target) -> bool:
        return self._policy.sees(identity, target)

    def visible(self, identity: Identity, targets: tuple[Target, ...]) -> tuple[Target, ...]:
        return self._policy.visible(identity, targets)

    def listed(self, identity: Identity, targets: tuple[Target, ...]) -> tuple[Target, ...]:
        return self._policy.listed(identity, targets)
