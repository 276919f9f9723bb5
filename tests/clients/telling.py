"""What each program here shares. It is told the way to a gateway as JSON, does what its client can, and tells a step per line.

Run as `PROGRAM WAY`, in the environment of its client: WAY has `url` and `key`, or `command`, `args` and `env`; and a `marker`.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

WAY: dict[str, Any] = json.loads(sys.argv[1])
HEADERS = {"Authorization": f"Bearer {WAY.get('key', '')}"}
DAY = {"day": "Monday"}
"""What is filled in to the form of `asking__book`."""
SUMMARY = "short"
"""What the model says for `asking__sum_up`."""
CALLS = {
    "called": ("story__echo", {"text": "hello"}),
    "refused": ("story__add", {"a": 1, "b": 2}),
    "failed": ("story__fail", {}),
}
ELICITS = ("asking__book", {"what": "room"})
SAMPLES = ("asking__sum_up", {"text": "long"})
HELD = ("story__count", {"marker": WAY["marker"]})
PROMPT = ("story__tell", {"who": "Ann"})
RESOURCE = "mcpgw+story+story://one"
_PENDING = "not executed"


def tell(step: str, said: Any) -> None:
    print(json.dumps({"step": step, "said": said}), flush=True)


async def until_done(call: Callable[[], Awaitable[str]]) -> str:
    """Make a call again until it is not pending any more; tell that it was, once."""
    was_pending = False
    while _PENDING in (said := await call()):
        if not was_pending:
            tell("pending", said)
        was_pending = True
        await asyncio.sleep(0.1)
    return said
