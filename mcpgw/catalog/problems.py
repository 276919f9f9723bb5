"""What is wrong with a catalog, as sentences for the admin who can mend it. A problem never holds a secret's value."""

from collections.abc import Sequence
from dataclasses import dataclass

from mcpgw.core.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing to mend: `where` is `file:line` for a file, else `server/name` of what an upstream offers."""

    where: str
    message: str
    hint: str = ""
    """One imperative sentence, or empty."""

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" + (f" {self.hint}" if self.hint else "")


class CatalogError(ConfigError):
    """The catalog cannot be used as it is. `problems` holds all that was found, not only the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)), hint="Mend the lines named, then try again.")
        self.problems = tuple(problems)
