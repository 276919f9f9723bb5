"""What of a recorded call nobody can see any more, and which conditions would have to.

A record keeps arguments as they may be shown. A rule that reads what was masked or erased had an answer once, and has none now:
it is not asked, for its answer to a mask would be a guess. What a condition reads is taken from its text, rather too much.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from mcpgw.core.answers import ANSWERS

_ARGS = re.compile(
    r"""\bargs\b(?:\s*\.\s*(?P<field>[A-Za-z_]\w*)\b(?!\s*\()|\s*\[\s*(?P<quote>["'])(?P<key>[^"'\\\n]*)(?P=quote)\s*\])?"""
)
"""The name, and which argument is taken at once. Where none is (`size(args)`, `args.exists(…)`), all of them are read."""
_CLAIMS = re.compile(r"\bclaims\b")
_ANSWERS = re.compile(r"\banswers\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unseen:
    """What is not known of a call."""

    arguments: frozenset[str] = frozenset()
    """Names of arguments in which something was masked; `ANSWERS` among them, where answers were brought along."""
    all_arguments: bool = False
    claims: bool = False
    """The caller had claims, and they are gone."""

    def hides(self, reads: "Reads") -> bool:
        """Tell whether something that is read may be other than it looks."""
        if self.claims and reads.claims:
            return True
        if self.all_arguments:
            return reads.all_arguments or bool(reads.arguments)
        return bool(self.arguments) if reads.all_arguments else not self.arguments.isdisjoint(reads.arguments)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reads:
    """What a condition looks at, at most."""

    arguments: frozenset[str] = frozenset()
    all_arguments: bool = False
    claims: bool = False


@dataclass(frozen=True, slots=True)
class Untold:
    """The decision depends on what is not known."""

    rule_ids: tuple[str, ...]
    """Rules that read it; empty where it is the caller's roles that depend on it."""


@lru_cache(maxsize=1024)
def reads_of(source: str) -> Reads:
    """Return what an expression looks at."""
    taken = [found["field"] or found["key"] or "" for found in _ARGS.finditer(source)]
    answers = [ANSWERS] if _ANSWERS.search(source) else []
    return Reads(
        arguments=frozenset([name for name in taken if name] + answers),
        all_arguments="" in taken,
        claims=_CLAIMS.search(source) is not None,
    )
