"""The nouns of the catalog: what an admin's file says of one upstream server and of what it offers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

from mcpgw.catalog.problems import CatalogError, Problem
from mcpgw.catalog.references import ReferenceUnresolved, substitute
from mcpgw.core.answers import Question
from mcpgw.core.canonical import digest
from mcpgw.core.model import (
    JsonObject,
    Masking,
    Preview,
    Risk,
    TargetKind,
)
from mcpgw.core.toml import line_of

KeyPath: TypeAlias = tuple[str | int, ...]
"""Keys from the top of a file; a position in a list is a number."""


class Transport(StrEnum):
    STDIO = "stdio"
    HTTP = "http"
    """Streamable HTTP."""
    SSE = "sse"
    """The HTTP+SSE transport of 2024-11-05."""


class WhenDown(StrEnum):
    """What a list shows of a server that does not answer. Calling says that it is down in both cases."""

    HIDE = "hide"
    LIST = "list"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the catalog says of one tool, prompt or resource, defaults worked in."""

    enabled: bool = True
    name: str = ""
    """Its part of the published name; empty where it is the upstream's own. A resource has none."""
    scope: str = ""
    tags: frozenset[str] = frozenset()
    risk: Risk = Risk.LOW
    masking: Masking = field(default_factory=Masking)
    restore_tokens: bool = False
    vault: bool = False
    vault_except: tuple[str, ...] = ()
    timeout_s: float = 60.0
    max_result_bytes: int = 100_000
    truncate: bool = False
    questions: frozenset[Question] = frozenset()
    annotations: JsonObject = field(default_factory=dict)
    preview: tuple[Preview, ...] = ()
    """Its `tool` is the upstream's name of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildLimits:
    """What a server that the gateway starts may take, each of its processes by itself; 0 for no limit."""

    memory_mb: int = 4096
    """Data that it can write to, in MiB. Enough for Node and for a language model of the small kind."""
    open_files: int = 1024
    cpu_s: int = 0
    """Seconds of CPU in its whole life, which is the gateway's, so there is none unless it is set."""


@dataclass(frozen=True, slots=True)
class Source:
    """The file that an entry was read from, for messages that name a line."""

    file: str
    """As the admin knows it: `catalog/bank.toml`."""
    text: str = field(default="", repr=False)

    def at(self, *path: str | int) -> str:
        """Return `file:line` of the key, or of the nearest table around it."""
        return f"{self.file}:{line_of(self.text, path)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How to reach a server, secrets filled in. Made right before use and never kept; its repr shows no value."""

    transport: Transport
    command: str = ""
    args: tuple[str, ...] = field(default=(), repr=False)
    cwd: Path = Path()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The catalog's `env` and the variables of `inherit_env` that are set; nothing else of the gateway's environment."""
    url: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The catalog's `headers`, and `Authorization` from `bearer`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One upstream server. Texts hold references, never secrets."""

    name: str
    transport: Transport
    source: Source = field(compare=False)
    command: str = ""
    args: tuple[str, ...] = ()
    cwd: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    inherit_env: tuple[str, ...] = ()
    limits: ChildLimits = ChildLimits()
    private: bool = False
    """The name in `url` may resolve to an address in a private network."""
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    bearer: str = ""
    enabled: bool = True
    unavailable: WhenDown = WhenDown.HIDE
    defaults: Rules = Rules()
    single: Mapping[TargetKind, Mapping[str, Rules]] = field(default_factory=dict)
    """Rules for single tools, prompts and resources, by the upstream's name, URI or URI template."""

    @property
    def questions(self) -> frozenset[Question]:
        """What the server may ask the callers of some of what it offers."""
        said = [self.defaults, *(rules for named in self.single.values() for rules in named.values())]
        return frozenset[Question]().union(*(rules.questions for rules in said))

    def rules(self, kind: TargetKind, upstream_name: str) -> Rules:
        """Return the rules for one target: its own, or the server's defaults."""
        return self.single.get(kind, {}).get(upstream_name, self.defaults)

    @property
    def reached(self) -> JsonObject:
        """How the server is reached, references unresolved: a new password leaves it, another command changes it."""
        if self.transport is Transport.STDIO:
            return {
                "transport": self.transport.value,
                "command": self.command,
                "args": list(self.args),
                "cwd": self.cwd,
                "env": dict(self.env),
                "inherit_env": list(self.inherit_env),
            }
        return {
            "transport": self.transport.value,
            "url": self.url,
            "headers": dict(self.headers),
            "bearer": self.bearer,
        }

    @property
    def fingerprint(self) -> str:
        """Hash of `reached`: changes when another server may answer to the name."""
        return digest(self.reached)

    @property
    def connection(self) -> str:
        """Hash of all that a connection is made from: changes when it has to be made anew."""
        limits = [self.limits.memory_mb, self.limits.open_files, self.limits.cpu_s]
        return digest({**self.reached, "limits": limits, "private": self.private})

    def resolve(self, folder: Path, environ: Mapping[str, str]) -> Access:
        """Fill in the secrets. Paths are relative to `folder`, the one that holds the catalog.

        Raises:
            CatalogError: references that cannot be resolved, or values that cannot be sent: all of them, each with its
                file and key, never with a value.
        """
        filler = _Filler(self.source, folder, environ)
        inherited = {name: environ[name] for name in self.inherit_env if name in environ}
        access = Access(
            transport=self.transport,
            command=self.command,
            args=tuple(filler.fill(text, "args", position) for position, text in enumerate(self.args)),
            cwd=folder / self.cwd,
            env={**inherited, **{name: filler.fill(text, "env", name) for name, text in self.env.items()}},
            url=filler.fill(self.url, "url"),
            headers={name: filler.fill_header(text, "headers", name) for name, text in self.headers.items()}
            | ({"Authorization": f"Bearer {filler.fill_header(self.bearer, 'bearer')}"} if self.bearer else {}),
        )
        if filler.problems:
            raise CatalogError(filler.problems)
        return access


class _Filler:
    """Substitutes references and collects what could not be."""

    def __init__(self, source: Source, folder: Path, environ: Mapping[str, str]) -> None:
        self.problems: list[Problem] = []
        self._source = source
        self._folder = folder
        self._environ = environ

    def fill(self, text: str, *path: str | int) -> str:
        return self._fill(text, lambda value: "\0" not in value, "a NUL character", path)

    def fill_header(self, text: str, *path: str | int) -> str:
        """A line break in a header's value would begin another header (RFC 9110 section 5.5)."""
        return self._fill(text, lambda value: not set(value) & set("\0\r\n"), "a line break or NUL", path)

    def _fill(self, text: str, sendable: Callable[[str], bool], what: str, path: KeyPath) -> str:
        key = f"`{'.'.join(map(str, path))}`"
        try:
            value = substitute(text, self._folder, self._environ)
        except ReferenceUnresolved as error:
            self._complain(path, f"{key}: {error}.", "Set it, or name another one.")
            return ""
        if not sendable(value):
            self._complain(path, f"{key}: its value holds {what}, which cannot be sent.", "Mend the value where it is kept.")
            return ""
        return value

    def _complain(self, path: KeyPath, message: str, hint: str) -> None:
        self.problems.append(Problem(where=self._source.at(*path), message=message, hint=hint))
