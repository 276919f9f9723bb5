"""A bucket with S3 Object Lock: one object for each checkpoint, which nobody can delete or replace before its time is over.

Compliance mode: not even the account's root user can shorten the time. An object of a name is created once
(`If-None-Match: *`); versioning, which Object Lock needs, would keep the first one in any case.
"""

import hashlib
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import boto3
from anyio import CapacityLimiter, to_thread
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from mcpgw.core.model import JsonObject
from mcpgw.ledger.anchors.anchor import AnchorFailed, Head, Proofs
from mcpgw.ledger.kept_elsewhere import file_name, require_https

_TIMEOUT_S = 15.0
_THERE_ALREADY = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}
_BOTO = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 1}, signature_version="s3v4")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    name: str
    prefix: str = ""
    region: str = ""
    endpoint: str = ""
    """Empty: Amazon's."""
    ca: str = ""
    access_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)
    """Empty: what boto3 finds, such as the role of the machine."""
    retention_s: float


class S3Anchor:
    kind = "s3"

    def __init__(self, name: str, bucket: Bucket) -> None:
        """Raises: ConfigError: the address is none. Nothing is asked of the bucket yet."""
        if bucket.endpoint:
            require_https(bucket.endpoint, f"anchor.to.{name}.url")
        self.name = name
        self.where = f"s3://{bucket.name}/{bucket.prefix}"
        self._bucket = bucket
        self._client: Any = None  # made in the thread that first uses it: boto3 reads files for it
        self._threads = CapacityLimiter(1)

    async def accept(self, head: Head, proofs: Proofs) -> JsonObject:
        try:
            with anyio.fail_after(_TIMEOUT_S):
                return await to_thread.run_sync(self._keep, head, abandon_on_cancel=True, limiter=self._threads)
        except TimeoutError as error:
            raise AnchorFailed(f"the bucket did not answer within {_TIMEOUT_S:.0f} s") from error
        except ClientError as error:
            raise AnchorFailed(f"the bucket refused: {error.response.get('Error', {}).get('Code', 'no reason')}") from error
        except BotoCoreError as error:
            raise AnchorFailed(f"the bucket gave no answer ({type(error).__name__})") from error

    def _keep(self, head: Head) -> Mapping[str, Any]:
        self._client = self._client or _client(self._bucket)
        note = head.note.encode()
        key = self._bucket.prefix + file_name(head.checkpoint.size, note)
        until = datetime.now(UTC) + timedelta(seconds=self._bucket.retention_s)
        try:
            self._client.put_object(
                Bucket=self._bucket.name,
                Key=key,
                Body=note,
                ContentType="text/plain; charset=utf-8",
                ChecksumAlgorithm="SHA256",
                ChecksumSHA256=b64encode(hashlib.sha256(note).digest()).decode(),
                IfNoneMatch="*",
                ObjectLockMode="COMPLIANCE",
                ObjectLockRetainUntilDate=until,
            )
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") not in _THERE_ALREADY:
                raise
        self._require_lock(key, note)
        return {"object": key}

    def _require_lock(self, key: str, note: bytes) -> None:
        """What was put must be there, and locked: a bucket without Object Lock takes the object all the same."""
        found = self._client.get_object(Bucket=self._bucket.name, Key=key)
        if found["Body"].read(len(note) + 1) != note:
            raise AnchorFailed(f"the bucket holds something else as {key}")
        if found.get("ObjectLockMode") != "COMPLIANCE":
            raise AnchorFailed("the bucket does not lock what it is given", hint="Make it with Object Lock enabled.")


def _client(bucket: Bucket) -> Any:
    credentials: dict[str, str] = {}
    if bucket.access_key:
        credentials = {"aws_access_key_id": bucket.access_key, "aws_secret_access_key": bucket.secret_key}
    return boto3.client(
        "s3",
        endpoint_url=bucket.endpoint or None,
        region_name=bucket.region or None,
        verify=bucket.ca or None,
        config=_BOTO,
        **credentials,
    )
