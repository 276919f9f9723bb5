"""Globs over published names: `*` stands for any text, everything else for itself. Case counts.

`fnmatch` goes through a backtracking regular expression and folds case on some systems; this runs in linear time anywhere.
"""

from dataclasses import dataclass

from mcpgw.core.naming import OWN_SERVER, SEPARATOR

_OWN = f"{OWN_SERVER}{SEPARATOR}"
_SUSPICIOUS = "?[]{}"
"""Wildcards elsewhere, literals here. A rule that silently never fires is worse than a refused one."""


@dataclass(frozen=True, slots=True)
class Glob:
    """A pattern that is ready to match."""

    text: str
    parts: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> "Glob":
        """Raises: ValueError: empty, or with a character that is a wildcard elsewhere but not here."""
        if not text:
            raise ValueError("the pattern is empty")
        for character in _SUSPICIOUS:
            if character in text:
                raise ValueError(f"{text!r} holds {character!r}, but `*` is the only wildcard")
        return cls(text, tuple(text.split("*")))

    @property
    def exact(self) -> bool:
        return len(self.parts) == 1

    @property
    def means_own(self) -> bool:
        """Whether it is about tools of the gateway's own, and not just about every tool."""
        return self.parts[0].startswith(_OWN)

    def matches(self, name: str) -> bool:
        first, *rest = self.parts
        if not rest:
            return name == first
        *middle, last = rest
        if len(name) < len(first) + len(last) or not (name.startswith(first) and name.endswith(last)):
            return False
        position, end = len(first), len(name) - len(last)
        for part in middle:
            found = name.find(part, position, end)
            if found < 0:
                return False
            position = found + len(part)
        return True
