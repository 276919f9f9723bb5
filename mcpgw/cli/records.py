"""Records as people and programs get them at a command line: a table, JSON lines, CSV."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from mcpgw.core.summary import reason_of, summary_of
from mcpgw.core.visible import visible
from mcpgw.ledger.record import Members, parse
from mcpgw.ledger.store import StoredRecord

COLUMNS = (
    "seq", "time", "kind", "who", "groups", "tool", "server", "decision", "outcome", "code", "rules", "reason", "masked",
    "approval", "call", "session", "id", "leaf_hash",
)  # fmt: skip
"""Of CSV. Columns are added at the end alone."""
_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What makes a spreadsheet calculate where a cell begins with it, full-width forms included (OWASP, CSV Injection)."""
_STYLES = {
    "completed": "green",
    "allow": "green",
    "hold": "yellow",
    "refused": "red",
    "failed": "red",
    "tool_error": "yellow",
    "indeterminate": "bold red",
}
_HEADS = ("#", "time", "who", "what", "tool", "result", "why")
_KEPT_WHOLE = ("#", "time", "what", "result")
"""Short by nature; the others are folded where the terminal is narrow."""


def json_line(record: StoredRecord) -> str:
    """Return the record as one line of ASCII JSON, so that nothing in it can move a terminal's cursor."""
    return json.dumps({**_members(record), "leaf_hash": record.hash.hex()})


def csv_lines(records: Iterable[StoredRecord]) -> Iterator[str]:
    """Yield CSV (RFC 4180) with a line of column names: every cell quoted, none a formula, nothing hidden in one."""
    for row in ((*COLUMNS,), *map(_cells, records)):
        line = io.StringIO()
        csv.writer(line, quoting=csv.QUOTE_ALL, lineterminator="\n").writerow(map(cell, row))
        yield line.getvalue().rstrip("\n")


def cell(text: str) -> str:
    r"""Return a text as a cell. To get it back: take away one leading `'`, then read `\\` and `\u…` as in a JSON string.

    Where it would begin a formula, or begins with `'`, another `'` stands before it. What hides or turns a line around is
    written as an escape, and a backslash as two.
    """
    safe = visible(text.replace("\\", "\\\\"))
    return f"'{safe}" if text.startswith((*_FORMULAS, "'")) else safe


def row(record: StoredRecord) -> tuple[str, str, str, str, str, str, str]:
    """Return what people want to see of a record: number, local time, who, what, tool, result, why; safe to print."""
    told = summary_of(record.seq, record.index, _members(record))
    when = datetime.fromtimestamp(told.time_ns / 1e9, tz=UTC).astimezone()
    return (
        str(told.seq),
        when.strftime("%Y-%m-%d %H:%M:%S"),
        visible(told.who.rpartition("#")[2]),
        visible(told.kind),
        visible(told.target),
        visible(told.result),
        visible(told.why),
    )


def table(records: Sequence[StoredRecord]) -> Table:
    """Return the records as a table for a terminal."""
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for name in _HEADS:
        drawn.add_column(name, justify="right" if name == "#" else "left", overflow="fold", no_wrap=name in _KEPT_WHOLE)
    for record in records:
        drawn.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row(record)))
    return drawn


def line(record: StoredRecord) -> Text:
    """Return a record as one line, where others are still to come."""
    return Text("  ").join(Text(cell, style=_STYLES.get(cell, "")) for cell in row(record) if cell)


def _cells(record: StoredRecord) -> tuple[str, ...]:
    members, index = _members(record), record.index
    decision = members.get("decision", {})
    seconds, ns = divmod(int(index["time_ns"]), 1_000_000_000)
    return (
        str(record.seq),
        f"{datetime.fromtimestamp(seconds, tz=UTC):%Y-%m-%dT%H:%M:%S}.{ns:09}Z",
        str(index["kind"]),
        str(index["principal"]),
        " ".join(map(str, members.get("who", {}).get("groups", ()))),
        str(index["target"]),
        str(index["server"]),
        str(index["decision"]),
        str(index["outcome"]),
        str(index["code"]),
        " ".join(map(str, decision.get("rules", ()))),
        reason_of(members),
        _masked(members),
        str(index["approval_id"]),
        str(index["call_id"]),
        str(index["session"]),
        record.event_id,
        record.hash.hex(),
    )


def _masked(members: Members) -> str:
    """`US_SSN 3, EMAIL 1`."""
    counts: dict[str, int] = {}
    for manifest in members.get("masking", {}).values():
        for entity, _, _, count in manifest["masked"]:
            counts[entity] = counts.get(entity, 0) + count
    return ", ".join(f"{entity} {count}" for entity, count in sorted(counts.items()))


def _members(record: StoredRecord) -> dict[str, Any]:
    try:
        return parse(record.leaf)
    except ValueError:
        return {"seq": record.seq, "damaged": "this leaf is not readable; run `mcpgw verify`"}
