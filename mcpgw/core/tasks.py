"""The tasks extension of 2026-07-28, by the name that both sides of the gateway know it by."""

from typing import Any, Final

TASKS_EXTENSION: Final = "io.modelcontextprotocol/tasks"
WITH_TASKS: Final[dict[str, Any]] = {"extensions": {TASKS_EXTENSION: {}}}
"""The `ClientCapabilities` of a client that takes a task for an answer to its call."""
TASK: Final = "task"
"""The `resultType` of a result which says that the call goes on as a task."""
