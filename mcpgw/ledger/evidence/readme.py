"""README.html: a package for people. One page, no scripts, nothing fetched; what it says comes from the records beside it."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Any

from mcpgw.core.visible import visible
from mcpgw.ledger.evidence import FACTS_BEGIN, FACTS_END, FOLDERS, SEALED, sealed_name
from mcpgw.ledger.evidence.lines import canonical
from mcpgw.ledger.evidence.sense import erased
from mcpgw.ledger.record import Members
from mcpgw.ledger.vault import SUFFIX

_MOST_ROWS = 2_000
"""Calls that the page lists; a browser has to show it. All of them stand in `records.jsonl`."""
_MOST_TEXT = 600
"""Characters of arguments that the page shows of a call."""

Facts = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Story:
    """What the page tells of."""

    records: Mapping[int, Members]
    payloads: Mapping[tuple[int, str], bytes]

    def of_kind(self, *kinds: str) -> Iterator[tuple[int, Members]]:
        return ((seq, one) for seq, one in self.records.items() if one["kind"] in kinds)


def page(facts: Facts, story: Story, mapping: Mapping[str, Any]) -> str:
    """Return the page. The same facts and records make the same page."""
    parts = [
        _HEAD,
        f"<title>Evidence from {_text(facts['log'])}</title></head><body><header><h1>Evidence package</h1>",
        f"<p class=log>{_text(facts['log'])}</p></header><main>",
        _section("What this is", _overview(facts, story)),
        _section("How to check it", _HOW),
        _section("Calls", _calls(facts, story)),
        _section("Approvals and votes", _approvals(story)),
        _section("What was masked", _masked(story)),
        _section("Raw payloads", _raw(facts, story)) if facts["query"]["raw"] else "",
        _section("Sessions", _sessions(facts, story)),
        _section("What was in force", _in_force(facts, story)),
        _section("Which controls this is evidence for", _controls(mapping)),
        _section("What this does not show", _LIMITS),
        f"</main>{FACTS_BEGIN}{embedded(facts)}{FACTS_END}</body></html>\n",
    ]
    return "".join(parts)


def embedded(facts: Facts) -> str:
    """Return the facts as they stand in the page: JSON that no HTML parser takes for a tag."""
    return canonical(facts).decode().replace("<", "\\u003c")


def _overview(facts: Facts, story: Story) -> str:
    versions = sorted({one["gateway"]["version"] for one in story.records.values()})
    query = facts["query"]
    asked = [f"{name} {query[name]}" for name in ("who", "session", "server", "tool") if query[name]]
    rows = [
        ("Asked for by", facts["requester"]),
        ("Because", facts["reason"]),
        ("Time", f"{_bound(query['since_ns'], 'the beginning')} to {_bound(query['until_ns'], 'the newest record')}"),
        ("Narrowed to", ", ".join(asked) or "nothing: all records of that time"),
        ("Records shown", f"{facts['records']} of the log's first {facts['size']}"),
        ("Raw payloads", f"asked for: {facts['raw']} sealed files are under {SEALED}" if query["raw"] else "not asked for"),
        ("Range", f"records {facts['start']} to {facts['end'] - 1}" if facts["start"] < facts["end"] else "no records"),
        ("Signed root", f"{facts['root']} over {facts['size']} records"),
        ("Callers", ", ".join(facts["identities"]) or "not narrowed to callers"),
        ("Recorded by", ", ".join(f"mcpgw {version}" for version in versions)),
        ("Exported by", f"mcpgw {facts['gateway']}"),
    ]
    kinds = _table(("kind of record", "number"), facts["kinds"].items())
    return f"<dl>{''.join(f'<dt>{_text(name)}<dd>{_text(value)}' for name, value in rows)}</dl>{kinds}"


def _calls(facts: Facts, story: Story) -> str:
    ends: dict[str, Members] = {}
    for _, one in story.of_kind("call.outcome", "call.indeterminate"):
        ends[one["call"]] = one
    begun = [*story.of_kind("call.intent", "call.held", "call.refused")]
    rows = [
        _call(seq, one, ends.get(one.get("call", ""), {}) if one["kind"] == "call.intent" else one, facts, story)
        for seq, one in begun
    ]
    rest = f"<p>{len(rows) - _MOST_ROWS} more stand in records.jsonl.</p>" if len(rows) > _MOST_ROWS else ""
    names = ("record", "time (UTC)", "who", "tool", "decision", "why", "policy", "result", "masked", "arguments, as shown")
    return _table(names, rows[:_MOST_ROWS], "wide") + rest


def _call(seq: int, one: Members, end: Members, facts: Facts, story: Story) -> tuple[object, ...]:
    decision, outcome = one.get("decision", {}), end.get("outcome", {})
    policy = decision.get("policy", "")
    why = " ".join([*decision.get("rules", []), decision.get("reason", "")])
    otherwise = "held: see below" if one["kind"] == "call.held" else "no end is shown"
    result = outcome.get("code") or outcome.get("class") or otherwise
    masked = sum(_counts((one, end) if end is not one else (one,)).values())
    arguments = story.payloads.get((seq, "arguments.clean"), b"").decode()
    return (
        seq,
        _time(one["time_ns"]),
        _who(one),
        one.get("target", {}).get("name", ""),
        decision.get("effect", ""),
        why,
        facts["texts"].get(policy, policy[:12]),
        result,
        masked or "",
        arguments if len(arguments) <= _MOST_TEXT else f"{arguments[:_MOST_TEXT]}…",
    )


def _approvals(story: Story) -> str:
    rows = []
    for seq, one in story.records.items():
        approval = one.get("approval")
        if not approval or not one["kind"].startswith(("approval.", "call.held", "call.intent")):
            continue
        comment = story.payloads.get((seq, "comment"), b"").decode()
        what = (
            approval.get("verdict") or approval.get("state") or {"call.held": "held", "call.intent": "run"}.get(one["kind"], "")
        )
        rows.append((approval["id"], seq, _time(one["time_ns"]), one["kind"], _who(one), what, approval.get("reason", comment)))
    rows.sort(key=lambda row: (str(row[0]), row[1]))
    names = ("approval", "record", "time (UTC)", "what happened", "who", "verdict", "why")
    return _table(names, rows) if rows else "<p>No call in this package was held.</p>"


def _masked(story: Story) -> str:
    rows = sorted(_counts(story.records.values()).items())
    return (
        _table(("kind of data", "how it was found", "times"), [(*key, count) for key, count in rows])
        if rows
        else ("<p>Nothing was masked in these calls.</p>")
    )


def _counts(records: Iterable[Members]) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for one in records:
        for manifest in one.get("masking", {}).values():
            for entity, _, detector, count in manifest["masked"]:
                found[entity, detector] += count
    return found


def _raw(facts: Facts, story: Story) -> str:
    """Name each sealed payload that is there, and each that is not, with the record that erased it."""
    by = {
        place: f"erased, as record {seq} says"
        for seq, gone in erased(facts, story.records).items()
        if seq >= 0
        for place in gone
    }
    rows = [
        (
            seq,
            _time(one["time_ns"]),
            one.get("target", {}).get("name", ""),
            slot.removesuffix(SUFFIX),
            _where(seq, slot, story, by),
        )
        for seq, one in story.records.items()
        for slot in sorted(one.get("payloads", {}))
        if slot.endswith(SUFFIX)
    ]
    if not rows:
        return "<p>They were asked for. Of these calls the vault has none.</p>"
    rest = f"<p>{len(rows) - _MOST_ROWS} more stand in payloads.jsonl.</p>" if len(rows) > _MOST_ROWS else ""
    return _SEALED + _table(("record", "time (UTC)", "tool", "what", "file"), rows[:_MOST_ROWS]) + rest


def _where(seq: int, slot: str, story: Story, erased_by: Mapping[tuple[int, str], str]) -> str:
    if (seq, slot) in story.payloads:
        return sealed_name(seq, slot)
    return erased_by.get((seq, slot), "not there, and no record here says why")


def _sessions(facts: Facts, story: Story) -> str:
    numbers: dict[str, list[Members]] = {}
    for one in story.records.values():
        if "session" in one:
            numbers.setdefault(one["session"]["id"], []).append(one)
    rows = [
        (
            session,
            _who(next((one for one in records if "who" in one), {})),
            _time(records[0]["time_ns"]),
            len(records),
            "closed" if records[-1]["kind"] == "session.closed" else "its end is not shown",
            "as a whole" if session in facts["sessions"] else "in part",
        )
        for session, records in numbers.items()
    ]
    return _table(("session", "who", "first record (UTC)", "records", "end", "shown"), rows)


def _in_force(facts: Facts, story: Story) -> str:
    rows = []
    for seq, one in story.records.items():
        told = one.get("facts", {})
        if told.get("aspect") in FOLDERS:
            place = facts["texts"].get(told["after"], "only its hash was recorded")
            rows.append((seq, _time(one["time_ns"]), told["aspect"], one.get("actor", ""), told["after"], place))
    return _table(("record", "since (UTC)", "what", "changed by", "hash", "text"), rows)


def _controls(mapping: Mapping[str, Any]) -> str:
    rows = [(one["source"], one["section"], one["asks"], one["shows"]) for one in mapping["controls"]]
    return f"<p>{_text(mapping['note'])}</p>{_table(('source', 'section', 'asks for', 'evidence in this package'), rows)}"


def _who(one: Members) -> str:
    who = one.get("who")
    return f"{who['iss']}#{who['sub']} ({who['kind']})" if who else str(one.get("actor", ""))


def _bound(ns: str, otherwise: str) -> str:
    return otherwise if int(ns) in (0, 2**63 - 1) else _time(ns)


def _time(ns: str) -> str:
    return datetime.fromtimestamp(int(ns) // 10**9, tz=UTC).strftime("%Y-%m-%d %H:%M:%S")


def _section(name: str, body: str) -> str:
    return f"<section><h2>{name}</h2>{body}</section>"


def _table(names: Iterable[str], rows: Iterable[Iterable[object]], kind: str = "") -> str:
    head = "".join(f"<th>{_text(name)}" for name in names)
    body = "".join(f"<tr>{''.join(f'<td>{_text(cell)}' for cell in row)}" for row in rows)
    return f"<div class=scroll><table class='{kind}'><thead><tr>{head}<tbody>{body}</table></div>"


def _text(value: object) -> str:
    """Text as text: no markup, and nothing in it turns a line around or hides."""
    return escape(visible(str(value)))


_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<style>
:root{color-scheme:light dark;--line:#8884;--soft:#8881}
body{font:15px/1.5 system-ui,sans-serif;margin:0 auto;max-width:96rem;padding:0 1.5rem 4rem}
header{border-bottom:3px solid #1f5fae;margin-bottom:1.5rem}
h1{margin:1.5rem 0 0}h2{margin:2.2rem 0 .6rem;font-size:1.2rem}
.log{font-family:ui-monospace,monospace;margin:.2rem 0 1rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1.2rem}dt{font-weight:600}dd{margin:0;overflow-wrap:anywhere}
.scroll{overflow-x:auto}table{border-collapse:collapse;margin:.6rem 0;font-size:.85rem}
th,td{border-bottom:1px solid var(--line);padding:.3rem .45rem;text-align:left;vertical-align:top;overflow-wrap:break-word}
th{background:var(--soft);white-space:nowrap}
.wide td:last-child{font-family:ui-monospace,monospace;font-size:.78rem;min-width:11rem;overflow-wrap:anywhere}
.wide td:nth-child(2){white-space:nowrap}code{background:var(--soft);padding:.1rem .3rem}
</style>
"""
_HOW = """
<p>Do not believe this page. It was written by the software that is being examined. The records beside it are sealed, and two
programs in this package check them without network and without that software:</p>
<ul>
<li><strong>verify.html</strong>: open it in a browser and choose the package.</li>
<li><strong>verify.py</strong>: <code>python3 verify.py PACKAGE.zip</code>; needs Python 3.9 and nothing else.</li>
</ul>
<p>Better still, take a verifier from another package or from the project, and the log's public keys
(<code>keys/ledger.pub</code>) and a checkpoint from somebody who is independent of whoever gave you this package:
<code>python3 verify.py PACKAGE.zip --keys ledger.pub --against kept.checkpoint</code>.</p>
<p>The verifier says what it found, which keys and checkpoints it believed, and what nobody can conclude from it.</p>
"""
_SEALED = """
<p>They were asked for, and are here as they are kept: age files (age-encryption.org), encrypted to those who were the vault's
recipients then. Neither the gateway nor whoever wrote this package can open them. Each is what its record commits to, and the
verifiers check that without opening it. Whoever has a private key reads one with <code>age --decrypt -i key.txt FILE</code>, or
beside the clean view with <code>mcpgw replay SESSION --package PACKAGE.zip --raw --identity key.txt</code>.</p>
"""
_LIMITS = """
<ul>
<li>Whether the software wrote down what it did. The records show that nothing was changed since, not that it was true.</li>
<li>What the raw values were that were masked. Records hold salted hashes of them, and what is sealed opens for its
recipients alone.</li>
<li>Whether a control is met. That is for the institution and its examiners to say.</li>
<li>What happened outside of the gateway.</li>
</ul>
"""
