"""Reading what is on disk: the record of a gateway's folder, and the journals of its upstreams."""

import json
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mcpgw.ledger.record import parse, unpack
from mcpgw.ledger.store import Database, StoredPayload
from tests.faults.history import INDETERMINATE, INTENT, OUTCOME, Effect, Entry

_CHUNK = 1_000
"""Records read at a time."""


@dataclass
class Evidence:
    """What a record says, read on from where the last reading ended."""

    database: Database
    entries: list[Entry] = field(default_factory=list)
    records: int = 0
    """Of every kind; `entries` holds those about calls and approvals."""

    def read(self) -> list[Entry]:
        """Read what has come since, whether a gateway lives or not, and return everything."""
        with closing(self.database.connect_read_only()) as store, store.snapshot():
            while found := store.records(self.records, _CHUNK):
                start, end = self.records, self.records + len(found)
                payloads = defaultdict(list)
                for payload in store.payloads(start, end):
                    payloads[payload.seq].append(payload)
                parsed = [entry_of(record.seq, parse(record.leaf), payloads[record.seq]) for record in found]
                self.entries.extend(entry for entry in parsed if entry.kind.startswith(("call.", "approval.")))
                self.records = end
        return self.entries

    def open_calls(self) -> frozenset[str]:
        """Return the calls that have an intent and no end."""
        began = {entry.call for entry in self.entries if entry.kind == INTENT}
        return frozenset(began - {entry.call for entry in self.entries if entry.kind in (OUTCOME, INDETERMINATE)})


def entry_of(seq: int, members: dict[str, Any], payloads: list[StoredPayload]) -> Entry:
    outcome, approval = members.get("outcome", {}), members.get("approval", {})
    grant, use = approval.get("grant", {}), approval.get("use", {})
    arguments = [json.loads(unpack(payload.packed)) for payload in payloads if payload.slot == "arguments.clean"]
    return Entry(
        seq=seq,
        kind=members["kind"],
        time_ns=int(members["time_ns"]),
        call=members.get("call", ""),
        deed=arguments[0].get("deed", "") if arguments else "",
        tool=members.get("target", {}).get("upstream", ""),
        who=members.get("who", {}).get("sub", ""),
        outcome=outcome.get("class", ""),
        code=outcome.get("code", ""),
        reached=outcome.get("reached", True),
        approval=approval.get("id", ""),
        settled=approval.get("state", ""),
        verdict=approval.get("verdict", ""),
        calls=grant.get("max_calls", 0),
        total=int(grant.get("max_total") or 0),
        use=use.get("number", 0),
        amount=int(use.get("amount") or 0),
    )


def effects_in(*journals: Path) -> list[Effect]:
    """Return the effects in the journals of upstreams. A last line that was cut off by a kill was not synced: no effect."""
    effects = []
    for journal in journals:
        text = journal.read_text() if journal.exists() else ""
        for line in text[: text.rfind("\n") + 1].splitlines():
            tool, deed, time_ns = line.split()
            effects.append(Effect(tool, deed, int(time_ns)))
    return effects
