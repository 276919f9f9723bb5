"""A signed HTTPS POST, after Standard Webhooks (https://www.standardwebhooks.com), so that its libraries can check it.

webhook-id          names the batch; the same events in the same batch have the same id
webhook-timestamp   Unix seconds of this attempt
webhook-signature   v1,base64(HMAC-SHA256(key, id "." timestamp "." body))
"""

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Sequence

import aiohttp

from mcpgw.core.errors import ConfigError
from mcpgw.sinks.config import WebhookSink
from mcpgw.sinks.http import post, require_success
from mcpgw.sinks.outbox import OutgoingEvent

_PREFIX = "whsec_"


class WebhookReceiver:
    """Posts a JSON array of events; any status of 200 to 299 acknowledges all of them."""

    def __init__(self, config: WebhookSink, client: aiohttp.ClientSession) -> None:
        """Raises `ConfigError` if the secret begins with `whsec_` and does not go on in base64."""
        self._url = config.url
        self._key = _key(config)
        self._client = client

    async def send(self, events: Sequence[OutgoingEvent]) -> None:
        body = b"[" + b",".join(event.body for event in events) + b"]"
        batch, timestamp = _batch_id(events), str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            "webhook-id": batch,
            "webhook-timestamp": timestamp,
            "webhook-signature": signature(self._key, batch, timestamp, body),
        }
        require_success(await post(self._client, self._url, body, headers))


def signature(key: bytes, batch: str, timestamp: str, body: bytes) -> str:
    """Return the value of `webhook-signature`."""
    digest = hmac.new(key, f"{batch}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def _key(config: WebhookSink) -> bytes:
    if not config.secret.startswith(_PREFIX):
        return config.secret.encode()
    try:
        return base64.b64decode(config.secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error as error:
        raise ConfigError("what follows `whsec_` is no base64", where=f"sinks.{config.name}.secret") from error


def _batch_id(events: Sequence[OutgoingEvent]) -> str:
    return "msg_" + hashlib.sha256("".join(event.uid for event in events).encode()).hexdigest()[:32]
