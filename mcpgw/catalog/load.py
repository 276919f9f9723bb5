"""Read `catalog/*.toml`, one file per upstream server: all of it, or an error that lists all that is wrong."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mcpgw.catalog import keys
from mcpgw.catalog.entry import ChildLimits, Entry, KeyPath, Rules, Source, Transport, WhenDown
from mcpgw.catalog.keys import Kind, complaints
from mcpgw.catalog.lock import LOCK_NAME, Lock, read_lock
from mcpgw.catalog.problems import CatalogError, Problem
from mcpgw.catalog.references import Written, flagged_secret, has_reference, literal_secret, malformed, secret_shape
from mcpgw.core.answers import Question
from mcpgw.core.errors import ConfigError
from mcpgw.core.model import (
    Masking,
    MaskingRule,
    Preview,
    Risk,
)
from mcpgw.core.naming import MAX_LENGTH, SEPARATOR, is_published_name, is_server_name, published_name
from mcpgw.core.toml import parse

_MOVE_OUT = "Put it into a file or a variable, and write ${file:secrets/NAME} or ${env:NAME} here."
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """What stands in the folder: the admins' entries by server name, and what was accepted."""

    entries: Mapping[str, Entry] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)


def load_catalog(catalog_dir: Path) -> Catalog:
    """Read the folder of catalog files and its lock. A folder without files is an empty catalog.

    Raises:
        CatalogError: a file cannot be read or is wrong; nothing of the folder may be used.
    """
    problems: list[Problem] = []
    entries: dict[str, Entry] = {}
    if not catalog_dir.is_dir():
        raise CatalogError([Problem(where=f"{catalog_dir.name}/", message="there is no such folder.", hint="Run mcpgw init.")])
    for path in sorted(catalog_dir.glob("*.toml")):
        if path.name.startswith("."):
            continue  # an editor's unsaved copy
        file = f"{catalog_dir.name}/{path.name}"
        try:
            entry = read_entry(file, path.stem, _text_of(path, file))
        except CatalogError as error:
            problems += error.problems
            continue
        if entry.name in entries:
            message = f'the server "{entry.name}" is described in {entries[entry.name].source.file} already.'
            problems.append(Problem(where=entry.source.at("name"), message=message, hint="Give one of them another name."))
        else:
            entries[entry.name] = entry
    lock = Lock()
    try:
        lock = read_lock(catalog_dir / LOCK_NAME)
    except CatalogError as error:
        problems += error.problems
    if problems:
        raise CatalogError(problems)
    return Catalog(entries=entries, lock=lock)


def read_entry(file: str, stem: str, text: str) -> Entry:
    """Read one file's text. `file` is its name for messages; `stem` names the server where the text does not.

    Raises:
        CatalogError: all that is wrong in it.
    """
    try:
        data = parse(text, file)
    except ConfigError as error:
        message = str(error).removeprefix(f"{error.where}: ")
        raise CatalogError([Problem(where=error.where, message=f"{message}.")]) from None
    reader = _Reader(Source(file, text), stem, data)
    problems = list(reader.problems())
    if problems:
        raise CatalogError(problems)
    return reader.entry()


def _text_of(path: Path, file: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise CatalogError([Problem(where=file, message=f"cannot be read: {error.strerror}.")]) from None
    except UnicodeDecodeError:
        raise CatalogError([Problem(where=file, message="is not UTF-8 text.")]) from None


class _Reader:
    """One file's data: `problems` judges it; `entry` may only be asked for when there are none."""

    def __init__(self, source: Source, stem: str, data: dict[str, Any]) -> None:
        self._source = source
        self._data = data
        self._name = data.get("name", stem)
        self._is_stdio = data.get("transport") == Transport.STDIO

    def problems(self) -> Iterator[Problem]:
        shape = list(self._shape())
        yield from shape
        if not shape:
            yield from self._server()
            yield from self._secrets()
            yield from self._published()

    # --- shape: keys and types ---

    def _shape(self) -> Iterator[Problem]:
        transport = self._data.get("transport")
        if transport is None:
            hint = 'Add `transport = "stdio"`, `"http"` or `"sse"`.'
            yield self._problem((), "`transport` is missing.", hint)
        yield from self._misplaced()
        yield from self._table((), {**keys.SERVER, **keys.STDIO, **keys.REMOTE})
        yield from self._table(("limits",), keys.LIMITS)
        yield from self._rules(("defaults",), keys.DEFAULTS)
        for plural, known in keys.SINGLE.values():
            tables = self._data.get(plural)
            for name, table in tables.items() if isinstance(tables, dict) else ():
                if isinstance(table, dict):
                    yield from self._rules((plural, name), known)
                else:
                    yield self._problem((plural, name), f"`{name}` must be a table.", f"Write `[{plural}.{name}]`.")

    def _misplaced(self) -> Iterator[Problem]:
        """Keys of the other transport, and the one key that this transport cannot do without."""
        transport = self._data.get("transport")
        if transport not in tuple(Transport):
            return
        needed, foreign = ("command", keys.REMOTE) if self._is_stdio else ("url", keys.STDIO)
        for key in self._data:
            if key in foreign:
                yield self._problem((key,), f'`{key}` means nothing to `transport = "{transport}"`.', "Remove it.")
        if needed not in self._data:
            yield self._problem(("transport",), f'`transport = "{transport}"` needs `{needed}`.')

    def _rules(self, path: KeyPath, known: Mapping[str, Kind]) -> Iterator[Problem]:
        yield from self._table(path, known)
        yield from self._table((*path, "redaction"), keys.REDACTION)
        yield from self._masking_rules((*path, "redaction", "rules"))
        yield from self._table((*path, "annotations"), keys.ANNOTATIONS)
        yield from self._preview((*path, "preview"))

    def _preview(self, path: KeyPath) -> Iterator[Problem]:
        yield from self._table(path, keys.PREVIEW)
        table: Any = self._data
        for key in path:
            table = table.get(key) if isinstance(table, dict) else None
        if isinstance(table, dict) and len(table.keys() & keys.PREVIEW.keys()) != 1:
            hint = 'Write preview = { arguments = { dry_run = true } }, or preview = { tool = "its_name" }.'
            yield self._problem(path, "`preview` needs `arguments` or `tool`, and not both.", hint)

    def _masking_rules(self, path: KeyPath) -> Iterator[Problem]:
        table: Any = self._data
        for key in path:
            table = table.get(key) if isinstance(table, dict) else None
        for position, rule in enumerate(table if isinstance(table, list) else ()):
            if isinstance(rule, dict):
                for complaint in complaints(rule, keys.RULE):
                    yield self._problem((*path, position, complaint.key), complaint.message, complaint.hint)
                if "path" not in rule:
                    yield self._problem((*path, position), "a rule needs `path`.", 'Write it like path = "rows[*].ssn".')

    def _table(self, path: KeyPath, known: Mapping[str, Kind]) -> Iterator[Problem]:
        table: Any = self._data
        for key in path:
            table = table.get(key, {}) if isinstance(table, dict) else {}
        if isinstance(table, dict):  # what should be a table and is none was said where it stands
            for complaint in complaints(table, known):
                yield self._problem((*path, complaint.key), complaint.message, complaint.hint)

    # --- meaning ---

    def _server(self) -> Iterator[Problem]:
        if not is_server_name(self._name):
            message = f'"{self._name}" cannot name a server.'
            hint = 'Use up to 31 of a-z, 0-9, "-" and single "_", beginning with a letter or digit; "mcpgw" is taken.'
            yield self._problem(("name",), message, hint)
        if not self._is_stdio:
            yield from self._address()
        headers = {name.lower() for name in self._data.get("headers", {})}
        for name in self._data.get("headers", {}):
            if not _HEADER_NAME.fullmatch(name):
                yield self._problem(("headers", name), "this is no name of a header.", "Use letters, digits and hyphens.")
        if "bearer" in self._data and "authorization" in headers:
            yield self._problem(("bearer",), "`headers` give Authorization already.", "Keep one of the two.")

    def _address(self) -> Iterator[Problem]:
        try:
            address = urlsplit(self._data["url"])
            fits = address.scheme in ("http", "https") and bool(address.hostname)
        except ValueError:
            fits = False
        if not fits:
            yield self._problem(("url",), "`url` must be an address that begins with https:// or http://.")

    def _secrets(self) -> Iterator[Problem]:
        for key in ("command", "cwd"):
            if "${" in self._data.get(key, ""):
                yield self._problem((key,), f"`{key}`: references are not understood here.", "Write it out.")
        for path, text in self._texts():
            if wrong := malformed(text):
                yield self._problem(path, f"`{_dotted(path)}`: {wrong}.", "Write ${env:NAME} or ${file:path}.")
            elif why := self._written_out(path, text):
                yield self._problem(path, f"`{_dotted(path)}` is a secret written out ({why}).", _MOVE_OUT)

    def _texts(self) -> Iterator[tuple[KeyPath, str]]:
        """Every text in which references are understood, and so secrets are looked for."""
        for key in ("url", "bearer"):
            if key in self._data:
                yield (key,), self._data[key]
        for position, text in enumerate(self._data.get("args", ())):
            yield ("args", position), text
        for table in ("env", "headers"):
            for name, text in self._data.get(table, {}).items():
                yield (table, name), text

    def _written_out(self, path: KeyPath, text: str) -> str:
        match path:
            case ("bearer",):
                return "" if has_reference(text) else "a bearer token always is one"
            case ("args", int(position)):
                return _why(secret_shape(text)) or ("it follows the option for one" if self._after_flag(position) else "")
            case ("env" | "headers", str(name)):
                return _why(literal_secret(name, text))
            case _:
                return _why(secret_shape(text, is_address=True))

    def _after_flag(self, position: int) -> bool:
        """`--api-key VALUE` or `--api-key=VALUE`, where no reference stands for the value."""
        return bool(flagged_secret(self._data["args"], position))

    def _published(self) -> Iterator[Problem]:
        """Names that an admin chose; those that upstreams chose are judged when they are known."""
        renamed = [
            (plural, key, table["name"])
            for plural, _ in keys.SINGLE.values()
            for key, table in self._data.get(plural, {}).items()
            if "name" in table
        ]
        for plural, key, name in renamed:
            if not is_published_name(f"{self._name}{SEPARATOR}{name}"):
                message = f"no client accepts the published name {published_name(self._name, name)}."
                hint = f"Use letters, digits, _ and -, together at most {MAX_LENGTH} characters."
                yield self._problem((plural, key, "name"), message, hint)

    def _problem(self, path: KeyPath, message: str, hint: str = "") -> Problem:
        return Problem(where=self._source.at(*path), message=message, hint=hint)

    # --- the entry ---

    def entry(self) -> Entry:
        data = self._data
        defaults = _rules(data.get("defaults", {}), Rules())
        return Entry(
            name=self._name,
            transport=Transport(data["transport"]),
            source=self._source,
            command=data.get("command", ""),
            args=tuple(data.get("args", ())),
            cwd=data.get("cwd", ""),
            env=data.get("env", {}),
            inherit_env=tuple(data.get("inherit_env", ())),
            limits=ChildLimits(**data.get("limits", {})),
            private=data.get("addresses") == "private",
            url=data.get("url", ""),
            headers=data.get("headers", {}),
            bearer=data.get("bearer", ""),
            enabled=data.get("enabled", True),
            unavailable=WhenDown(data.get("unavailable", WhenDown.HIDE)),
            defaults=defaults,
            single={
                kind: {name: _rules(table, defaults) for name, table in data.get(plural, {}).items()}
                for kind, (plural, _) in keys.SINGLE.items()
            },
        )


def _rules(table: Mapping[str, Any], base: Rules) -> Rules:
    """Work a table into the rules around it: tags and masking add up, so that a tool cannot lose them by forgetting."""
    redaction = table.get("redaction", {})
    masking = Masking(
        profile=redaction.get("profile", base.masking.profile),
        columns=_union(base.masking.columns, redaction.get("columns", ())),
        paths=_union(base.masking.paths, redaction.get("paths", ())),
        rules=(*base.masking.rules, *map(_masking_rule, redaction.get("rules", ()))),
    )
    return Rules(
        enabled=table.get("enabled", base.enabled),
        name=table.get("name", ""),
        scope=table.get("scope", base.scope),
        tags=base.tags | frozenset(table.get("tags", ())),
        risk=Risk(table.get("risk", base.risk)),
        masking=masking,
        restore_tokens=table.get("restore_tokens", base.restore_tokens),
        vault=table.get("vault", base.vault),
        vault_except=_union(base.vault_except, table.get("vault_except", ())),
        timeout_s=float(table.get("timeout_s", base.timeout_s)),
        max_result_bytes=table.get("max_result_bytes", base.max_result_bytes),
        truncate=table.get("truncate", base.truncate),
        questions=frozenset(map(Question, table["questions"])) if "questions" in table else base.questions,
        annotations=table.get("annotations", {}),
        preview=tuple(_preview(one) for one in [table.get("preview", {})] if one),
    )


def _preview(table: Mapping[str, Any]) -> Preview:
    return Preview(tool=table.get("tool", ""), arguments=table.get("arguments", {}))


def _masking_rule(table: Mapping[str, Any]) -> MaskingRule:
    return MaskingRule(
        path=table["path"], unmasked_for=tuple(table.get("unmasked_for", ())), operator=table.get("operator", "")
    )


def _union(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*first, *second)))


def _why(written: Sequence[Written]) -> str:
    return written[0].why if written else ""


def _dotted(path: KeyPath) -> str:
    return ".".join(map(str, path))
