"""What is listed to whom: a profile narrows the list of tools, and nothing else. Every call is judged as if there were none."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mcpgw.core.errors import ConfigError
from mcpgw.core.model import (
    Identity,
    Target,
    TargetKind,
)
from mcpgw.core.naming import CALL_TOOL, FIND_TOOLS
from mcpgw.policy.config import Profile
from mcpgw.policy.glob import Glob
from mcpgw.policy.members import Member
from mcpgw.policy.rule import members_of
from mcpgw.policy.wording import Mistake

SEARCH_TOOLS = frozenset({FIND_TOOLS, CALL_TOOL})
"""Listed under profiles with `search` alone: whoever has all definitions needs neither."""


@dataclass(frozen=True, slots=True)
class CompiledProfile:
    """A profile that is ready to narrow."""

    profile: Profile
    members: tuple[Member, ...]
    tools: tuple[Glob, ...]

    def is_for(self, identity: Identity) -> bool:
        return any(member.includes(identity) for member in self.members)

    def lists(self, target: Target) -> bool:
        if target.name in SEARCH_TOOLS:
            return self.profile.search
        return target.is_own or any(glob.matches(target.name) for glob in self.tools)


@dataclass(frozen=True, slots=True)
class Profiles:
    """All profiles, in the order in which they are asked whom they are for. Pure and total."""

    ordered: tuple[CompiledProfile, ...]

    @classmethod
    def build(cls, profiles: Iterable[Profile], roles: Mapping[str, tuple[Member, ...]]) -> "Profiles":
        """Raises: ConfigError: an unknown role, a pattern that is none, or a profile under which nothing is listed."""
        return cls(tuple(_compiled(profile, roles) for profile in profiles))

    def listed(self, identity: Identity, targets: tuple[Target, ...]) -> tuple[Target, ...]:
        """Return those of the targets that are listed to the identity, in their order: by the first profile that is for it."""
        profile = next((profile for profile in self.ordered if profile.is_for(identity)), None)
        return _narrowed(profile, targets)

    def listed_to(self, role: str, members: Iterable[Member], targets: tuple[Target, ...]) -> tuple[Target, ...]:
        """Return what is listed to those who have this role alone, as far as the profiles tell by roles."""
        return _narrowed(self._of_role(role, frozenset(members)), targets)

    def searches(self, role: str, members: Iterable[Member]) -> bool:
        """Tell whether those who have this role alone find their tools by searching."""
        profile = self._of_role(role, frozenset(members))
        return profile is not None and profile.profile.search

    def _of_role(self, role: str, members: frozenset[Member]) -> CompiledProfile | None:
        named = (p for p in self.ordered if {role, "everyone"} & {*p.profile.roles} or not members.isdisjoint(p.members))
        return next(named, None)


def _narrowed(profile: CompiledProfile | None, targets: tuple[Target, ...]) -> tuple[Target, ...]:
    if profile is None:
        return tuple(target for target in targets if target.name not in SEARCH_TOOLS)
    return tuple(target for target in targets if target.kind is not TargetKind.TOOL or profile.lists(target))


def _compiled(profile: Profile, roles: Mapping[str, tuple[Member, ...]]) -> CompiledProfile:
    where = f"profiles.{profile.name}"
    if not profile.tools and not profile.search:
        raise ConfigError("lists nothing", where=where, hint='Give tools = ["server__*"], or search = true.')
    try:
        members = tuple(member for entry in profile.roles for member in members_of(entry, roles))
    except Mistake as mistake:
        raise mistake.at(where) from None
    try:
        return CompiledProfile(profile, members, tuple(Glob.of(text) for text in profile.tools))
    except ValueError as error:
        raise ConfigError(str(error), where=f"{where}.tools") from None
