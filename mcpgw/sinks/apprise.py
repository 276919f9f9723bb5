"""Mail, Slack, Teams and what else Apprise can reach. The library is an extra (`mcpgw[notify]`), loaded where it is configured.

Apprise says of a message only whether everybody got it. So each address is a receiver of its own here, and who has taken a
message is remembered while this process lives: an address that is down does not make the others hear everything twice.
"""

import json
import logging
from collections.abc import Sequence
from typing import Any

from mcpgw.core.errors import ConfigError
from mcpgw.sinks.config import NoticeApprise
from mcpgw.sinks.outbox import OutgoingEvent
from mcpgw.sinks.receiver import SinkUnavailable

_REMEMBERED = 10_000
"""Deliveries that are remembered, the newest: far more than wait at any time."""


class AppriseReceiver:
    """Acknowledges a notice when every address has taken it."""

    def __init__(self, config: NoticeApprise) -> None:
        """Raises `ConfigError` if the library is missing or does not understand an address. No address is in the error."""
        library = _library(config.name)
        self._name = config.name
        self._services: list[Any] = []
        for number, address in enumerate(config.addresses, start=1):
            service = library.Apprise()
            if not service.add(address):
                hint = "The forms are listed in Apprise's documentation: slack://…, mailtos://…, msteams://…"
                raise ConfigError(f"address {number} is none that Apprise understands", where=_where(config.name), hint=hint)
            self._services.append(service)
        self._taken: dict[tuple[str, int], None] = {}

    async def send(self, events: Sequence[OutgoingEvent]) -> None:
        failed: set[int] = set()
        for event in events:
            said = json.loads(event.body)
            for number, service in enumerate(self._services):
                if (event.uid, number) not in self._taken:
                    if await self._told(service, said):
                        self._remember((event.uid, number))
                    else:
                        failed.add(number + 1)
        if failed:
            which = ", ".join(str(number) for number in sorted(failed))
            raise SinkUnavailable(f"address {which} of {len(self._services)} did not take the message")

    async def _told(self, service: Any, said: dict[str, Any]) -> bool:
        try:
            return bool(await service.async_notify(title=said["title"], body=said["text"], body_format="text"))
        except Exception as error:  # turned into "not taken": a plugin of the library may raise anything
            logging.getLogger(__name__).warning("notifier %s: %s", self._name, type(error).__name__)
            return False

    def _remember(self, delivery: tuple[str, int]) -> None:
        self._taken[delivery] = None
        while len(self._taken) > _REMEMBERED:
            del self._taken[next(iter(self._taken))]


def _library(name: str) -> Any:
    try:
        import apprise  # lazy: an extra that few need, and slow to load
    except ImportError:
        hint = "Install it: pip install 'mcpgw[notify]'."
        raise ConfigError("needs the library Apprise, which is not installed", where=_where(name), hint=hint) from None
    logging.getLogger("apprise").setLevel(logging.CRITICAL)  # it logs addresses, which hold credentials
    return apprise


def _where(name: str) -> str:
    return f"notify.{name}.addresses"
