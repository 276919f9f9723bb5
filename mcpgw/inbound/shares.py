"""How many sessions and streams may stand open, in all and for one identity: nobody can take them all."""

from collections.abc import Iterable

from mcpgw.core.model import RefusalCode
from mcpgw.inbound.config import InboundConfig
from mcpgw.inbound.head import Turned


def must_have_room(principal: str, holders: Iterable[str], config: InboundConfig, what: str) -> None:
    """Check that one more may be opened beside those of `holders`, the principals of what is open; `what` names it.

    An identity is one however many clients and delegations it comes with.

    Raises:
        Turned: 429 where this identity has its share (RFC 6585 section 4), 503 where all are taken.
    """
    open_by = list(holders)
    if open_by.count(principal) >= config.max_sessions_per_identity:
        limit = config.max_sessions_per_identity
        reason = f"You have {limit} open {what}, which is as many as one identity may have. Close some, or use those again."
        raise Turned(429, reason, code=RefusalCode.DENIED, headers={"retry-after": "60"})
    if len(open_by) >= config.max_sessions:
        raise Turned(
            503, f"Too many open {what}. Try again in a minute.", code=RefusalCode.UNAVAILABLE, headers={"retry-after": "60"}
        )
