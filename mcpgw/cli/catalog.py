"""`mcpgw catalog`: what upstreams offer, what of it was accepted, what changed since; and accepting it."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table
from rich.text import Text

from mcpgw.app import convert
from mcpgw.catalog.drift import Difference, Drift, accept, diff, forget
from mcpgw.catalog.hidden import visible
from mcpgw.catalog.history import Stood, versions
from mcpgw.catalog.history import tell as tell_history
from mcpgw.catalog.load import Catalog, load_catalog
from mcpgw.catalog.lock import LOCK_NAME, write_lock
from mcpgw.catalog.publish import HeldBack, Quarantine
from mcpgw.catalog.registry import Registry
from mcpgw.catalog.standing import ACCEPTED, CHANGED, of_catalog
from mcpgw.catalog.telling import Tone, tell
from mcpgw.cli.common import open_folder, record_changes, system_user
from mcpgw.cli.probe import probe
from mcpgw.cli.terminal import terminal
from mcpgw.core.entries import Changed
from mcpgw.core.errors import ConfigError
from mcpgw.core.model import JsonObject, TargetKind
from mcpgw.core.toml import suggestion
from mcpgw.ledger.record import parse, unpack
from mcpgw.ledger.store import Query
from mcpgw.ports import Definitions
from mcpgw.settings import Settings

catalog = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Folder = Annotated[Path, typer.Option("--dir", "-C", help="The gateway's working folder.")]
Server = Annotated[str, typer.Argument(help="A server of the catalog; all, if none is named.", show_default=False)]

Probe = Callable[[Sequence[str]], Mapping[str, Definitions | str]]
"""Asks the named servers (all, if none is named) what they offer; a text says why one did not answer."""
Confirm = Callable[[str], bool]
Record = Callable[[Sequence[Changed]], object]
"""Makes durable in the ledger what it does not know of these changes, or raises."""

_ALL = 1_000_000
"""More changes than any catalog has."""
_STATES = {
    Quarantine.NEW: "new, not accepted",
    Quarantine.CHANGED: "changed since it was accepted",
    Quarantine.SERVER: "its server is new, or reached in another way",
}


# --- verbs ---------------------------------------------------------------------------------------------------------------


@catalog.command("list")
def list_tools(
    server: Server = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines instead of a table.")] = False,
    folder: Folder = Path(),
) -> None:
    """Ask the servers, and list what they offer: published, or why not."""
    settings = open_folder(folder)
    console = terminal()
    listing = survey(settings.catalog_dir, _prober(settings), server)
    if as_json:
        for row in listing.rows:
            print(json.dumps(asdict(row), ensure_ascii=False))
    else:
        console.print(_table(listing.rows))
        for problem in listing.problems:
            console.print(Text(f"! {problem}", style="yellow"), soft_wrap=True)
    raise typer.Exit(1 if listing.problems else 0)


@catalog.command("diff")
def show_diff(server: Server = "", folder: Folder = Path()) -> None:
    """Show what servers offer against what was accepted. Exit code 1 if anything differs."""
    settings = open_folder(folder)
    drifts = drift_of(settings.catalog_dir, _prober(settings), server)
    console = terminal()
    for drift in drifts:
        for line in describe(drift):
            console.print(line, soft_wrap=True)
    is_clean = all(drift.is_clean for drift in drifts)
    if is_clean:
        console.print(Text(conclusion(drifts)), soft_wrap=True)
    raise typer.Exit(0 if is_clean else 1)


@catalog.command("accept")
def accept_changes(
    server: Server = "",
    tool: Annotated[str, typer.Option(help="Accept this one tool of the server, by the upstream's name.")] = "",
    prompt: Annotated[str, typer.Option(help="Accept this one prompt, by the upstream's name.")] = "",
    resource: Annotated[str, typer.Option(help="Accept this one resource or template, by the upstream's URI.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="Accept all servers.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask. Does not cover flagged definitions.")] = False,
    flagged: Annotated[bool, typer.Option("--flagged", help="Accept flagged definitions too: you have read them.")] = False,
    folder: Folder = Path(),
) -> None:
    """Show what changed, and after a yes pin it in catalog.lock: only what is pinned is published."""
    settings = open_folder(folder)
    console = terminal()
    accepted = accept_offers(
        settings.catalog_dir,
        _prober(settings),
        _wish(server, {TargetKind.TOOL: tool, TargetKind.PROMPT: prompt, TargetKind.RESOURCE: resource}, everything),
        show=lambda line: console.print(line, soft_wrap=True),
        confirm=(lambda _: True) if yes else typer.confirm,
        may_be_flagged=flagged and not yes,
        record=partial(record_changes, settings),
        actor=system_user(),
    )
    raise typer.Exit(0 if accepted else 1)


@catalog.command("history")
def show_history(
    name: Annotated[str, typer.Argument(help="A published name, or with --kind resource a published URI.", show_default=False)],
    kind: Annotated[TargetKind, typer.Option(help="What it is.")] = TargetKind.TOOL,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines: each version with its whole definition.")] = False,
    folder: Folder = Path(),
) -> None:
    """Show the versions of a definition that were in force: since when, accepted by whom, and what each changed."""
    found = versions(f"{kind.value} {name}", _stood(open_folder(folder)))
    if not found:
        raise ConfigError(f"the record knows no {kind.value} {visible(name)}", hint="See the names with `mcpgw catalog list`.")
    console = terminal()
    if as_json:
        for version in found:
            print(json.dumps(asdict(version)))
    else:
        for line in tell_history(found, _local):
            console.print(Text(line), soft_wrap=True)


def _stood(settings: Settings) -> Iterator[Stood]:
    """Yield what the record says stood in the catalog, in order. A record whose payload was erased tells nothing."""
    store = convert.database(settings).connect_read_only()
    try:
        for record in store.search(Query(kinds=(CHANGED, ACCEPTED), limit=_ALL)):
            members = parse(record.leaf)
            for payload in store.payload(record.seq, "standing") if members["facts"]["aspect"] == "catalog" else ():
                yield Stood(
                    time_ns=int(record.index["time_ns"]),
                    actor=visible(str(members["actor"])),
                    was_accepted=members["kind"] == ACCEPTED,
                    targets=json.loads(unpack(payload.packed)),
                )
    finally:
        store.close()


def _local(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns / 1e9, tz=UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _prober(settings: Settings) -> Probe:
    return lambda servers: probe(settings, servers)


# --- list ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that a server offers; its fields are the keys of `--json`."""

    server: str
    kind: str
    upstream_name: str
    name: str
    """The published name; empty where it is not published."""
    risk: str
    state: str


@dataclass(frozen=True, slots=True)
class Listing:
    rows: tuple[Row, ...]
    problems: tuple[str, ...]


def survey(catalog_dir: Path, ask: Probe, server: str = "") -> Listing:
    """Ask the servers and join what they say with the catalog."""
    registry = Registry(catalog_dir)
    loaded = load_catalog(catalog_dir)
    _check_name(server, loaded)
    silent: list[str] = []
    answers = ask([server] if server else [])
    for name, offered in answers.items():
        if isinstance(offered, str):
            silent.append(f"{name}: {visible(offered)}")
        else:
            registry.update_definitions(name, offered)
    snapshot = registry.snapshot
    renamed = {
        (drift.server, one.kind, one.name): one.renamed_from
        for drift in diff(loaded.entries, loaded.lock, answers, [*answers])
        for one in drift.added
        if one.renamed_from
    }
    rows = [
        Row(target.server, target.kind.value, visible(target.upstream_name), target.name, target.risk.value, "published")
        for targets in snapshot.found.values()
        for target in targets.values()
    ]
    rows += [
        Row(held.server, held.kind.value, visible(held.upstream_name), "", "", _state(held, renamed))
        for held in snapshot.held_back
    ]
    shown = sorted(
        (row for row in rows if server in ("", row.server)), key=lambda row: (row.server, row.kind, row.upstream_name)
    )
    return Listing(tuple(shown), (*silent, *map(str, snapshot.problems)))


def _state(held: HeldBack, renamed: Mapping[tuple[str, TargetKind, str], str]) -> str:
    was = renamed.get((held.server, held.kind, held.upstream_name))
    return f"probably renamed from {visible(was)}, not accepted" if was else _STATES[held.why]


def _table(rows: Sequence[Row]) -> Table:
    headings = ("server", "kind", "upstream's name", "published as", "risk", "state")
    table = Table(*(Column(heading, overflow="fold") for heading in headings), box=None, header_style="bold")
    for row in rows:
        state = Text(row.state, style="green" if row.name else "yellow")
        table.add_row(*(Text(cell) for cell in (row.server, row.kind, row.upstream_name, row.name, row.risk)), state)
    return table


# --- diff ----------------------------------------------------------------------------------------------------------------


def drift_of(catalog_dir: Path, ask: Probe, server: str = "") -> tuple[Drift, ...]:
    """Ask the servers and compare what they say with the lock."""
    loaded = load_catalog(catalog_dir)
    _check_name(server, loaded)
    names = [server] if server else []
    return diff(loaded.entries, loaded.lock, ask(names), names)


_STYLES = {
    Tone.GOOD: "green",
    Tone.NOTE: "yellow",
    Tone.BAD: "red",
    Tone.ALARM: "bold red",
    Tone.ADDED: "green",
    Tone.REMOVED: "red",
    Tone.CONTEXT: "dim",
}


def describe(drift: Drift) -> Iterator[Text]:
    """Yield the lines that an admin reads of one server; nothing in them is hidden."""
    yield Text(drift.server, style="bold")
    for line in tell(drift):
        yield Text(line.text, style=_STYLES[line.tone])


def conclusion(drifts: Sequence[Drift]) -> str:
    """Return the last line where nothing differs."""
    if not drifts:
        return "The catalog has no servers, so there is nothing to compare."
    return "Nothing differs from what was accepted."


# --- accept --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be accepted: one thing of a server, a server, or all servers (`server` empty)."""

    server: str = ""
    single: str = ""
    """The upstream's name of the one thing; empty for all of the server."""
    kind: TargetKind = TargetKind.TOOL
    """What the one thing is."""


def _wish(server: str, named: Mapping[TargetKind, str], everything: bool) -> Wish:
    if bool(server) == everything:
        raise ConfigError("name one server, or say --all", hint="See what waits with `mcpgw catalog diff`.")
    single = [(kind, name) for kind, name in named.items() if name]
    if len(single) > 1:
        raise ConfigError("name one of --tool, --prompt and --resource", hint="Or leave them out, to accept the whole server.")
    for kind, name in single:
        if not server:
            hint = f"mcpgw catalog accept SERVER --{kind.value} NAME"
            raise ConfigError(f"--{kind.value} needs the server that offers it", hint=hint)
        return Wish(server, name, kind)
    return Wish(server)


def accept_offers(
    catalog_dir: Path,
    ask: Probe,
    wish: Wish,
    *,
    show: Callable[[Text], object],
    confirm: Confirm,
    may_be_flagged: bool,
    record: Record,
    actor: str,
) -> bool:
    """Show, ask, record and pin exactly what was shown. Returns whether all that was wished for is accepted now.

    Args:
        actor: who accepts, for the record.
        may_be_flagged: whether definitions that hide text or are suspicious may be accepted; a person must have said so, and
            is asked once more when they were shown.

    Raises:
        ConfigError: the wish makes no sense, or the lock changed meanwhile.
        LedgerUnavailable: the acceptance could not be recorded, so nothing is accepted.
    """
    loaded = load_catalog(catalog_dir)
    _check_name(wish.server, loaded)
    names = [wish.server] if wish.server else []
    answers = ask(names)
    drifts = diff(loaded.entries, loaded.lock, answers, names)
    for drift in drifts:
        for line in describe(drift):
            show(line)
    offered = {name: offer for name, offer in answers.items() if not isinstance(offer, str)}
    is_complete = not any(drift.problem for drift in drifts)
    lock = accept(loaded.entries, loaded.lock, offered, wish.single, wish.kind)
    lock = forget(lock, [drift.server for drift in drifts if drift.is_gone])
    if lock == loaded.lock:
        show(Text("Nothing to accept."))
        return is_complete
    flagged = _flagged(drifts, wish)
    if flagged and not may_be_flagged:
        message = f"these definitions are flagged above: {', '.join(flagged)}"
        raise ConfigError(message, hint="Read why. To accept them all the same, say --flagged, without --yes.")
    question = f"Accept all of this{f', {len(flagged)} flagged definitions included' if flagged else ''}?"
    if not confirm(question):
        show(Text("Nothing was accepted."))
        return False
    if load_catalog(catalog_dir).lock != loaded.lock:
        raise ConfigError("catalog.lock changed while you were reading", hint="Look at the diff again.")
    found = Changed(kind=CHANGED, actor="unknown", standing=of_catalog(loaded))
    standing = of_catalog(replace(loaded, lock=lock))
    facts = {**_facts(loaded, drifts, wish), **({"flagged": flagged} if flagged else {})}
    record([found, Changed(kind=ACCEPTED, actor=actor, standing=standing, facts=facts)])
    write_lock(catalog_dir / LOCK_NAME, lock)
    show(Text(f"Accepted in {catalog_dir.name}/{LOCK_NAME}. Commit it."))
    return is_complete


def _flagged(drifts: Sequence[Drift], wish: Wish) -> list[str]:
    return [
        f"{drift.server}/{visible(difference.name)}"
        for drift in drifts
        for difference in _wished(drift, wish)
        if difference.is_flagged
    ]


def _wished(drift: Drift, wish: Wish) -> tuple[Difference, ...]:
    """The differences that the wish is about."""
    if not wish.single:
        return drift.differences
    return tuple(item for item in drift.differences if (item.kind, item.name) == (wish.kind, wish.single))


def _facts(loaded: Catalog, drifts: Sequence[Drift], wish: Wish) -> JsonObject:
    """Who is served by what from now on, for the record: names and hashes, no definition."""
    servers = {
        drift.server: {
            "fingerprint": loaded.entries[drift.server].fingerprint if drift.server in loaded.entries else "",
            "definitions": [f"{item.kind.value} {visible(item.name)}" for item in _wished(drift, wish)],
        }
        for drift in drifts
        if not drift.is_clean and not drift.problem
    }
    return {"servers": servers}


def _check_name(server: str, loaded: Catalog) -> None:
    known = {*loaded.entries, *loaded.lock.servers}
    if server and server not in known:
        raise ConfigError(f'the catalog has no server "{server}"', hint=suggestion(server, known))
