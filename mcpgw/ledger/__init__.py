"""The ledger: append, prove, verify.

Read in this order: `record` (what a leaf says), `tree` and `checkpoint` (how it is sealed), `writer` (how it becomes durable).
`approvals` and `floods` are what the writer keeps beside the log, `sqlite` is the one file that knows SQL, and `verify`
trusts none of them: it reads what they stored and works with pure formats alone.
"""

from mcpgw.ledger.floods import FloodLimits
from mcpgw.ledger.ids import new_id
from mcpgw.ledger.journal import COUNTED, Ledger
from mcpgw.ledger.keys import create_keys
from mcpgw.ledger.record import RecordContext
from mcpgw.ledger.store import Query, StoredRecord

__all__ = ["COUNTED", "FloodLimits", "Ledger", "Query", "RecordContext", "StoredRecord", "create_keys", "new_id"]
