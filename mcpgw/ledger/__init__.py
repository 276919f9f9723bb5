"""The ledger: append, prove, verify.

Read in this order: `record` and `describe` (what a leaf is and says), `tree` and `checkpoint` (how it is sealed), `writer` (how
it becomes durable), `journal` (how the other rooms see it). `approvals`, `floods` and the tree in `tiles` are what is kept
beside the log, and `store` is what all that asks of a database: `sqlite` and the `postgres` files alone know SQL. `verify`
trusts none of them: it works with pure formats alone on what they stored.
"""

from mcpgw.ledger.describe import RecordContext
from mcpgw.ledger.floods import FloodLimits
from mcpgw.ledger.ids import new_id
from mcpgw.ledger.journal import COUNTED, Ledger
from mcpgw.ledger.keys import create_keys
from mcpgw.ledger.store import Query, StoredRecord

__all__ = ["COUNTED", "FloodLimits", "Ledger", "Query", "RecordContext", "StoredRecord", "create_keys", "new_id"]
