"""The door of a receiver, and the two ways in which it does not take what it is given."""

from collections.abc import Sequence
from typing import Protocol

from mcpgw.core.errors import GatewayError
from mcpgw.sinks.outbox import OutgoingEvent


class SinkUnavailable(GatewayError):
    """Not acknowledged, and worth another try: down, busy, misconfigured or silent. Events may have arrived all the same."""

    def __init__(self, message: str, *, retry_after_s: float = 0.0, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s
        """What the receiver asked for; 0 where it did not."""


class SinkRefused(GatewayError):
    """The receiver will not take this batch, however often it is sent: at least one event in it is not to its liking."""


class Receiver(Protocol):
    async def send(self, events: Sequence[OutgoingEvent]) -> None:
        """Hand over events, in order. Returns once the receiver has acknowledged all of them.

        Raises:
            SinkUnavailable: not acknowledged.
            SinkRefused: refused for good.
        """
        ...
