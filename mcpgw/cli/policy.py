"""`mcpgw policy replay`: what another policy would have made of the calls that were recorded."""

import json
import time
from contextlib import closing
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import anyio
import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mcpgw.app import convert, own
from mcpgw.app.rejudging import Change, Changed, Example, Rejudging, Report
from mcpgw.catalog.registry import Registry
from mcpgw.cli.common import open_folder, open_ledger, readers_context, system_user
from mcpgw.cli.log import parse_end, parse_time
from mcpgw.cli.terminal import terminal
from mcpgw.core.entries import Event
from mcpgw.core.errors import ConfigError
from mcpgw.core.visible import visible, visible_json
from mcpgw.ledger.recorded import Effect, calls, span_of
from mcpgw.policy import UNSUITABLE, Policy
from mcpgw.settings import Settings

policy = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

FAILED_EXIT = 3
"""Exit code where something of `--fail-on` was found; 1 and 2 are for failures and mistakes."""
_MAX_SHOWN = 160
"""Characters of the arguments in an example; JSON has them whole."""


class FailOn(StrEnum):
    """What is not to be overlooked in a pipeline."""

    ALLOW = "allow"
    HOLD = "hold"
    DENY = "deny"
    UNTOLD = "untold"
    ANY = "any"


@policy.callback()
def _verbs() -> None:
    """Judge the calls of the past by another policy, before it goes live."""


@policy.command()
def replay(
    file: Annotated[Path, typer.Option("--policy", help="A config.toml with the roles, scopes, rules and [approval] to try.")],
    catalog: Annotated[
        Path | None, typer.Option(help="A catalog's folder to try as well; else each call meets its own.")
    ] = None,
    since: Annotated[str, typer.Option("--from", help="2026-11-20T00:00Z, or an age as 3d; local time unless it says.")] = "",
    until: Annotated[
        str, typer.Option("--to", help="The first moment that is not asked for any more; a day counts to its end. As --from.")
    ] = "",
    examples: Annotated[int, typer.Option(min=0, max=100, help="Examples of each change.")] = 3,
    fail_on: Annotated[
        list[FailOn] | None,
        typer.Option(
            metavar="allow|hold|deny|untold|any", help="Exit with 3 if calls would newly end so, or cannot be told. Repeatable."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    folder: Annotated[Path, typer.Option("--dir", "-C", help="The gateway's working folder.")] = Path(),
) -> None:
    """Judge recorded calls by another policy, and say what would have been different. The reading is recorded."""
    settings = open_folder(folder)
    candidate = convert.candidate(settings, file)
    now = time.time()
    since_ns = parse_time(since, now, "--from") if since else 0
    until_ns = parse_end(until, now, "--to") if until else 2**63 - 1
    if since_ns >= until_ns:
        raise ConfigError("no time is asked for: --to is not after --from", where="--to")
    if catalog is not None and not catalog.is_dir():
        raise ConfigError("there is no such folder", where=str(catalog))
    rejudging = Rejudging(
        candidate,
        own=[offer.target for offer in own.offers(settings)],
        catalogs=[Registry(catalog)] if catalog else [],
        examples=examples,
    )
    anyio.run(_note, settings, candidate, since_ns, until_ns)  # before anything is shown
    report = _judged(settings, rejudging, since_ns, until_ns)
    if as_json:
        print(json.dumps(as_data(report, candidate)))
    else:
        terminal().print(render(report))
    if _fails(report, fail_on or ()):
        raise typer.Exit(FAILED_EXIT)


def _judged(settings: Settings, rejudging: Rejudging, since_ns: int, until_ns: int) -> Report:
    with closing(convert.database(settings).connect_read_only()) as store:
        start, end = span_of(store, since_ns, until_ns)
        return rejudging.take(calls(store, start, end, UNSUITABLE))


async def _note(settings: Settings, candidate: Policy, since_ns: int, until_ns: int) -> None:
    facts = {"what": "policy replay", "policy": candidate.policy_hash, "since_ns": str(since_ns), "until_ns": str(until_ns)}
    async with open_ledger(settings, readers_context) as ledger:
        await ledger.append(Event(kind="evidence.read", actor=system_user(), facts=facts))


def _fails(report: Report, fail_on: tuple[FailOn, ...] | list[FailOn]) -> bool:
    found = {effect.value for effect in Effect if report.would_be(effect)}
    found |= {FailOn.ANY} if report.different else set()
    found |= {FailOn.UNTOLD} if report.untold else set()
    return bool(found & set(fail_on))


_WORDS = {
    (Effect.ALLOW, Effect.DENY): "newly denied",
    (Effect.HOLD, Effect.DENY): "newly denied, was held",
    (Effect.ALLOW, Effect.HOLD): "newly held",
    (Effect.DENY, Effect.HOLD): "newly held, was denied",
    (Effect.HOLD, Effect.ALLOW): "newly allowed, was held",
    (Effect.DENY, Effect.ALLOW): "newly allowed, was denied",
}


def render(report: Report) -> RenderableType:
    """Return the report for people: changes by rule with examples, then what could not be told."""
    told: list[RenderableType] = [Text(_summary(report), style="bold")]
    for change, changed in _ordered(report):
        told += [
            Text(),
            Text(f"{changed.count} {_calls(changed.count)} {_worded(change)}", style="bold"),
            _table(changed.examples),
        ]
    for name, masked in sorted(report.masking.items()):
        places = [f"no longer masked: {', '.join(sorted(masked.no_longer))}"] if masked.no_longer else []
        places += [f"newly masked: {', '.join(sorted(masked.newly))}"] if masked.newly else []
        told.append(Text(f"{visible(name)}, {masked.calls} {_calls(masked.calls)}: {visible('; '.join(places))}"))
    if report.untold or report.passed:
        told += [Text(), Text("Cannot be told", style="bold")]
    for rules, count in sorted(report.untold.items()):
        told.append(Text(f"{count} {_calls(count)}: {_untold(rules)}"))
    told += [Text(f"{count} {why}") for why, count in sorted(report.passed.items())]
    return Group(*told)


def _summary(report: Report) -> str:
    untold = sum(report.untold.values())
    cannot = f", {untold} cannot be told" if untold else ""
    return (
        f"{report.judged} {_calls(report.judged)} judged again: {report.same} as before, {report.different} otherwise{cannot}."
    )


def _worded(change: Change) -> str:
    by = "no longer" if change.now is Effect.ALLOW else "by"
    return f"{_WORDS[change.was, change.now]} {by} {', '.join(change.rule_ids)}"


def _untold(rules: tuple[str, ...]) -> str:
    if not rules:
        return "the caller's roles depend on claims that were erased"
    return f"{', '.join(rules)} would have to read what was masked or erased"


def _calls(count: int) -> str:
    return "call" if count == 1 else "calls"


def _table(examples: list[Example]) -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 2))
    for heading in ("#", "time", "who", "tool", "arguments", "event"):
        table.add_column(heading, overflow="fold")
    for example in examples:
        call = example.call
        when = datetime.fromtimestamp(call.received_ns / 1e9, tz=UTC).astimezone().strftime("%m-%d %H:%M:%S")
        arguments = visible_json(call.arguments)
        shown = arguments if len(arguments) <= _MAX_SHOWN else f"{arguments[: _MAX_SHOWN - 1]}…"
        cells = (str(call.seq), when, visible(call.identity.subject), visible(call.name), shown, call.event_id)
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _ordered(report: Report) -> list[tuple[Change, Changed]]:
    """The most frequent first."""
    return sorted(report.changes.items(), key=lambda item: (-item[1].count, item[0].rule_ids, item[0].now))


def as_data(report: Report, candidate: Policy) -> dict[str, Any]:
    """Return the report as JSON. Fields may be added; those that are here keep their meaning."""
    return {
        "policy": candidate.policy_hash,
        "judged": report.judged,
        "same": report.same,
        "different": report.different,
        "changes": [
            {
                "was": change.was.value,
                "now": change.now.value,
                "rules": list(change.rule_ids),
                "calls": changed.count,
                "examples": [_example(example) for example in changed.examples],
            }
            for change, changed in _ordered(report)
        ],
        "masking": {
            name: {"calls": one.calls, "no_longer": sorted(one.no_longer), "newly": sorted(one.newly)}
            for name, one in sorted(report.masking.items())
        },
        "untold": [{"rules": list(rules), "calls": count} for rules, count in sorted(report.untold.items())],
        "not_judged": dict(sorted(report.passed.items())),
    }


def _example(example: Example) -> dict[str, Any]:
    call = example.call
    return {
        "seq": call.seq,
        "event": call.event_id,
        "received_ns": str(call.received_ns),
        "who": call.identity.principal,
        "tool": call.name,
        "arguments": call.arguments,
        "would_be_told": example.reason,
    }
