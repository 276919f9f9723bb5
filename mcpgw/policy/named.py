"""What scopes and rules name: globs over published names, by the kind of what has the name."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mcpgw.core.model import Target, TargetKind
from mcpgw.policy.config import Rule, Scope
from mcpgw.policy.glob import Glob
from mcpgw.policy.wording import Mistake

KEYS: Mapping[str, TargetKind] = {
    "tools": TargetKind.TOOL,
    "prompts": TargetKind.PROMPT,
    "resources": TargetKind.RESOURCE,
}
"""The keys that name something, and what they name. Completions are named by what they complete."""

_EVERYTHING = (Glob.of("*"),)


@dataclass(frozen=True, slots=True)
class Named:
    """Globs that are ready to match. A kind that is not there is not named."""

    globs: Mapping[TargetKind, tuple[Glob, ...]]

    @classmethod
    def by_scope(cls, scope: Scope) -> "Named":
        """Return what the scope names; a scope that names nothing is about tools, by its other criteria.

        Raises:
            Mistake: a pattern that is none.
        """
        given = {"tools": scope.tools, "prompts": scope.prompts, "resources": scope.resources}
        if not any(given.values()):
            return cls({TargetKind.TOOL: _EVERYTHING})
        return cls({KEYS[key]: _globs(key, texts) for key, texts in given.items() if texts})

    @classmethod
    def by_rule(cls, rule: Rule) -> "Named":
        """Return what the rule names; a rule that names nothing is about everything.

        Raises:
            Mistake: a pattern that is none, or a list without any.
        """
        given = {"tools": rule.tools, "prompts": rule.prompts, "resources": rule.resources}
        if all(texts is None for texts in given.values()):
            return cls(dict.fromkeys(KEYS.values(), _EVERYTHING))
        for key, texts in given.items():
            if texts is not None and not texts:
                raise Mistake(key, "is empty, so the rule is about nothing", f'Write {key} = ["*"] for all.')
        return cls({KEYS[key]: _globs(key, texts) for key, texts in given.items() if texts})

    @property
    def exact(self) -> bool:
        """Whether there is no wildcard."""
        return all(glob.exact for globs in self.globs.values() for glob in globs)

    def means(self, target: Target) -> bool:
        """Tell whether it is named on purpose: who wrote `*`, or a risk, did not mean the gateway's own tools."""
        return any(glob.means_own or not target.is_own for glob in self.matching(target))

    def matching(self, target: Target) -> tuple[Glob, ...]:
        """Return the globs that name the target."""
        return tuple(glob for glob in self.globs.get(target.granted_as, ()) if glob.matches(target.name))


def _globs(key: str, texts: Iterable[str]) -> tuple[Glob, ...]:
    try:
        return tuple(Glob.of(text) for text in texts)
    except ValueError as error:
        raise Mistake(key, str(error), "") from None
