"""Finding the events that a receiver refuses for good, without ever taking a misconfigured receiver for bad events.

A batch that is refused is not discarded. Single events of it are offered first: only where the receiver takes at least one of
them can the fault be in the others, and these are then found by halving. A receiver that takes none is treated as one that is
down: nothing is passed over, and the lag shows.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from mcpgw.sinks.outbox import OutgoingEvent
from mcpgw.sinks.receiver import Receiver, SinkRefused, SinkUnavailable

_SAMPLE = 8
"""Events offered singly to learn whether the receiver takes any. Drawn anew each time, so bad luck does not last."""


@dataclass(frozen=True, slots=True)
class RefusedEvent:
    seq: int
    uid: str
    kind: str
    why: str


async def send_sifted(receiver: Receiver, events: Sequence[OutgoingEvent]) -> tuple[RefusedEvent, ...]:
    """Send a batch; return what is refused for good while its neighbours are taken. All others are acknowledged.

    Raises:
        SinkUnavailable: not everything is settled; the whole batch has to be sent again.
    """
    try:
        await receiver.send(events)
    except SinkRefused as refusal:
        await _require_one_taken(receiver, events, refusal)
        return await _sift(receiver, events, refusal)
    return ()


async def _require_one_taken(receiver: Receiver, events: Sequence[OutgoingEvent], refusal: SinkRefused) -> None:
    if len(events) > 1:
        for event in random.sample(events, min(_SAMPLE, len(events))):
            try:
                await receiver.send([event])
            except SinkRefused:
                continue
            return
    raise SinkUnavailable(f"{refusal}; it took none of the events that were tried, so none is given up") from refusal


async def _sift(receiver: Receiver, events: Sequence[OutgoingEvent], refusal: SinkRefused) -> tuple[RefusedEvent, ...]:
    """`events` were refused together."""
    if len(events) == 1:
        (event,) = events
        return (RefusedEvent(event.seq, event.uid, event.kind, str(refusal)),)
    refused: list[RefusedEvent] = []
    middle = len(events) // 2
    for half in (events[:middle], events[middle:]):
        try:
            await receiver.send(half)
        except SinkRefused as again:
            refused += await _sift(receiver, half, again)
    return tuple(refused)
