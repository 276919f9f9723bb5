"""Previews: when a call is held, its server may be asked what it would do, where the catalog says how.

A preview is a call of its own that walks the corridor: as the same caller, allowed by policy outright or not made at all, with
an intent and an outcome on record. What came of it stands with the approval. The held call neither waits for it nor needs it.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import anyio
from anyio.abc import TaskGroup

from mcpgw.core.errors import AuthenticationError, QuestionRefused
from mcpgw.core.model import (
    Call,
    CleanNotice,
    Identity,
    JsonObject,
    Patience,
    Preview,
    RawNotice,
    Request,
    ShownCall,
    UnknownTarget,
    Waiting,
)
from mcpgw.pipeline import Corridor

logger = logging.getLogger(__name__)

_MOST: Final = 16
"""Previews under way at once in one process. Of a call beyond that there is none: people decide all the same."""


class _NobodyListens:
    """`ports.Peer` of a call that nobody waits for. It is allowed outright, so nothing of it is ever released later."""

    async def identity(self) -> Identity:
        raise AuthenticationError("A preview is never held, so it is not released to anybody.")

    def wants(self, notice: RawNotice) -> bool:
        return False

    async def notify(self, notice: CleanNotice) -> None:
        """Nothing is wanted, so nothing comes."""

    async def waiting(self, waiting: Waiting, message: str, elapsed_s: float) -> None:
        """It waits for nobody."""

    in_rounds = False

    async def answers(self, questions: Mapping[str, CleanNotice]) -> Mapping[str, JsonObject]:
        raise QuestionRefused("Nobody waits for this call, so nobody can be asked.")


@dataclass(slots=True)
class Previews:
    """Asks for the previews of calls as they are held."""

    corridor: Corridor
    tasks: TaskGroup
    timeout_s: float
    _under_way: set[str] = field(default_factory=set)

    def ask(self, shown: ShownCall, approval_id: str) -> None:
        """Have a call that was just held previewed, in the background, if the catalog says how."""
        call = shown.call
        if isinstance(call.target, UnknownTarget):
            return
        for preview in call.target.preview:
            if len(self._under_way) >= _MOST:
                logger.warning("%s: no preview, since %d are under way", approval_id, _MOST)
                return
            self._under_way.add(approval_id)
            self.tasks.start_soon(self._walk, call, preview, approval_id)

    async def _walk(self, call: Call, preview: Preview, approval_id: str) -> None:
        request = Request(
            identity=call.identity,
            kind=call.target.kind,
            name=preview.tool or call.target.name,
            arguments={**(call.sent or call.arguments), **preview.arguments},
            origin=call.origin,
            patience=Patience(budget_s=0.0),
            previews=approval_id,
        )
        try:
            with anyio.move_on_after(self.timeout_s):
                await self.corridor.walk(request, _NobodyListens())
        except Exception:
            # The corridor raises nothing; whatever else fails ends in the log, and the call is held as it is.
            logger.exception("%s: its preview failed", approval_id)
        finally:
            self._under_way.discard(approval_id)
