"""Checkpoints in a bucket with Object Lock, on a server that speaks S3 and keeps locked objects."""

import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from ledger_parts import ORIGIN
from moto.server import ThreadedMotoServer

from mcpgw.core.errors import ConfigError
from mcpgw.ledger.anchors.anchor import AnchorFailed, Head
from mcpgw.ledger.anchors.s3 import Bucket, S3Anchor
from mcpgw.ledger.checkpoint import Checkpoint, Signer
from mcpgw.ledger.kept_elsewhere import file_name

LOG = Signer(ORIGIN, b"l" * 32)
LOGIN = {"aws_access_key_id": "access", "aws_secret_access_key": "the secret key", "region_name": "us-east-1"}
DAY_S = 86_400.0


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(endpoint: str) -> Iterator[Any]:
    client = boto3.client("s3", endpoint_url=endpoint, **LOGIN)
    client.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
    client.create_bucket(Bucket="open")
    yield client
    boto3.client("s3", endpoint_url=endpoint, **LOGIN).close()
    import urllib.request

    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/moto-api/reset", method="POST"), timeout=10).close()
    client.close()


def anchor_for(endpoint: str, bucket: str = "locked") -> S3Anchor:
    place = Bucket(
        name=bucket,
        prefix="mcpgw/",
        region="us-east-1",
        endpoint=endpoint,
        access_key="access",
        secret_key="the secret key",
        retention_s=DAY_S,
    )
    return S3Anchor("vault", place)


def head(size: int) -> Head:
    checkpoint = Checkpoint(ORIGIN, size, b"r" * 32)
    return Head(LOG.sign(checkpoint.text()), checkpoint)


async def no_proofs(first: int, second: int) -> Sequence[bytes]:
    pytest.fail("a bucket needs no proof")


async def test_a_checkpoint_is_kept_once_and_locked_in_compliance_mode(endpoint: str, s3: Any) -> None:
    before = datetime.now(UTC)
    for size in (3, 5, 5):
        facts = await anchor_for(endpoint).accept(head(size), no_proofs)
        assert facts == {"object": f"mcpgw/{file_name(size, head(size).note.encode())}"}
    versions = s3.list_object_versions(Bucket="locked")["Versions"]
    assert len(versions) == 2
    found = s3.get_object(Bucket="locked", Key=str(facts["object"]))
    assert found["Body"].read().decode() == head(5).note
    assert found["ObjectLockMode"] == "COMPLIANCE"
    assert found["ObjectLockRetainUntilDate"] >= before + timedelta(seconds=DAY_S - 1)
    for version in versions:
        with pytest.raises(ClientError, match="AccessDenied"):
            s3.delete_object(Bucket="locked", Key=version["Key"], VersionId=version["VersionId"])


async def test_a_bucket_that_does_not_lock_is_no_anchor(endpoint: str, s3: Any) -> None:
    with pytest.raises(AnchorFailed):
        await anchor_for(endpoint, "open").accept(head(3), no_proofs)


async def test_an_outage_is_told_without_the_secret(endpoint: str, s3: Any) -> None:
    with pytest.raises(AnchorFailed, match="refused: NoSuchBucket"):
        await anchor_for(endpoint, "nowhere").accept(head(3), no_proofs)
    with pytest.raises(AnchorFailed, match="gave no answer") as caught:
        await anchor_for("http://127.0.0.1:9").accept(head(3), no_proofs)
    assert "the secret key" not in f"{caught.value!r} {anchor_for(endpoint).where}"
    assert "the secret key" not in repr(Bucket(name="b", secret_key="the secret key", retention_s=1))


def test_plain_http_is_for_loopback_alone() -> None:
    with pytest.raises(ConfigError, match="no https"):
        anchor_for("http://s3.bank.example")
