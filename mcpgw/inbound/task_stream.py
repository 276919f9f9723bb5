"""`notifications/tasks` on a `subscriptions/listen` stream: the tasks extension's part of it, beside the SDK's own handler."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

import anyio
import mcp_types
from mcp.server.context import ServerRequestContext
from mcp.shared.subscriptions import SUBSCRIPTION_ID_META_KEY

from mcpgw.inbound.caller import caller_of
from mcpgw.inbound.origin import origin_of
from mcpgw.inbound.peer import Notification
from mcpgw.inbound.questions import declares
from mcpgw.inbound.tasks import Tasks, must_declare

logger = logging.getLogger(__name__)

Context = ServerRequestContext[Any, Any]


@asynccontextmanager
async def telling_of_tasks(ctx: Context, tasks: Tasks) -> AsyncIterator[Context]:
    """Yield the context to listen with; until the block ends, the tasks that the request names are told of on its stream.

    Raises:
        MCPError: tasks are named by a client that does not declare the extension, or too many of them.
    """
    named = _named(ctx)
    if not named:
        yield ctx
        return
    must_declare(ctx)
    own = await tasks.watched(named, caller_of(ctx).identity)
    session = _Acknowledging(ctx.session, own)
    async with anyio.create_task_group() as telling:
        telling.start_soon(_tell, ctx, tasks, session)
        yield replace(ctx, session=cast("Any", session))
        telling.cancel_scope.cancel()


def _named(ctx: Context) -> list[object]:
    notifications = (ctx.params or {}).get("notifications")
    named = notifications.get("taskIds") if isinstance(notifications, dict) else None
    return named if isinstance(named, list) else []


@dataclass(slots=True)
class _Acknowledging:
    """The session as the SDK's handler writes to it, which acknowledges the tasks as well. Nothing comes before that."""

    session: Any
    task_ids: list[str]
    acknowledged: anyio.Event = field(default_factory=anyio.Event)

    async def send_notification(
        self, notification: mcp_types.ServerNotification, related_request_id: mcp_types.RequestId | None = None
    ) -> None:
        if isinstance(notification, mcp_types.SubscriptionsAcknowledgedNotification):
            agreed = notification.params.notifications.model_copy(update={"taskIds": self.task_ids})
            params = notification.params.model_copy(update={"notifications": agreed})
            notification = notification.model_copy(update={"params": params})
        await self.session.send_notification(notification, related_request_id)
        self.acknowledged.set()


async def _tell(ctx: Context, tasks: Tasks, session: _Acknowledging) -> None:
    await session.acknowledged.wait()
    try:
        async for task in tasks.follow(session.task_ids, caller_of(ctx), origin_of(ctx), declares(ctx)):
            meta = {**task.get("_meta", {}), SUBSCRIPTION_ID_META_KEY: ctx.request_id}
            told = cast("mcp_types.ServerNotification", Notification("notifications/tasks", {**task, "_meta": meta}))
            await session.session.send_notification(told, ctx.request_id)
    except Exception:
        # Notifications are an extra: whatever is wrong ends them, in the log, and the client asks by `tasks/get`.
        logger.exception("a stream is no longer told of its tasks")
