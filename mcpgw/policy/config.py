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
    prompts: tuple[str, ...] = ()
    """Globs over published names. No prompt is selected without them, unless by name."""
    resources: tuple[str, ...] = ()
    """Globs over published URIs and templates. No resource is selected without them, unless by name."""
    tags: tuple[str, ...] = ()
    risk: tuple[Risk, ...] = ()
    annotations: Mapping[str, bool] = field(default_factory=dict)
    """Each entry is a criterion of its own: a target that lacks the annotation is not selected."""
    by_name: bool = False
    """The scope has no criteria: it selects what the catalog assigns to its name, and nothing else."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What of all that they may call some callers are listed. It grants nothing, and takes nothing away from a call."""

    name: str
    roles: tuple[str, ...]
    """Role names or members."""
    tools: tuple[str, ...] = ()
    """Globs over published names: these are listed. With `search`: beside the tools that find and call all others."""
    search: bool = False


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
class Step:
    """Who is asked when those before were silent."""

    approvers: tuple[str, ...] = ()
    quorum: int | str = 1
    deadline_s: float
    """Seconds from the end of the level before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hours:
    """When there is somebody to ask."""

    zone: str
    """A name of the IANA time zone database: `Europe/Berlin`."""
    days: tuple[str, ...]
    """`mon` to `sun`."""
    opens: str
    """`08:00`, in the zone."""
    closes: str
    """`18:00`; `24:00` is the end of the day."""
    outside_s: float = 0.0
    """The first deadline of a call that arrives at another time, in seconds; 0 denies it."""


class Mode(StrEnum):
    ENFORCE = "enforce"
    OBSERVE = "observe"
    """The decision's record says what the rule would have done, and nothing else comes of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grants:
    """How much may be asked for at once, instead of call by call."""

    max_calls: int
    max_for_s: float
    """Seconds."""
    max_total: Mapping[str, str] = field(default_factory=dict)
    """The argument that a grant must have a total of, and the most that it may be, in decimal digits; one, or nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. It is about a call if its names and `roles` fit; it matches if `when` and `sql` hold as well.

    Without `tools`, `prompts` and `resources` it is about everything; with any of them about what they name alone.
    """

    id: str
    effect: Effect
    tools: tuple[str, ...] | None = None
    """Globs over published names."""
    prompts: tuple[str, ...] | None = None
    """Globs over published names; a prompt's completions go with it."""
    resources: tuple[str, ...] | None = None
    """Globs over published URIs and templates; a template's completions go with it."""
    roles: tuple[str, ...] = ()
    """Role names or members; empty means everybody."""
    when: str = ""
    """A CEL expression over `identity`, `tool`, `args` and `now`; empty means always."""
    sql: SqlCondition | None = None
    """None means that the rule does not look into SQL."""
    reason: str = ""
    """A sentence for the caller; empty means one made from the rule's id."""
    mode: Mode = Mode.ENFORCE
    approvers: tuple[str, ...] = ()
    """`group:NAME`, `user:NAME` or `claim:NAME=VALUE`; this and all that follows is for hold rules. Empty: the defaults'."""
    quorum: int | str | None = None
    """How many of `approvers`, or one that names them: `2 of group:leads and 1 of group:risk`. None: the defaults'."""
    deadline_s: float | None = None
    """Seconds; None means the defaults'."""
    steps: tuple[Step, ...] = ()
    """Who is asked, one after the other, when there was silence; none: silence denies."""
    comment_required: bool = False
    denial_settles: bool = True
    max_auth_age_s: float = 0.0
    """A vote counts for so long after its voter signed in, in seconds; 0 asks for nothing."""
    acr: tuple[str, ...] = ()
    amr: tuple[str, ...] = ()
    hours: Hours | None = None
    """None: there is always somebody to ask."""
    break_glass: bool = True
    """Whether the defaults' break-glass may stand in."""
    run_unattended: bool = False
    """Whether the approved call may run while nobody waits for it."""
    may_be_asked: bool = False
    """Whether its server may ask the caller in the middle of the approved call, though nobody approves what is answered."""
    grants: Grants | None = None
    """None: every call is asked about by itself."""
    lifts_risk: bool = False
    """For allow rules: where it matches, `risk = "high"` alone does not hold the call. `tools` must then be exact names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """Who decides on `risk = "high"` and on hold rules that name nobody, and what holds for all of them."""

    approvers: tuple[str, ...] = ()
    quorum: int | str = 1
    deadline_s: float = 3600.0
    admins: tuple[str, ...] = ()
    """Who may revoke what others approved."""
    openers: tuple[str, ...] = ()
    """Two of them may stand in for the approvers in an emergency; empty: nobody may."""
    break_glass_s: float = 900.0
    """How long an approval can be used then; seconds."""
    reviewers: tuple[str, ...] = ()
    """Who must look at it afterwards; empty: any third person who may decide."""
    risk_grants: Grants | None = None
    """For calls that are held for `risk = "high"` alone. None: every one of them is asked about by itself."""
