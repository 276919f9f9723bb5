"""Call in, Allow, Hold or Deny out: roles grant, rules restrict, and every decision says which of them decided.

Start at `policy.py`. `Policy.build(roles, scopes, rules, defaults)` makes the one object that other rooms need.
"""

from mcpgw.policy.cel import UNSUITABLE
from mcpgw.policy.config import Defaults, Effect, Grants, Hours, Mode, Profile, Role, Rule, Scope, SqlCondition, Step
from mcpgw.policy.grants import Grant
from mcpgw.policy.policy import Access, Explanation, Policy
from mcpgw.policy.rule import Finding, Outcome
from mcpgw.policy.unseen import Unseen, Untold

__all__ = [
    "UNSUITABLE",
    "Access",
    "Defaults",
    "Effect",
    "Explanation",
    "Finding",
    "Grant",
    "Grants",
    "Hours",
    "Mode",
    "Outcome",
    "Policy",
    "Profile",
    "Role",
    "Rule",
    "Scope",
    "SqlCondition",
    "Step",
    "Unseen",
    "Untold",
]
