"""An access review as one HTML page: no scripts, nothing fetched; everything on it is escaped."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape

from mcpgw.app.review import Line, Review, Reviewed
from mcpgw.core.visible import visible
from mcpgw.ledger.usage import Decided

_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root { color-scheme: light dark; font: 15px/1.45 system-ui, sans-serif }
body { margin: 2rem auto; max-width: 76rem; padding: 0 1rem }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1.5rem }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #8884 }
.scroll { overflow-x: auto } td { overflow-wrap: break-word; min-width: 3.5rem }
.never { color: #a15c00 } .gone { color: #b3261e } .none { opacity: .6 }
details { margin: .25rem 0 } summary { cursor: pointer }
@media (prefers-color-scheme: dark) { .never { color: #ffb95c } .gone { color: #ff8a80 } }
@media print { tr { break-inside: avoid } }
</style>
"""
_CLASSES = {"never used": "never", "no longer allowed": "gone"}


def page(found: Review, origin: str) -> str:
    """Return the page. Times are in UTC."""
    span = f"{day(found.since_ns) or 'the first record'} to {day(found.until_ns)}"
    grants = [(one.who, one.target, f"{one.uses} of {one.max_calls}", day(one.time_ns), one.state) for one in found.grants]
    glass = [(one.who, one.target, day(one.time_ns), one.state) for one in found.break_glass]
    roles = [
        (one.name, ", ".join(one.members), str(one.people), str(len(one.targets)), ", ".join(one.never_used))
        for one in found.roles
    ]
    deciders = [(who, decided(made), day(made.last_ns)) for who, made in found.approvers.items()]
    parts = [
        f"{_HEAD}<title>Access review of {_text(origin)}</title></head><body><h1>Access review</h1>",
        f"<p>{_text(origin)}, {_text(span)}. Who may call what is by the policy <code>{_text(found.policy)}</code>.</p>",
        "<h2>People, services and agents</h2>",
        *map(_person, found.people),
        _section("Roles", ("role", "members", "people", "gives", "never used by anybody who has it"), roles),
        _section("Who decided", ("who", "what", "last"), deciders),
        _section("Grants", ("to", "for", "uses", "asked for", "state"), grants),
        _section("Broken glass", ("for", "to call", "when", "state"), glass),
        f"<p>{_text(beside(found))}</p></body></html>",
    ]
    return "".join(parts)


def beside(found: Review) -> str:
    """Say what the tables cannot."""
    unknown = sum(one.unknown for one in found.people)
    told = [
        f"{sum(len(one.of('never used')) for one in found.people)} grants of a target to a caller were not used in this time.",
        "Whoever never called and has no API key is not listed: their groups are with the identity provider.",
    ]
    told += [f"{unknown} calls were of names that nobody publishes."] if unknown else []
    told += [f"{sum(found.counted.values())} refusals were only counted."] if found.counted else []
    told += [f"{found.damaged} records cannot be read: `mcpgw verify` says more."] if found.damaged else []
    return " ".join(told)


def decided(made: Decided) -> str:
    """Return what somebody decided, in words."""
    told = {
        "approved": made.approved,
        "denied": made.denied,
        "proposed otherwise": made.proposed,
        "took back": made.taken_back,
        "broke the glass": made.broke_glass,
        "revoked": made.revoked,
        "reviewed": made.reviewed,
    }
    return ", ".join(f"{what} {count}" for what, count in told.items() if count) or "nothing"


def day(time_ns: int) -> str:
    """Return a moment in UTC to the minute, as a person reads it; empty for none."""
    return datetime.fromtimestamp(time_ns / 1e9, tz=UTC).strftime("%Y-%m-%d %H:%MZ") if time_ns else ""


def _person(one: Reviewed) -> str:
    may = sum(line.may for line in one.lines)
    through = "".join(f" through {agent}" for agent in one.through)
    seen = f"last call {day(one.seen_ns)}" if one.seen_ns else "no call in this time"
    counts = f"may call {may}, used {len(one.of('used'))}, never used {len(one.of('never used'))}"
    head = f"<b>{_text(one.who + through)}</b> ({_text(one.kind)}): {_text(counts)}; {_text(seen)}"
    belongs = f"<p>Groups: {_text(', '.join(one.groups) or 'none')}. Roles: {_text(', '.join(one.roles) or 'none')}.</p>"
    return f"<details open><summary>{head}</summary>{belongs}{_lines(one.lines)}</details>"


def _lines(lines: Sequence[Line]) -> str:
    if not lines:
        return "<p class=none>Nothing may be called, and nothing was.</p>"
    rows = []
    for line in lines:
        uses, kind = line.uses, _CLASSES.get(line.finding, "")
        cells = (line.target, line.risk, line.finding, str(uses.ran), str(uses.held), str(uses.refused), day(uses.last_ns))
        rows.append(f'<tr class="{kind}">{_cells((*cells, ", ".join(line.by), ", ".join(line.rules)))}</tr>')
    return _table(("target", "risk", "finding", "ran", "held", "refused", "last", "granted by", "rules about it"), rows)


def _section(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    body = _table(headings, [f"<tr>{_cells(row)}</tr>" for row in rows]) if rows else "<p class=none>None.</p>"
    return f"<h2>{_text(title)}</h2>{body}"


def _table(headings: Sequence[str], rows: Iterable[str]) -> str:
    heads = "".join(f"<th>{_text(heading)}</th>" for heading in headings)
    return f"<div class=scroll><table><tr>{heads}</tr>{''.join(rows)}</table></div>"


def _cells(cells: Sequence[str]) -> str:
    return "".join(f"<td>{_text(one)}</td>" for one in cells)


def _text(text: str) -> str:
    return escape(visible(text))
