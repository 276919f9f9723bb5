"""The join: admins' entries, upstreams' definitions and acceptances in; what is published, held back and wrong out. Pure."""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType

from mcpgw.catalog.definition import KINDS, Offered, Offers
from mcpgw.catalog.entry import Entry, Rules, WhenDown
from mcpgw.catalog.hidden import hidden_in, visible
from mcpgw.catalog.keys import SINGLE
from mcpgw.catalog.lock import Lock, Pinned
from mcpgw.catalog.lookalikes import near_names
from mcpgw.catalog.poison import suspicions
from mcpgw.catalog.problems import Problem
from mcpgw.core.canonical import digest
from mcpgw.core.model import (
    JsonObject,
    Masking,
    MaskingRule,
    Risk,
    Target,
    TargetKind,
)
from mcpgw.core.naming import COMFORTABLE_LENGTH, MAX_LENGTH, is_published_name, published_name, skeleton
from mcpgw.core.toml import suggestion
from mcpgw.core.uris import MAX_URI, is_publishable, published_uri


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What a server said last (before it has spoken: what was accepted of it), and whether it answers now."""

    offers: Offers
    up: bool


class Quarantine(StrEnum):
    """Why something is hidden and not callable until an admin accepts it."""

    NEW = "new"
    CHANGED = "changed"
    SERVER = "server"
    """The server is new, or is reached in another way than when it was accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBack:
    server: str
    kind: TargetKind
    upstream_name: str
    why: Quarantine


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One state of the catalog. It never changes: a reader that holds it sees one whole truth."""

    found: Mapping[TargetKind, Mapping[str, Target]] = field(default_factory=dict)
    """Accepted and enabled, by published name: what can be called. Ordered by name."""
    listed: Mapping[TargetKind, tuple[Target, ...]] = field(default_factory=dict)
    """What lists show: `found` without those whose server is down and said to hide."""
    held_back: tuple[HeldBack, ...] = ()
    withheld: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By server, the URIs and templates that it offers and that are not published, for whatever reason."""
    problems: tuple[Problem, ...] = ()
    """What was refused publication, and what in the files matches nothing."""
    hash: str = ""
    """The catalog's hash for the record: equal exactly when the same may be called under the same rules."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A target that is published unless its name collides."""

    target: Target
    hash: str
    """`hash_of` its facts."""
    look: str
    """Its name as a hurried reader sees it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What came of one server's definitions by itself."""

    candidates: tuple[Candidate, ...]
    problems: tuple[Problem, ...]
    held_back: tuple[HeldBack, ...]


class Judgements:
    """The last judgement on each server, so that a change of one server costs what that server does.

    The same entry, acceptance and offers are judged alike, so this changes no snapshot.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[Entry, Pinned, Offers], Judged]] = {}

    def of(self, entry: Entry, pinned: Pinned, offers: Offers) -> Judged:
        parts = (entry, pinned, offers)
        known = self._known.get(entry.name)
        if known is None or any(before is not now for before, now in zip(known[0], parts, strict=True)):
            known = self._known[entry.name] = (parts, _judged(*parts))
        return known[1]


def _judged(entry: Entry, pinned: Pinned, offers: Offers) -> Judged:
    problems: list[Problem] = []
    held_back: list[HeldBack] = []
    targets = list(_ServerDesk(entry, pinned, problems, held_back).judge(offers))
    candidates = tuple(Candidate(target, hash_of([facts_of(target)]), skeleton(target.name)) for target in targets)
    return Judged(candidates=candidates, problems=tuple(problems), held_back=tuple(held_back))


def publish(
    entries: Mapping[str, Entry], heard: Mapping[str, Heard], lock: Lock, judgements: Judgements | None = None
) -> Snapshot:
    """Join everything into a snapshot. The order of its arguments' parts does not matter to the result.

    Where two names collide the later one, by server and upstream name, is not published.
    """
    known = judgements or Judgements()
    judged = [
        known.of(entry, lock.servers.get(entry.name, _UNKNOWN), heard[entry.name].offers)
        for entry in sorted(entries.values(), key=lambda entry: entry.name)
        if entry.enabled and entry.name in heard
    ]
    problems = [problem for one in judged for problem in one.problems]
    candidates = [candidate for one in judged for candidate in one.candidates]
    kept = {kind: _without_collisions(kind, candidates, problems) for kind in KINDS}
    found = {kind: {name: candidate.target for name, candidate in kept[kind].items()} for kind in KINDS}
    shown = {
        name for name, entry in entries.items() if entry.unavailable is WhenDown.LIST or (name in heard and heard[name].up)
    }
    published = {(target.server, target.upstream_name) for target in found[TargetKind.RESOURCE].values()}
    return Snapshot(
        found=MappingProxyType({kind: MappingProxyType(targets) for kind, targets in found.items()}),
        listed=MappingProxyType(
            {kind: tuple(target for target in found[kind].values() if target.server in shown) for kind in KINDS}
        ),
        held_back=tuple(held for one in judged for held in one.held_back),
        withheld=MappingProxyType(
            {
                name: tuple(uri for uri in one.offers.names(TargetKind.RESOURCE) if (name, uri) not in published)
                for name, one in heard.items()
            }
        ),
        problems=tuple(problems),
        hash=hash_of([candidate.hash for kind in KINDS for candidate in kept[kind].values()]),
    )


def warnings(snapshot: Snapshot) -> tuple[Problem, ...]:
    """Return what `mcpgw check` should say of published targets: uncomfortable and nearly equal names, hidden and suspicious
    text in definitions."""
    targets = [target for kind in KINDS for target in snapshot.found[kind].values()]
    named: dict[str, set[str]] = {target.server: set() for target in targets}
    for target in targets:
        if target.kind is not TargetKind.RESOURCE:
            named[target.server] |= {target.name, target.upstream_name}
    foreign = {server: set().union(*named.values()) - named[server] for server in named}
    return (*_near(targets), *(warning for target in targets for warning in _warnings(target, foreign[target.server])))


def _near(targets: Sequence[Target]) -> Iterator[Problem]:
    hint = "Compare the two. If one was not meant, remove it; else give it another name in the catalog."
    servers = {target.server for target in targets}
    for (_, one), (_, other) in near_names({server: {server} for server in servers}):
        yield Problem(where=other, message=f"this server's name is nearly that of {one}.", hint=hint)
    for kind in (TargetKind.TOOL, TargetKind.PROMPT):
        by_server: dict[str, set[str]] = {server: set() for server in servers}
        for target in targets:
            if target.kind is kind:
                by_server[target.server].add(target.upstream_name)
        for (one_server, one), (server, other) in near_names(by_server):
            message = f"the name of this {kind.value} is nearly that of {one_server}/{visible(one)}."
            yield Problem(where=f"{server}/{visible(other)}", message=message, hint=hint)


def _warnings(target: Target, foreign: Collection[str]) -> Iterator[Problem]:
    where = f"{target.server}/{visible(target.upstream_name)}"
    if target.kind is TargetKind.TOOL and not target.preview and _has_dry_run(target):
        message = "it has a `dry_run` that is not used: where a call is held, approvers could see what it would do."
        hint = "If it can be relied on, write preview = { arguments = { dry_run = true } }; see docs/approvals.md."
        yield Problem(where=where, message=message, hint=hint)
    if target.kind is not TargetKind.RESOURCE and len(target.name) > COMFORTABLE_LENGTH:
        message = f"{target.name} has {len(target.name)} characters; some clients cut or refuse more than {COMFORTABLE_LENGTH}."
        yield Problem(where=where, message=message, hint="Give it a shorter name in the catalog.")
    for hidden in hidden_in(target.definition):
        yield Problem(where=where, message=f"its definition hides text: {hidden}.", hint="Ask the server's owner why.")
    for suspicion in suspicions(target.definition, foreign):
        yield Problem(where=where, message=f"its definition is suspicious: {suspicion}.", hint="Ask the server's owner why.")


def _has_dry_run(target: Target) -> bool:
    schema = target.definition.get("inputSchema")
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    dry_run = properties.get("dry_run") if isinstance(properties, Mapping) else None
    return isinstance(dry_run, Mapping) and dry_run.get("type") == "boolean"


_SHOWN = 200
"""Characters of a URI that cannot be published which are shown."""
_UNKNOWN = Pinned(reached={})
"""A server of which nothing was accepted: no entry has this fingerprint."""


class _ServerDesk:
    """Judges one server's definitions, one by one."""

    def __init__(self, entry: Entry, pinned: Pinned, problems: list[Problem], held_back: list[HeldBack]) -> None:
        self._entry = entry
        self._pinned = pinned
        self._fingerprint = entry.fingerprint
        self._same_server = pinned.fingerprint == self._fingerprint
        self._problems = problems
        self._held_back = held_back

    def judge(self, offers: Offers) -> Iterator[Target]:
        for fault in offers.faults:
            self._complain(fault.name, fault.message)
        for offered in offers.items:
            yield from self._admit(offered)
        for kind in KINDS:
            if names := sorted(offers.names(kind)):
                self._unmatched_rules(kind, names)

    def _admit(self, offered: Offered) -> Iterator[Target]:
        rules = self._entry.rules(offered.kind, offered.name)
        if not rules.enabled:
            return
        accepted = self._pinned.hash_of(offered.kind, offered.name)
        if self._same_server and accepted == offered.hash:
            target = _target(self._entry, self._fingerprint, rules, offered)
            if self._is_acceptable_name(target):
                yield target
            return
        change = Quarantine.CHANGED if accepted else Quarantine.NEW
        why = change if self._same_server else Quarantine.SERVER
        self._held_back.append(HeldBack(server=self._entry.name, kind=offered.kind, upstream_name=offered.name, why=why))

    def _is_acceptable_name(self, target: Target) -> bool:
        if target.kind is TargetKind.RESOURCE:
            if not is_publishable(target.name):
                message = f"its URI has hidden characters, or more than {MAX_URI} when it is published: not published."
                self._complain(target.upstream_name[:_SHOWN], message, "Ask the server's owner for another one.")
            return is_publishable(target.name)
        if is_published_name(target.name):
            return True
        message = f"{target.name} has {len(target.name)} characters; clients refuse more than {MAX_LENGTH}: not published."
        self._complain(target.upstream_name, message, 'Give it a shorter "name" in the catalog.')
        return False

    def _unmatched_rules(self, kind: TargetKind, names: Sequence[str]) -> None:
        """A rule for a tool that is not there protects nothing: a typo must not leave the real tool at low risk."""
        for name, rules in self._entry.single.get(kind, {}).items():
            if name not in names:
                hint = suggestion(visible(name), map(visible, names))
                where = self._entry.source.at(SINGLE[kind][0], name)
                message = f'the server offers no {kind.value} "{visible(name)}", so its rules apply to nothing.'
                self._problems.append(Problem(where=where, message=message, hint=hint))
            for asked in {one.tool for one in rules.preview if one.tool} - set(names):
                message = f'the server offers no tool "{visible(asked)}", so calls of {visible(name)} have no preview.'
                where, hint = self._entry.source.at("tools", name, "preview"), suggestion(visible(asked), map(visible, names))
                self._problems.append(Problem(where=where, message=message, hint=hint))

    def _complain(self, name: str, message: str, hint: str = "") -> None:
        where = f"{self._entry.name}/{visible(name) or '(without a name)'}"
        self._problems.append(Problem(where=where, message=message, hint=hint))


def _target(entry: Entry, fingerprint: str, rules: Rules, offered: Offered) -> Target:
    name = offered.name
    return Target(
        kind=offered.kind,
        name=published_uri(entry.name, name)
        if offered.kind is TargetKind.RESOURCE
        else published_name(entry.name, rules.name or name),
        server=entry.name,
        server_fingerprint=fingerprint,
        upstream_name=name,
        definition=offered.definition,
        definition_hash=offered.hash,
        annotations=_annotations(offered, rules.annotations),
        scope=rules.scope,
        tags=rules.tags,
        risk=rules.risk,
        masking=rules.masking,
        restore_tokens=rules.restore_tokens,
        vault=rules.vault,
        vault_except=rules.vault_except,
        preview=tuple(replace(one, tool=_published(entry, one.tool) if one.tool else "") for one in rules.preview),
        timeout_s=rules.timeout_s,
        max_result_bytes=rules.max_result_bytes,
        truncate=rules.truncate,
        questions=rules.questions,
    )


def _published(entry: Entry, upstream_name: str) -> str:
    return published_name(entry.name, entry.rules(TargetKind.TOOL, upstream_name).name or upstream_name)


def _annotations(offered: Offered, admins: JsonObject) -> JsonObject:
    """The admin's word over the upstream's. `readOnlyHint` is a boolean and always there: absent means that a tool may write.
    Getting a prompt and reading a resource never do, by their protocol."""
    upstreams = offered.definition.get("annotations")
    merged = {**(upstreams if isinstance(upstreams, Mapping) else {}), **admins}
    return {**merged, "readOnlyHint": offered.kind is not TargetKind.TOOL or merged.get("readOnlyHint") is True}


def _without_collisions(kind: TargetKind, candidates: Sequence[Candidate], problems: list[Problem]) -> dict[str, Candidate]:
    of_kind = [candidate for candidate in candidates if candidate.target.kind is kind]
    ordered = sorted(of_kind, key=lambda candidate: (candidate.target.server, candidate.target.upstream_name))
    by_name: dict[str, Candidate] = {}
    by_look: dict[str, Target] = {}
    for candidate in ordered:
        target = candidate.target
        twin, double = by_name.get(target.name), by_look.get(candidate.look)
        if twin is not None:
            problems.append(_collision(target, twin.target, "has the same published name as"))
        elif double is not None and double.server != target.server:
            problems.append(_collision(target, double, f"({target.name}) looks like {double.name} of"))
        else:
            by_name[target.name] = candidate
            by_look.setdefault(candidate.look, target)
    return dict(sorted(by_name.items()))


def _collision(later: Target, earlier: Target, how: str) -> Problem:
    return Problem(
        where=f"{later.server}/{visible(later.upstream_name)}",
        message=f"this {later.kind.value} {how} {earlier.server}/{visible(earlier.upstream_name)}: not published.",
        hint='Give one of them another "name" in the catalog.',
    )


def hash_of(facts: Sequence[JsonObject | str]) -> str:
    """SHA-256 over sorted JSON. Not canonical JSON, whose pure Python takes 0.2 s for 1,000 tools on the event loop; nobody
    else has to compute it, and what upstreams wrote is in it by hashes that are canonical."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode("ascii")).hexdigest()


def facts_of(target: Target) -> JsonObject:
    """All of a target that decides on a call, for the catalog's hash; the definition by its own."""
    return {
        "kind": target.kind.value,
        "name": target.name,
        "server": target.server,
        "server_fingerprint": target.server_fingerprint,
        "upstream_name": target.upstream_name,
        "definition": target.definition_hash,
        "annotations": dict(target.annotations),
        "scope": target.scope,
        "tags": sorted(target.tags),
        "risk": target.risk.value,
        "masking": [target.masking.profile, list(target.masking.columns), list(target.masking.paths)],
        **_additions(target),
        "timeout_s": target.timeout_s,
        "max_result_bytes": target.max_result_bytes,
        "truncate": target.truncate,
    }


def told_of(facts: JsonObject) -> Target:
    """Return the target that `facts_of` told of, with its definition in full, as far as policy and masking look at it.

    Raises:
        (ValueError, KeyError, TypeError): these are no such facts.
    """
    profile, columns, paths = facts["masking"]
    rules = [
        MaskingRule(path=path, unmasked_for=tuple(readers), operator=operator)
        for path, readers, operator in facts.get("masking_rules", ())
    ]
    return Target(
        kind=TargetKind(facts["kind"]),
        name=facts["name"],
        server=facts["server"],
        server_fingerprint=facts["server_fingerprint"],
        upstream_name=facts["upstream_name"],
        definition=facts["definition"],
        definition_hash=facts["definition_hash"],
        annotations=facts["annotations"],
        scope=facts["scope"],
        tags=frozenset(facts["tags"]),
        risk=Risk(facts["risk"]),
        masking=Masking(profile=profile, columns=tuple(columns), paths=tuple(paths), rules=tuple(rules)),
    )


def _additions(target: Target) -> JsonObject:
    """What few catalogs say: absent where it is not said, so that the hash of the others stays what it was."""
    rules = [[rule.path, list(rule.unmasked_for), rule.operator] for rule in target.masking.rules]
    previews = [[one.tool, digest(one.arguments)] for one in target.preview]
    return {
        **({"masking_rules": rules} if rules else {}),
        **({"restore_tokens": True} if target.restore_tokens else {}),
        **({"questions": sorted(target.questions)} if target.questions else {}),
        **({"vault": list(target.vault_except)} if target.vault else {}),
        **({"preview": previews} if previews else {}),
    }
