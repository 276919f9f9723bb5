"""Erasing payloads and holding them, on an open ledger: the one way in which anything beside the records goes away."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from mcpgw.core.entries import Event
from mcpgw.ledger.holds import HELD, RELEASED, LegalHold
from mcpgw.ledger.places import Selection
from mcpgw.ledger.record import Draft
from mcpgw.ledger.shredding import (
    Asked,
    Retention,
    Tally,
    pages,
    selection_of,
    shredded,
    shredding,
    sorted_out,
    swept,
)
from mcpgw.ledger.store import Reading
from mcpgw.ledger.writer import Batch, Work

T = TypeVar("T")
Pages = Sequence[Sequence[int]]


class _Read(Protocol):
    def __call__(self, question: Callable[[Reading], T]) -> Awaitable[T]: ...


class Eraser:
    def __init__(
        self,
        submit: Callable[[Work], Awaitable[Any]],
        read: _Read,
        describe: Callable[[Event], Draft],
        scrub: Callable[[], bool],
        clock: Callable[[], int],
    ) -> None:
        """All of them are an open `Ledger`'s."""
        self._submit = submit
        self._read = read
        self._describe = describe
        self._scrub = scrub
        self._clock = clock

    async def shred(self, asked: Asked, reason: str, actor: str, *, dry_run: bool = False) -> Tally:
        """Erase the payloads that people ask to be erased, all of them, and return what there was.

        Where a legal hold covers one of them, or one is still in use, nothing is erased, and the tally says so. Each page
        that was erased has its record; a process that dies leaves whole pages erased, and asking again goes on with the rest.

        Raises:
            LedgerUnavailable: the rest could not be erased.
        """
        selection, found = await self._read(lambda store: _selected(store, asked))
        tally = await self._look(found, selection)
        if dry_run or tally.held or tally.in_use:
            return tally
        # even where nothing is left: somebody who was killed may have erased it, and not scrubbed the files
        return await self._erase(found, selection, shredded(actor, asked, reason), all_or_none=True)

    async def sweep(self, retention: Retention, every_ns: int = 0, *, dry_run: bool = False) -> Tally:
        """Erase the payloads whose time is over, but for those that are held or in use, and return what there was.

        With `every_ns` only if no process has done it for so long: then it is this one's turn.

        Raises:
            LedgerUnavailable: the rest could not be erased; the next sweep does it.
        """
        now_ns, tally = self._clock(), Tally()
        if every_ns and not await self._submit(lambda batch: batch.tx.take_turn(now_ns, now_ns + every_ns)):
            return tally
        for kept, slots, lasts_ns in retention.classes():
            selection = Selection(slots=frozenset(slots), before_ns=now_ns - lasts_ns)
            found = await self._read(_older(selection))
            if dry_run:
                tally.add(await self._look(found, selection))
            else:
                tally.add(await self._erase(found, selection, swept(kept, selection.before_ns), all_or_none=False))
        return tally

    async def scrub(self) -> bool:
        """Take what was erased out of the database's files as well; False if somebody is in the way, and it is tried again.

        Raises:
            LedgerUnavailable: the database failed.
        """
        return await asyncio.to_thread(self._scrub)

    async def hold(self, hold: LegalHold, actor: str) -> int:
        """Record a legal hold; from then on nothing that it covers is erased. Return the record's number.

        Raises:
            LedgerUnavailable: it is not recorded, and holds nothing.
        """
        event = Event(kind=HELD, actor=actor, facts=hold.facts())

        def work(batch: Batch) -> int:
            record = batch.append(event, self._describe(event))
            batch.tx.save_hold(replace(hold, seq=record.seq))
            return record.seq

        seq: int = await self._submit(work)
        return seq

    async def release(self, hold_id: str, reason: str, actor: str) -> bool:
        """Record that a legal hold is over; False if none of that id stands.

        Raises:
            LedgerUnavailable: it is not recorded, and goes on.
        """
        event = Event(kind=RELEASED, actor=actor, facts={"id": hold_id, "reason": reason})

        def work(batch: Batch) -> bool:
            stands = any(hold.id == hold_id for hold in batch.tx.holds())
            if stands:
                batch.append(event, self._describe(event))
                batch.tx.remove_hold(hold_id)
            return stands

        released: bool = await self._submit(work)
        return released

    async def holds(self) -> Sequence[LegalHold]:
        """Return the legal holds that stand, the oldest first."""
        return await self._read(lambda store: store.holds())

    async def _look(self, found: Pages, selection: Selection) -> Tally:
        """Count what may be erased and what may not, without erasing anything."""
        return await self._read(lambda store: _counted(store, found, selection))

    async def _erase(self, found: Pages, selection: Selection, event: Event, *, all_or_none: bool) -> Tally:
        tally = Tally()
        for seqs in found:
            tally.add(await self._submit(shredding(seqs, selection, event, self._describe, all_or_none=all_or_none)))
            if all_or_none and (tally.held or tally.in_use):
                break  # a hold that was made meanwhile
        tally.scrubbed = await self.scrub()
        return tally


def _selected(store: Reading, asked: Asked) -> tuple[Selection, Pages]:
    selection = selection_of(store, asked)
    return selection, [*pages(store, selection, store.size())]


def _older(selection: Selection) -> Callable[[Reading], Pages]:
    return lambda store: [*pages(store, selection, store.extent(0, selection.before_ns - 1)[1])]


def _counted(store: Reading, found: Pages, selection: Selection) -> Tally:
    tally, holds = Tally(), store.holds()
    for seqs in found:
        tally.add(sorted_out(store.places(seqs, selection.slots), holds)[1])
    return tally
