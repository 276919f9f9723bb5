"""Approval: a risky call waits at the desk until other people have looked at exactly what will run."""

from mcpgw.approval.desk import Desk
from mcpgw.approval.people import NotEntitled
from mcpgw.approval.seal import KEY_BYTES, SealBroken

__all__ = ["KEY_BYTES", "Desk", "NotEntitled", "SealBroken"]
