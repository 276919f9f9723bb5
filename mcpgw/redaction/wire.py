"""What the gateway and its redaction workers say to each other, over a pipe: length-prefixed frames of JSON.

A frame is four bytes of length (big endian), then that many bytes. JSON and not pickle: a worker reads hostile data all day,
and what it sends back is parsed by the process that holds the keys.
"""

import json
from dataclasses import asdict
from typing import Any

from mcpgw.core.model import Masking
from mcpgw.redaction.config import Blobs, Operator, Profile, RedactionConfig

LENGTH_BYTES = 4


def frame(body: bytes) -> bytes:
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def job(masking: Masking, payload: bytes, *, envelope: bool) -> bytes:
    """Return the body of a job: a line of terms, then the payload's own bytes."""
    terms = {"profile": masking.profile, "columns": masking.columns, "paths": masking.paths, "envelope": envelope}
    return json.dumps(terms).encode("ascii") + b"\n" + payload


def read_job(body: bytes) -> tuple[Masking, bool, Any]:
    line, _, payload = body.partition(b"\n")
    terms = json.loads(line)
    masking = Masking(profile=terms["profile"], columns=tuple(terms["columns"]), paths=tuple(terms["paths"]))
    return masking, terms["envelope"], json.loads(payload)


def settings(config: RedactionConfig) -> bytes:
    return json.dumps({**asdict(config), "hash_key": config.hash_key.hex()}).encode("ascii")


def read_settings(body: bytes) -> RedactionConfig:
    values = json.loads(body)
    profiles = {
        name: Profile(
            default=Operator(profile["default"]),
            operators={entity: Operator(operator) for entity, operator in profile["operators"].items()},
            columns=tuple(profile["columns"]),
            paths=tuple(profile["paths"]),
        )
        for name, profile in values.pop("profiles").items()
    }
    hash_key, blobs = bytes.fromhex(values.pop("hash_key")), Blobs(values.pop("blobs"))
    return RedactionConfig(**values, profiles=profiles, hash_key=hash_key, blobs=blobs)
