"""An access review: who may call what, who did, and who never does; what was granted, and who decided.

Who may call what is what the policy in force says of everybody who was seen in the time asked for, as they were then, and of
everybody who has an API key. Of people whom an identity provider vouches for and who never called, nothing is known here: for
them there are the roles, with all their members' groups and all that they give.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mcpgw.core.model import Identity, Target
from mcpgw.ledger.store import Reading
from mcpgw.ledger.usage import Caller, Decided, Granted, Usage, Uses
from mcpgw.policy import Access, Policy
from mcpgw.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One caller and one target that they may call, or did."""

    target: str
    kind: str
    may: bool
    """By the policy in force, with some arguments."""
    by: tuple[str, ...]
    """Roles and scopes that grant it."""
    rules: tuple[str, ...]
    """Rules that are about it, whatever their conditions."""
    risk: str
    uses: Uses

    @property
    def finding(self) -> str:
        """`used`; `never used`: a candidate to take away; `no longer allowed`: it ran, and could not now; `refused`."""
        if self.may:
            return "used" if self.uses.ran else "never used"
        return "no longer allowed" if self.uses.ran else "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviewed:
    """A caller, and all that they may do or did."""

    who: str
    kind: str
    through: tuple[str, ...]
    """The agents that called for them, the nearest first."""
    groups: tuple[str, ...]
    roles: tuple[str, ...]
    seen_ns: int
    """When they called last in the time asked for; 0: never."""
    has_key: bool
    unknown: int
    lines: tuple[Line, ...]

    def of(self, finding: str) -> tuple[Line, ...]:
        return tuple(line for line in self.lines if line.finding == finding)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleReview:
    """What a role gives, and what of it anybody used in the time asked for."""

    name: str
    members: tuple[str, ...]
    scopes: tuple[str, ...]
    people: int
    """Callers who were seen or have a key, and have it."""
    targets: tuple[str, ...]
    never_used: tuple[str, ...]
    """Targets that it gives, and that nobody who has it called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    policy: str
    since_ns: int
    until_ns: int
    people: tuple[Reviewed, ...]
    roles: tuple[RoleReview, ...]
    approvers: Mapping[str, Decided]
    grants: tuple[Granted, ...]
    break_glass: tuple[Granted, ...]
    counted: Mapping[str, int]
    damaged: int


def review(
    settings: Settings,
    policy: Policy,
    targets: Sequence[Target],
    usage: Usage,
    keyed: Iterable[Identity],
    store: Reading,
    span: tuple[int, int],
) -> Review:
    """Return the review. `keyed` are those who have a key that opens something; `span` first moment and first after."""
    by_key = {_caller(one): one for one in keyed}
    known = {**by_key, **{caller: usage.identity(caller, store) for caller in usage.people}}
    people = [
        _reviewed(identity, caller, policy, targets, usage, has_key=caller in by_key)
        for caller, identity in sorted(known.items(), key=lambda item: item[0])
    ]
    return Review(
        policy=policy.policy_hash,
        since_ns=span[0],
        until_ns=span[1],
        people=tuple(people),
        roles=tuple(_roles(settings, policy, targets, people)),
        approvers=dict(sorted(usage.approvers.items())),
        grants=tuple(usage.grants.values()),
        break_glass=tuple(usage.break_glass.values()),
        counted=dict(usage.counted.most_common()),
        damaged=usage.damaged,
    )


def _caller(identity: Identity) -> Caller:
    return identity.principal, identity.kind.value, identity.actors


def _reviewed(
    identity: Identity, caller: Caller, policy: Policy, targets: Sequence[Target], usage: Usage, *, has_key: bool
) -> Reviewed:
    person = usage.people.get(caller)
    uses = dict(person.uses) if person else {}
    lines = [
        _line(access, uses.pop((access.target.kind.value, access.target.name), Uses()))
        for access in policy.grants(identity, targets)
    ]
    gone = [
        Line(target=name, kind=kind, may=False, by=(), rules=(), risk="", uses=used)
        for (kind, name), used in sorted(uses.items())
    ]
    return Reviewed(
        who=identity.principal,
        kind=identity.kind.value,
        through=identity.actors,
        groups=tuple(sorted(identity.groups)),
        roles=policy.roles_of(identity),
        seen_ns=person.seen_ns if person else 0,
        has_key=has_key,
        unknown=person.unknown if person else 0,
        lines=tuple(line for line in (*lines, *gone) if line.may or line.uses != Uses()),
    )


def _line(access: Access, uses: Uses) -> Line:
    return Line(
        target=access.target.name,
        kind=access.target.kind.value,
        may=bool(access.grants) and access.visible,
        by=tuple(grant.id for grant in access.grants),
        rules=access.rules,
        risk=access.target.risk.value,
        uses=uses,
    )


def _roles(settings: Settings, policy: Policy, targets: Sequence[Target], people: Sequence[Reviewed]) -> Iterator[RoleReview]:
    for name, role in sorted(settings.roles.items()):
        having = [one for one in people if name in one.roles]
        used = {line.target for one in having for line in one.lines if line.uses.ran}
        given = tuple(target.name for target in policy.offered(name, targets))
        yield RoleReview(
            name=name,
            members=tuple(role.members),
            scopes=tuple(role.scopes),
            people=len(having),
            targets=given,
            never_used=tuple(target for target in given if target not in used),
        )
