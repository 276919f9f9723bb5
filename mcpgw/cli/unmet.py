"""Names in config.toml that nobody bears and nothing is published under: the policy is valid, and does not do what it says.

All of it is told as a doubt. A name may be of tomorrow: a key that is not made yet, a server that is not accepted yet.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field

from mcpgw.core.answers import ANSWERS
from mcpgw.core.model import IdentityKind, Risk, Target, TargetKind
from mcpgw.core.naming import SEPARATOR
from mcpgw.core.toml import line_of
from mcpgw.identity.key_record import KeyRecord
from mcpgw.policy.glob import Glob
from mcpgw.policy.unseen import reads_of
from mcpgw.policy.wording import did_you_mean
from mcpgw.settings import Rule, Settings

_TABLES: Mapping[str, TargetKind] = {
    "tools": TargetKind.TOOL,
    "prompts": TargetKind.PROMPT,
    "resources": TargetKind.RESOURCE,
}
_SEE_LIST = "Compare it with `mcpgw catalog list`."


@dataclass(frozen=True, slots=True)
class Doubt:
    """What may be a mistake, at its file and line, and what to do if it is one."""

    detail: str
    hint: str


@dataclass(slots=True)
class Doubts:
    """Finds them in one folder's settings."""

    settings: Settings
    targets: Sequence[Target]
    """All that is accepted, and the gateway's own tools."""
    keys: Sequence[KeyRecord]
    unknown: Set[str]
    """Servers of which nothing is accepted: what is said of them cannot be compared with anything."""
    _text: str = field(init=False)

    def __post_init__(self) -> None:
        self._text = self.settings.config_file.read_text(encoding="utf-8")

    def of_people(self) -> Iterator[Doubt]:
        """Members and approvers whom no API key makes. Where an issuer is named, nobody knows here whom it lets in."""
        if self.settings.identity.issuers:
            return
        now = time.time()
        keys = [key for key in self.keys if not key.revoked and not key.expired(now)]
        anybody = _names(keys)
        for role, told in self.settings.roles.items():
            for member in told.members:
                if _is_missing(member, anybody):
                    hint = _nearest(member, anybody) or f"Make one: {_key_command(member)}."
                    yield self._doubt(("roles", role, "members"), f"no API key is of {member}", hint)
        people = _names([key for key in keys if key.kind is IdentityKind.HUMAN])
        for path, approvers in self._approvers():
            for approver in approvers:
                if _is_missing(approver, people):
                    hint = _nearest(approver, people) or f"Make one: {_key_command(approver, human=True)}."
                    yield self._doubt(path, f"no person has an API key of {approver}, so none of them can decide", hint)

    def of_names(self, idle_rules: Sequence[str]) -> Iterator[Doubt]:
        """Names and globs that fit nothing. Rules of which all are so are told of elsewhere."""
        for name, scope in self.settings.scopes.items():
            yield from self._unfit(("scopes", name), {key: getattr(scope, key) for key in _TABLES})
        for index, rule in enumerate(self.settings.rules):
            if rule.id not in idle_rules:
                yield from self._unfit(("rules", index), {key: getattr(rule, key) or [] for key in _TABLES})
                yield from self._unread(("rules", index), rule)

    def _approvers(self) -> Iterator[tuple[tuple[str | int, ...], Sequence[str]]]:
        """Yield who decides, where it is said; the desk's defaults only where a call can be held under them."""
        holding = [(index, rule) for index, rule in enumerate(self.settings.rules) if rule.effect == "hold"]
        for index, rule in holding:
            yield ("rules", index, "approvers"), rule.approvers
        by_default = any(not rule.approvers for _, rule in holding)
        if by_default or any(target.risk is Risk.HIGH for target in self.targets):
            yield ("approval", "approvers"), self.settings.approval.approvers

    def _unfit(self, path: tuple[str | int, ...], globs: Mapping[str, Sequence[str]]) -> Iterator[Doubt]:
        for key, kind in _TABLES.items():
            published = [target.name for target in self.targets if target.kind is kind]
            for text in globs[key]:
                if text.partition(SEPARATOR)[0] not in self.unknown and not any(map(Glob.of(text).matches, published)):
                    hint = did_you_mean(text, published) or _SEE_LIST
                    yield self._doubt((*path, key), f"nothing that was accepted fits '{text}'", hint)

    def _unread(self, path: tuple[str | int, ...], rule: Rule) -> Iterator[Doubt]:
        """Arguments that a condition reads and no tool of the rule has: it could not be evaluated, so it denies."""
        globs = [Glob.of(text) for text in rule.tools or ()]
        about = [one for one in self.targets if one.kind is TargetKind.TOOL and any(glob.matches(one.name) for glob in globs)]
        schemas = [one.definition.get("inputSchema", {}) for one in about]
        known = {name for schema in schemas for name in schema.get("properties", {})}
        if not about or any(schema.get("additionalProperties") or "properties" not in schema for schema in schemas):
            return
        for name in sorted(reads_of(rule.when).arguments - known - {ANSWERS}):
            hint = did_you_mean(name, known) or f"They have these: {', '.join(sorted(known))}."
            yield self._doubt((*path, "when"), f"no tool of the rule {rule.id} has an argument '{name}'", hint)

    def _doubt(self, path: tuple[str | int, ...], what: str, hint: str) -> Doubt:
        key = ".".join(map(str, path))
        return Doubt(f"{self.settings.config_file}:{line_of(self._text, path)}: `{key}`: {what}.", hint)


def _names(keys: Sequence[KeyRecord]) -> frozenset[str]:
    """Return what these keys can be called in a list of members."""
    groups = {f"group:{group}" for key in keys for group in key.groups}
    return frozenset(groups | {f"user:{key.subject}" for key in keys})


def _is_missing(member: str, known: frozenset[str]) -> bool:
    """Tell whether keys could make this name, and none does. What has an issuer in it, claims and kinds are not for keys."""
    return member.startswith(("user:", "group:")) and "#" not in member and member not in known


def _nearest(member: str, known: Iterable[str]) -> str:
    """Suggest a name of the same form: what stands before the colon makes no two names alike."""
    form, _, name = member.partition(":")
    return did_you_mean(name, [one.removeprefix(f"{form}:") for one in known if one.startswith(f"{form}:")])


def _key_command(member: str, *, human: bool = False) -> str:
    form, _, name = member.partition(":")
    kind = "--kind human " if human else ""
    return f"`mcpgw keys create {kind}" + (f"--subject {name}`" if form == "user" else f"--subject NAME --group {name}`")
