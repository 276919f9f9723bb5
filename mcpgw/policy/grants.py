"""Who may call what before any rule is asked: roles give scopes, scopes select targets, everything else is denied."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mcpgw.core.errors import ConfigError
from mcpgw.core.model import Identity, Target
from mcpgw.policy.config import Role, Scope
from mcpgw.policy.members import Claim, Member, parse_member
from mcpgw.policy.named import Named
from mcpgw.policy.wording import Mistake, did_you_mean, known_names

SIGN_IN_SCOPES = frozenset({"openid", "profile", "email", "address", "phone", "offline_access"})
"""OpenID Connect Core 1.0 sections 3.1.2.1, 5.4 and 11: they say how somebody signed in, not what they may do."""


@dataclass(frozen=True, slots=True)
class Grant:
    """One way in which an identity came to a target."""

    role: str
    scope: str

    @property
    def id(self) -> str:
        return f"role:{self.role}/scope:{self.scope}"


@dataclass(frozen=True, slots=True)
class Selector:
    """A scope that is ready to select."""

    scope: Scope
    named: Named

    @classmethod
    def of(cls, scope: Scope) -> "Selector":
        """Raises: ConfigError: no criterion (it would select nothing, or everything), or a pattern that is none."""
        where = f"scopes.{scope.name}"
        criteria = (scope.tools, scope.prompts, scope.resources, scope.tags, scope.risk, scope.annotations)
        if scope.by_name and any(criteria):
            raise ConfigError("has by_name and criteria as well", where=where, hint="Keep the one or the others.")
        if not scope.by_name and not any(criteria):
            hint = "Give tools, prompts, resources, tags, risk or annotations; or by_name = true, if the catalog assigns to it."
            raise ConfigError("selects nothing", where=where, hint=hint)
        try:
            return cls(scope, Named.by_scope(scope))
        except Mistake as mistake:
            raise mistake.at(where) from None

    def selects(self, target: Target) -> bool:
        if target.scope:
            return target.scope == self.scope.name
        if self.scope.by_name:
            return False
        if not self.named.means(target):
            return False
        fits_tags = not self.scope.tags or any(tag in target.tags for tag in self.scope.tags)
        fits_risk = not self.scope.risk or target.risk in self.scope.risk
        return fits_tags and fits_risk and self._fits_annotations(target)

    def _fits_annotations(self, target: Target) -> bool:
        return all(target.annotations.get(name) is value for name, value in self.scope.annotations.items())


@dataclass(frozen=True, slots=True)
class Grants:
    """All roles and scopes. Its methods are pure, total, and linear in their number."""

    roles: Mapping[str, tuple[Member, ...]]
    role_scopes: Mapping[str, tuple[str, ...]]
    scopes: Mapping[str, Selector]

    @classmethod
    def build(cls, roles: Iterable[Role], scopes: Iterable[Scope]) -> "Grants":
        """Raises: ConfigError: a duplicate, an unknown scope, a member that is none, or an empty list."""
        selectors: dict[str, Selector] = {}
        for scope in scopes:
            if scope.name in selectors:
                raise ConfigError("is there twice", where=f"scopes.{scope.name}")
            selectors[scope.name] = Selector.of(scope)
        members: dict[str, tuple[Member, ...]] = {}
        given: dict[str, tuple[str, ...]] = {}
        for role in sorted(roles, key=lambda role: role.name):
            if role.name in members:
                raise ConfigError("is there twice", where=f"roles.{role.name}")
            members[role.name] = _members(role)
            given[role.name] = _known_scopes(role, selectors)
        return cls(members, given, selectors)

    @property
    def look_at_claims(self) -> bool:
        """Whether it may depend on a caller's claims which roles they have."""
        return any(isinstance(member, Claim) for members in self.roles.values() for member in members)

    def roles_of(self, identity: Identity) -> tuple[str, ...]:
        return tuple(name for name, members in self.roles.items() if any(member.includes(identity) for member in members))

    def selects(self, role: str, target: Target) -> bool:
        return any(self.scopes[scope].selects(target) for scope in self.role_scopes[role])

    def ways_to(self, target: Target, identity: Identity, roles: Iterable[str]) -> tuple[Grant, ...]:
        """Return every grant of the roles that selects the target, as far as the credential's own scopes let it."""
        carried = identity.scopes - SIGN_IN_SCOPES
        return tuple(
            Grant(role, scope)
            for role in roles
            for scope in self.role_scopes[role]
            if (not carried or scope in carried) and self.scopes[scope].selects(target)
        )


def withheld(identity: Identity, grants: Grants, roles: Iterable[str]) -> tuple[str, ...]:
    """Return the scopes that the roles give and the credential's own scopes take away."""
    carried = identity.scopes - SIGN_IN_SCOPES
    given = {scope for role in roles for scope in grants.role_scopes[role]}
    return tuple(sorted(given - carried)) if carried else ()


def _members(role: Role) -> tuple[Member, ...]:
    where = f"roles.{role.name}.members"
    if not role.members:
        raise ConfigError("is empty, so nobody has the role", where=where, hint='Give members = ["group:tellers"].')
    try:
        return tuple(parse_member(text) for text in role.members)
    except ValueError as error:
        raise ConfigError(str(error), where=where) from None


def _known_scopes(role: Role, scopes: Mapping[str, Selector]) -> tuple[str, ...]:
    where = f"roles.{role.name}.scopes"
    if not role.scopes:
        raise ConfigError("is empty, so the role gives nothing", where=where, hint=known_names("scopes", scopes))
    for name in role.scopes:
        if name not in scopes:
            hint = did_you_mean(name, scopes) or known_names("scopes", scopes)
            raise ConfigError(f"there is no scope {name!r}", where=where, hint=hint)
    return tuple(dict.fromkeys(role.scopes))
