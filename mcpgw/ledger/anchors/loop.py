"""Taking the newest checkpoint to every anchor whenever the log has grown, and telling when calls must wait for that.

    tend (each anchor)   log grew? ──► newest checkpoint ──► anchor ──kept──► `checkpoint.anchored`, then wait for the interval
                                                               └──failed──► `anchor.failed` once, then soon again
    watch                how old is the oldest record that fewer than `at_least` anchors cover? ──► `problem`

The records made here grow the log too, and are no reason to anchor again: an idle log stays as it is. Every process anchors for
itself and believes only what it has seen an anchor accept; the anchors take the same checkpoint twice, or a later one.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import anyio

from mcpgw.core.entries import Event, Refusal
from mcpgw.core.errors import GatewayError, LedgerUnavailable, NotAnchored
from mcpgw.core.model import (
    Intent,
    JsonObject,
    RefusalCode,
    Refused,
    Sealed,
)
from mcpgw.ledger.anchors.anchor import Anchor, AnchorFailed, Head, Overtaken
from mcpgw.ledger.checkpoint import InvalidNote, Verifier, open_checkpoint
from mcpgw.ledger.store import StoredRecord
from mcpgw.ports import EntryT, Journal

logger = logging.getLogger(__name__)

ANCHORED = "checkpoint.anchored"
FAILED = "anchor.failed"
_PAGE = 64


class AnchorLog(Protocol):
    """What anchoring needs of the ledger. Everything raises `LedgerUnavailable`; `export_checkpoint` any error of ours."""

    async def append(self, entry: Event) -> Sealed[Event]: ...

    async def records_after(self, seq: int, limit: int) -> Sequence[StoredRecord]: ...

    async def export_checkpoint(self) -> str: ...

    async def consistency(self, first: int, second: int) -> Sequence[bytes]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorRules:
    """How soon, and what happens if not. All times in seconds."""

    interval_s: float = 60.0
    """How late a checkpoint leaves at most while all is well."""
    required: bool = False
    """No call goes to an upstream while a record has waited for longer than `within_s`."""
    within_s: float = 300.0
    at_least: int = 1
    """How many anchors must have a record covered before it counts as anchored."""
    poll_s: float = 1.0
    """Between two looks at the log."""

    @property
    def spacing_s(self) -> float:
        """Between two checkpoints while the log grows: leaves an anchor time to answer within the interval."""
        return self.interval_s - min(5.0, self.interval_s / 4)

    def pause_s(self, failures: int) -> float:
        """Return how long to wait after so many failures in a row: seconds where calls wait, up to the interval elsewhere."""
        return min(2.0 if self.required else self.interval_s, float(2 ** min(failures - 1, 30)))


@dataclass(slots=True)
class _Standing:
    """How this process stands with one anchor."""

    covered: int = 0
    """Size of the largest checkpoint that it has accepted from us."""
    due: float = 0.0
    """When to go there next, on the monotonic clock."""
    failures: int = 0
    failing_since: float = 0.0
    told: bool = False
    """Whether the outage is on record."""


class Anchoring:
    def __init__(self, anchors: Sequence[Anchor], log: AnchorLog, verifiers: Sequence[Verifier], rules: AnchorRules) -> None:
        self._anchors = anchors
        self._log = log
        self._verifiers = verifiers
        self._rules = rules
        self._standings = {anchor.name: _Standing() for anchor in anchors}
        self._waiting_since_ns = 0  # Unix time of the oldest record that is not anchored; 0 if all are
        self._looked = float("-inf")  # when that was true, on the monotonic clock

    async def run(self) -> None:
        """Anchor until cancelled. What goes wrong with an anchor is on record and in the log, never an exception."""
        if not self._anchors:
            return
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch)
            for anchor in self._anchors:
                tasks.start_soon(self._tend, anchor)

    def problem(self) -> str:
        """Return why no call may go to an upstream, or nothing."""
        if not self._rules.required:
            return ""
        within_s = self._rules.within_s
        if time.monotonic() - self._looked > within_s:
            return "It is not known yet whether the log is anchored."
        if self._waiting_since_ns and time.time_ns() - self._waiting_since_ns > within_s * 1e9:
            failing = (
                ", ".join(name for name, standing in self._standings.items() if standing.failures) or "none has failed yet"
            )
            return (
                f"Records have waited for more than {within_s:.0f} s to be covered by a checkpoint in at least "
                f"{self._rules.at_least} of {len(self._anchors)} anchors (failing: {failing})."
            )
        return ""

    async def _watch(self) -> None:
        while True:
            await self._look()
            await anyio.sleep(self._rules.poll_s)

    async def _look(self) -> None:
        covered = sorted((standing.covered for standing in self._standings.values()), reverse=True)
        enough = covered[self._rules.at_least - 1]
        try:
            news = await self._news(enough)
        except LedgerUnavailable:
            return  # the ledger complains for itself; what was known grows old
        self._waiting_since_ns = int(news[0].index["time_ns"]) if news else 0
        self._looked = time.monotonic()

    async def _news(self, size: int) -> Sequence[StoredRecord]:
        """Return the first record behind that size which tells of anything but anchoring, if there is one."""
        while page := await self._log.records_after(size - 1, _PAGE):
            for record in page:
                if record.index["kind"] not in (ANCHORED, FAILED):
                    return [record]
            size = page[-1].seq + 1
        return []

    async def _tend(self, anchor: Anchor) -> None:
        standing = self._standings[anchor.name]
        while True:
            try:
                if time.monotonic() >= standing.due and await self._news(standing.covered):
                    await self._visit(anchor, standing)
            except GatewayError as error:  # the checkpoint cannot be read, or what came of it not be recorded: go again
                logger.warning("anchor %s: waiting for the ledger: %s", anchor.name, error)
            await anyio.sleep(self._rules.poll_s)

    async def _visit(self, anchor: Anchor, standing: _Standing) -> None:
        started = time.monotonic()
        try:
            head = await self._head()
            facts = await anchor.accept(head, self._log.consistency)
        except LedgerUnavailable:
            raise
        except Overtaken as error:
            if (await self._head()).checkpoint.size < error.seen:
                await self._failed(anchor, standing, error)
            return  # else another gateway was faster: look again
        except Exception as error:
            # Broad, because whatever an anchor does, the others and the calls go on: it becomes a record and a next try.
            await self._failed(anchor, standing, error)
            return
        about = {**_about(anchor), "size": head.checkpoint.size, "root": head.checkpoint.root.hex(), **facts}
        if standing.failures:
            about["outage_s"] = int(started - standing.failing_since)
        await self._log.append(Event(kind=ANCHORED, actor="gateway", facts=about))
        if standing.failures:
            logger.error("anchor %s: checkpoints are kept again, after %d s", anchor.name, about["outage_s"])
        self._standings[anchor.name].covered = head.checkpoint.size
        standing.failures, standing.told, standing.due = 0, False, started + self._rules.spacing_s
        await self._look()

    async def _head(self) -> Head:
        note = await self._log.export_checkpoint()
        try:
            return Head(note, open_checkpoint(note, self._verifiers))
        except InvalidNote as error:
            raise AnchorFailed(
                f"the log's newest checkpoint cannot be believed: {error}", hint="Run `mcpgw verify`."
            ) from error

    async def _failed(self, anchor: Anchor, standing: _Standing, error: Exception) -> None:
        standing.failures += 1
        standing.due = time.monotonic() + self._rules.pause_s(standing.failures)
        why = _worded(error)
        if standing.failures == 1:
            standing.failing_since = time.monotonic()
            unexpected = None if isinstance(error, GatewayError) else error
            logger.error("anchor %s: checkpoints are not kept: %s", anchor.name, why, exc_info=unexpected)
        if not standing.told:
            facts = {**_about(anchor), "size": standing.covered, "why": why}
            await self._log.append(Event(kind=FAILED, actor="gateway", facts=facts))
            standing.told = True


class AnchoredJournal:
    """The corridor's journal where anchoring is required: it takes no intent while records wait for an anchor for too long."""

    def __init__(self, journal: Journal, anchoring: Anchoring) -> None:
        self._journal = journal
        self._anchoring = anchoring

    async def append(self, entry: EntryT) -> Sealed[EntryT]:
        """`Journal.append`, and `NotAnchored` for an intent that must wait; its refusal is on record then."""
        if isinstance(entry, Intent) and (problem := self._anchoring.problem()):
            refused = Refused(code=RefusalCode.UNAVAILABLE, reason=problem)
            await self._journal.append(Refusal(shown=entry.shown, refused=refused))
            raise NotAnchored(problem, hint="See docs/anchors.md; /readyz tells when calls are taken again.")
        return await self._journal.append(entry)


def _about(anchor: Anchor) -> JsonObject:
    return {"anchor": anchor.name, "kind": anchor.kind, "where": anchor.where}


def _worded(error: Exception) -> str:
    """Say what is wrong without anybody's words. Only our own errors are known to hold none."""
    if isinstance(error, GatewayError):
        return " ".join(filter(None, (str(error), error.hint)))
    return f"an error in the gateway itself: {type(error).__name__}"
