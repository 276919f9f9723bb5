"""Reading the log as it grows, from a process that does not write it."""

import time
from collections.abc import Iterator
from dataclasses import replace

from mcpgw.ledger.store import Query, Reading, StoredRecord

_POLL_S = 0.2
_PAGE = 500


def follow(store: Reading, query: Query) -> Iterator[StoredRecord]:
    """Yield what matches, oldest first, starting with the newest `query.limit`; then wait for more, without end."""
    size = store.size()
    yield from store.search(query)
    after = max(query.after_seq, size - 1)
    while True:
        found = store.search(replace(query, after_seq=after, limit=_PAGE))
        yield from found
        if found:
            after = found[-1].seq
        else:
            time.sleep(_POLL_S)
