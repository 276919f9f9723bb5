"""`console.doors.Evidence` over one gateway's log: its own connection for each request, and few requests at once."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import TypeVar

import anyio
import anyio.to_thread

from mcpgw import __version__
from mcpgw.app import convert
from mcpgw.console.doors import Download, NotForYou, Page, Proved, Steps, Wanted
from mcpgw.core.entries import Event
from mcpgw.core.errors import LedgerUnavailable
from mcpgw.core.question import Place
from mcpgw.ledger import Ledger
from mcpgw.ledger.evidence.collect import Asked
from mcpgw.ledger.evidence.export import Package, Purpose, export
from mcpgw.ledger.keys import PUBLIC, load_keys, load_verifiers
from mcpgw.ledger.proof import prove
from mcpgw.ledger.record import parse, unpack
from mcpgw.ledger.replay import LogSource, Step, as_data, steps
from mcpgw.ledger.search import TEXT_SLOTS, find
from mcpgw.ledger.store import Reading
from mcpgw.settings import Settings

_AT_ONCE = 2
"""Requests that read the log at the same time: the gateway's calls come first."""
_PATIENCE_S = 10.0
"""How long a request waits for its turn."""
_EFFORT = 50_000
"""Records that one search looks through, at the most."""
_MOST_PACKED = 50_000
"""Records in the range of one package: it is made in memory."""
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class LogEvidence:
    settings: Settings
    ledger: Ledger
    turns: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(_AT_ONCE))

    @property
    def log(self) -> str:
        return self.settings.ledger.origin

    async def find(self, place: Place, limit: int) -> Page:
        found = await self._read(lambda store: find(store, place.question, before=place.before, limit=limit, effort=_EFFORT))
        return Page(records=found.records, rest=found.rest)

    async def proved(self, seq: int) -> Sequence[Proved]:
        return await self._read(lambda store: self._proved(store, seq))

    async def session(self, session: str, after: int, limit: int) -> Steps:
        def read(store: Reading) -> Steps:
            found: list[Step] = []
            for step in steps(LogSource(store), session, after=after):
                if len(found) >= limit and step.place != found[-1].place:
                    return Steps([as_data(one) for one in found], (found[-1].place,))
                found.append(step)
            return Steps([as_data(one) for one in found], ())

        return await self._read(read)

    async def checkpoint(self) -> str:
        return await self.ledger.export_checkpoint()

    async def package(self, wanted: Wanted, requester: str) -> Download:
        package = await self._read(lambda store: self._packed(store, wanted, requester))
        query = {name: str(value) for name, value in asdict(wanted).items() if name != "reason" and value}
        facts = {"query": query, "reason": wanted.reason, "sha256": package.digest, "size": len(package.data)}
        told = {**facts, "records": package.facts["records"]}
        await self.ledger.append(Event(kind="evidence.exported", actor=requester, facts=told))
        return Download("evidence.zip", "application/zip", package.data)

    def _proved(self, store: Reading, seq: int) -> Sequence[Proved]:
        for record in store.records(seq, 1):
            if record.seq != seq:
                break
            proof = prove(store, record, load_verifiers(self.settings.keys_dir))
            slots = [slot for slot in TEXT_SLOTS if slot in parse(record.leaf).get("payloads", {})]
            kept = {one.slot: unpack(one.packed).decode() for slot in slots for one in store.payload(seq, slot)}
            return [
                Proved(record=record, payloads=kept, gone=tuple(slot for slot in slots if slot not in kept), proof=proof.text())
            ]
        return []

    def _packed(self, store: Reading, wanted: Wanted, requester: str) -> Package:
        asked = {name: value for name, value in asdict(wanted).items() if name != "reason"}
        start, end = store.extent(wanted.since_ns, wanted.until_ns - 1)
        if end - start > _MOST_PACKED:
            hint = "Ask for a shorter time, or use `mcpgw export`."
            raise NotForYou(f"That is a range of {end - start} records; {_MOST_PACKED} are packed at once.", hint=hint)
        keys = self.settings.keys_dir
        purpose = Purpose(requester=requester, reason=wanted.reason, gateway=__version__)
        signer, public = load_keys(keys, self.log).signer, (keys / PUBLIC).read_text(encoding="ascii")
        return export(store, Asked(**asked), purpose, signer=signer, verifiers=load_verifiers(keys), public=public)

    async def _read(self, question: Callable[[Reading], _Answer]) -> _Answer:
        def ask() -> _Answer:
            with closing(convert.database(self.settings).connect_read_only()) as store, store.snapshot():
                try:
                    return question(store)
                except ValueError as error:
                    raise LedgerUnavailable(f"a record cannot be read: {error}", hint="Run `mcpgw verify`.") from error

        with anyio.move_on_after(_PATIENCE_S):
            await self.turns.acquire_on_behalf_of(marker := object())
            try:
                with anyio.CancelScope(shield=True):
                    return await anyio.to_thread.run_sync(ask)
            finally:
                self.turns.release_on_behalf_of(marker)
        raise LedgerUnavailable("others are reading the log", hint="Try again in a moment.")
