"""The past under another policy: recorded calls, judged again by the policy room, and what would have been different.

Every call is judged as it was recorded: the caller as they were then, the target as the catalog had it then (or as another
catalog has it), the clean arguments, the time of arrival. Where the answer depends on what no record holds, there is none.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mcpgw.catalog.publish import told_of
from mcpgw.core.model import (
    Allow,
    Call,
    Decision,
    Hold,
    JsonObject,
    Masking,
    Origin,
    Target,
    TargetKind,
    UnknownTarget,
)
from mcpgw.ledger.recorded import CatalogStood, Effect, Passed, RecordedCall, Told
from mcpgw.policy import Explanation, Policy, Unseen, Untold
from mcpgw.ports import Catalog

_ORIGIN = Origin(transport="replay", protocol_version="")
_MAX_CHANGES = 1000
"""Kinds of change that are told apart: bounds memory."""
_MANY = ("(further rules)",)

NO_CATALOG = "calls of which no text of the catalog is kept; give the catalog by --catalog"
NOT_IN_CATALOG = "calls of targets that the catalog as it was recorded does not have so"


@dataclass(frozen=True, slots=True)
class Change:
    """One way in which decisions differ: `allow` was said, and `hold` would be, by these rules."""

    was: Effect
    now: Effect
    rule_ids: tuple[str, ...]
    """What would decide; where less would happen to a call than did, what decided and would not any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    call: RecordedCall = field(repr=False)
    reason: str
    """What the caller would be told."""


@dataclass(slots=True)
class Changed:
    count: int = 0
    examples: list[Example] = field(default_factory=list, repr=False)


@dataclass(slots=True)
class MaskedOtherwise:
    """Calls of one target whose catalog entry masks other places than it did."""

    calls: int = 0
    no_longer: set[str] = field(default_factory=set)
    newly: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Report:
    """What judging again found. Its size depends on the rules and not on the calls."""

    judged: int = 0
    """Calls that the policy decided on again."""
    same: int = 0
    changes: dict[Change, Changed] = field(default_factory=dict)
    untold: Counter[tuple[str, ...]] = field(default_factory=Counter)
    """Calls whose decision depends on what was masked or erased, by the rules that read it."""
    passed: Counter[str] = field(default_factory=Counter)
    """Calls that could not be judged at all, by why."""
    masking: dict[str, MaskedOtherwise] = field(default_factory=dict)

    @property
    def different(self) -> int:
        return sum(change.count for change in self.changes.values())

    def would_be(self, effect: Effect) -> int:
        """Return how many calls would newly end so."""
        return sum(changed.count for change, changed in self.changes.items() if change.now is effect)


class Rejudging:
    """Judges recorded calls again, one after the other."""

    def __init__(self, policy: Policy, own: Sequence[Target], catalogs: Sequence[Catalog] = (), examples: int = 3) -> None:
        """`catalogs`: the one catalog to judge with, or none: then each call meets the one of its time."""
        self._policy = policy
        self._own = own
        self._candidates = catalogs
        self._examples = examples
        self._then: Mapping[tuple[TargetKind, str], Target] = {}
        self.report = Report()

    def take(self, told: Iterable[Told]) -> Report:
        for one in told:
            match one:
                case CatalogStood():
                    self._then = _targets(one.targets)
                case Passed():
                    self.report.passed[one.why.value] += one.count
                case RecordedCall():
                    self._judge(one)
        return self.report

    def _judge(self, recorded: RecordedCall) -> None:
        target = self._target(recorded)
        if isinstance(target, str):
            self.report.passed[target] += 1
            return
        self.report.judged += 1
        judged = self._policy.rejudge(_call(recorded, target), _unseen(recorded))
        if isinstance(judged, Untold):
            self.report.judged -= 1
            self.report.untold[judged.rule_ids] += 1
            return
        self._compare(recorded, judged)

    def _compare(self, recorded: RecordedCall, judged: Explanation) -> None:
        now = effect_of(judged.decision)
        if now is recorded.effect:
            self.report.same += 1
            return
        ruling = judged.decision.ruling
        deciding = recorded.rule_ids if now is Effect.ALLOW else ruling.rule_ids
        change = Change(recorded.effect, now, deciding)
        if change not in self.report.changes and len(self.report.changes) >= _MAX_CHANGES:
            change = replace(change, rule_ids=_MANY)
        changed = self.report.changes.setdefault(change, Changed())
        changed.count += 1
        if len(changed.examples) < self._examples:
            changed.examples.append(Example(call=recorded, reason=ruling.reason))

    def _target(self, recorded: RecordedCall) -> Target | UnknownTarget | str:
        """Return what was called, or why nobody can say."""
        for own in [target for target in self._own if (target.kind, target.name) == (recorded.kind, recorded.name)]:
            return own
        then = _found(self._then, recorded)
        for catalog in self._candidates:
            found = catalog.find(recorded.kind, recorded.name)
            for before in then:
                self._compare_masking(before, found)
            return found
        if not recorded.server:
            return UnknownTarget(kind=recorded.kind, name=recorded.name)
        if not self._then:
            return NO_CATALOG
        same = [
            one for one in then if (one.definition_hash, one.server_fingerprint) == (recorded.definition, recorded.fingerprint)
        ]
        return same[0] if same else NOT_IN_CATALOG

    def _compare_masking(self, before: Target, after: Target | UnknownTarget) -> None:
        if isinstance(after, UnknownTarget) or before.masking == after.masking:
            return
        found = self.report.masking.setdefault(before.name, MaskedOtherwise())
        found.calls += 1
        found.no_longer |= _places(before.masking) - _places(after.masking)
        found.newly |= _places(after.masking) - _places(before.masking)


def effect_of(decision: Decision) -> Effect:
    match decision:
        case Allow():
            return Effect.ALLOW
        case Hold():
            return Effect.HOLD
    return Effect.DENY


def _call(recorded: RecordedCall, target: Target | UnknownTarget) -> Call:
    return Call(
        id=recorded.call_id,
        identity=recorded.identity,
        target=target,
        arguments=recorded.arguments,
        origin=_ORIGIN,
        received_ns=recorded.received_ns,
        previews=recorded.previews,
    )


def _unseen(recorded: RecordedCall) -> Unseen:
    """Where no rule could look at the arguments, for something that is masked by now, what they all were is hidden."""
    hides_all = not recorded.has_arguments or (recorded.was_unsuitable and bool(recorded.masked))
    return Unseen(arguments=recorded.masked, all_arguments=hides_all, claims=not recorded.has_claims)


def _targets(told: JsonObject) -> Mapping[tuple[TargetKind, str], Target]:
    try:
        targets = [told_of(facts) for facts in told.values() if isinstance(facts, Mapping)]
    except (ValueError, KeyError, TypeError):
        return {}  # told in another way than this version does
    return {(target.kind, target.name): target for target in targets}


def _found(targets: Mapping[tuple[TargetKind, str], Target], recorded: RecordedCall) -> list[Target]:
    """Return the target, if it is there. What is completed are prompts and resource templates."""
    completed = recorded.kind is TargetKind.COMPLETION
    kinds = (TargetKind.PROMPT, TargetKind.RESOURCE) if completed else (recorded.kind,)
    found = [targets[kind, recorded.name] for kind in kinds if (kind, recorded.name) in targets]
    return [replace(one, kind=recorded.kind) for one in found[:1]]


def _places(masking: Masking) -> set[str]:
    rules = {f"{rule.path} but for {', '.join(rule.unmasked_for) or 'nobody'}" for rule in masking.rules}
    return {f"profile {masking.profile}", *(f"column {name}" for name in masking.columns), *masking.paths, *rules}
