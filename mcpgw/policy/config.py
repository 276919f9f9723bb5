"""What an admin wrote, as plain values. `app.py` makes these from the settings; `Policy.build` checks them.

How it may change: a new field needs a default under which every older policy decides as before, and joins `policy_hash`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from mcpgw.core.model import Risk


class Effect(StrEnum):
    """What a rule does where it matches; in order of precedence."""

    DENY = "deny"
    HOLD = "hold"
    ALLOW = "allow"


@dataclass(frozen=True, slots=True)
class Role:
    """Its members get its scopes."""

    name: str
    members: tuple[str, ...]
    """`user:alice`, `group:tellers`, `claim:dept=fraud`, `kind:agent`, `everyone`; users and groups of one issuer alone are
    `user:https://idp.example#alice`, `group:https://idp.example#tellers`."""
    scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """A named selection of targets. Criteria that are given must all hold; within one, any entry is enough.

    A target to which the catalog gives a scope by name is selected by the scope of that name and by no other.
    """

    name: str
    tools: tuple[str, ...] = ()
    """Globs over published names; `*` is the only wildcard."""
    tags: tuple[str, ...] = ()
    risk: tuple[Risk, ...] = ()
    annotations: Mapping[str, bool] = field(default_factory=dict)
    """Each entry is a criterion of its own: a target that lacks the annotation is not selected."""
    by_name: bool = False
    """The scope has no criteria: it selects what the catalog assigns to its name, and nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlCondition:
    """A look into an argument that holds SQL. The whole text is parsed: every statement, subquery and `WITH`.

    In a deny or hold rule it matches if any criterion finds something, or if the SQL cannot be understood. In an allow rule
    only `allow_only` may be given, and it matches if the SQL was understood and holds nothing else.
    """

    argument: str
    """Name of the argument; dots lead into objects: `request.query`."""
    dialect: str
    statements: tuple[str, ...] = ()
    """Kinds of statement to find: `drop`, `delete`, ... (`mcpgw.policy.sql_words.STATEMENTS`)."""
    allow_only: tuple[str, ...] = ()
    """Kinds of statement that are fine; finding any other is a match."""
    tables: tuple[str, ...] = ()
    """Globs over tables that are read or written, compared without case: `accounts`, `core.*`."""
    write_tables: tuple[str, ...] = ()
    """Globs over tables that are written."""
    columns: tuple[str, ...] = ()
    """Column names; `SELECT *` touches every column."""
    functions: tuple[str, ...] = ()
    """Globs over names of functions that are called."""
    without_where: bool = False
    """Find an UPDATE or DELETE whose WHERE is missing or always true."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. It is about a call if `tools` and `roles` fit; it matches if `when` and `sql` hold as well."""

    id: str
    effect: Effect
    tools: tuple[str, ...] = ("*",)
    """Globs over published names."""
    roles: tuple[str, ...] = ()
    """Role names or members; empty means everybody."""
    when: str = ""
    """A CEL expression over `identity`, `tool`, `args` and `now`; empty means always."""
    sql: SqlCondition | None = None
    """None means that the rule does not look into SQL."""
    reason: str = ""
    """A sentence for the caller; empty means one made from the rule's id."""
    approvers: tuple[str, ...] = ()
    """`group:NAME` or `user:NAME`, for hold rules; empty means the defaults'."""
    quorum: int | None = None
    """For hold rules: how many must approve; None means the defaults'."""
    deadline_s: float | None = None
    """For hold rules, seconds; None means the defaults'."""
    lifts_risk: bool = False
    """For allow rules: where it matches, `risk = "high"` alone does not hold the call. `tools` must then be exact names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """Who decides on `risk = "high"` and on hold rules that name nobody."""

    approvers: tuple[str, ...] = ()
    quorum: int = 1
    deadline_s: float = 3600.0
