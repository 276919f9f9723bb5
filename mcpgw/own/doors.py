"""What the tools for approvers are given. `app/own.py` fills it in with the desk and the redactor."""

from collections.abc import Sequence
from typing import Protocol

from mcpgw.core.entries import Verdict
from mcpgw.core.model import Identity
from mcpgw.ports import Approval, ApprovalState, Sheet


class Standing(Protocol):
    @property
    def tally(self) -> str: ...


class ApproversDesk(Protocol):
    """The people's side of the desk. It alone decides who sees what and whose vote counts; what it refuses is a
    `GatewayError`, or a `ValueError` about a comment."""

    async def docket(self, viewer: Identity, states: Sequence[ApprovalState], limit: int) -> tuple[Approval, ...]: ...

    async def show(self, approval_id: str, viewer: Identity) -> Sheet:
        """Record the reading, then lay the approval out."""
        ...

    async def vote(
        self, approval_id: str, voter: Identity, verdict: Verdict, comment: str = "", *, shown: str = ""
    ) -> Approval: ...

    def objection(self, viewer: Identity, approval: Approval) -> str:
        """Return why the viewer's vote would be refused; empty if it would count."""
        ...

    def standing(self, approval: Approval) -> Standing: ...
