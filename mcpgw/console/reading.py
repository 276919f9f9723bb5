"""Whoever reads evidence leaves a record of it first."""

from collections.abc import Mapping
from typing import Any

from mcpgw.console.arrival import Visit
from mcpgw.console.room import Room
from mcpgw.core.entries import Event


async def note_reading(room: Room, visit: Visit, facts: Mapping[str, Any]) -> None:
    """Record what was asked for, not what was found.

    Raises:
        LedgerUnavailable: it cannot be recorded, so nothing is read.
    """
    await room.doors.journal.append(Event(kind="evidence.read", actor=visit.identity.principal, facts=facts))
