"""How calls ended since this process started: the corridor's journal, with a count of what it has made durable."""

from collections import Counter
from dataclasses import dataclass

from mcpgw.core.entries import (
    Entry,
    Refusal,
    Rejection,
)
from mcpgw.core.model import (
    AlreadyDone,
    CleanReply,
    Failed,
    Outcome,
    Replay,
    Sealed,
)
from mcpgw.ports import EntryT, Journal


@dataclass(frozen=True, slots=True)
class Ended:
    """How a call ended, in the words of its record."""

    outcome: str
    """`completed`, `tool_error`, `failed` or `refused`."""
    code: str = ""
    """Of a failure or a refusal."""


class CountingJournal:
    """`Journal.append`, counted once it has returned."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.ended: Counter[Ended] = Counter()

    async def append(self, entry: EntryT) -> Sealed[EntryT]:
        """Raises as `Journal.append` does; nothing is counted then."""
        sealed = await self._journal.append(entry)
        if ended := _ended(entry):
            self.ended[ended] += 1
        return sealed


def _ended(entry: Entry) -> Ended | None:
    match entry:
        case Outcome(result=Failed() as failed):
            return Ended("failed", failed.code.value)
        case Outcome(result=CleanReply() as reply) | Replay(done=AlreadyDone(reply=reply)):
            return Ended("tool_error" if reply.is_error else "completed")
        case Refusal() | Rejection():
            return Ended("refused", entry.refused.code.value)
    return None
