"""What the gateway and its redaction workers say to each other, over a pipe: length-prefixed frames of JSON.

A frame is four bytes of length (big endian), then that many bytes. JSON and not pickle: a worker reads hostile data all day,
and what it sends back is parsed by the process that holds the keys.
"""

import json
from dataclasses import asdict
from typing import Any

from mcpgw.core.model import Masking, MaskingRule
from mcpgw.redaction.config import Audience, Blobs, Operator, Profile, RedactionConfig, TokenScope
from mcpgw.redaction.reader import ANYONE, Reader
from mcpgw.redaction.recognizers import Recognizer

LENGTH_BYTES = 4


def frame(body: bytes) -> bytes:
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def job(masking: Masking, payload: bytes, *, envelope: bool, reader: Reader = ANYONE) -> bytes:
    """Return the body of a job: a line of terms, then the payload's own bytes."""
    terms: dict[str, Any] = {
        "profile": masking.profile,
        "columns": masking.columns,
        "paths": masking.paths,
        "envelope": envelope,
        "reader": {
            "members": sorted(reader.members),
            "scope": reader.scope,
            "known": dict(reader.known),
            "before": reader.before,
        },
    }
    if masking.rules:
        terms["rules"] = [asdict(rule) for rule in masking.rules]
    return json.dumps(terms).encode("ascii") + b"\n" + payload


def read_job(body: bytes) -> tuple[Masking, bool, Reader, Any]:
    line, _, payload = body.partition(b"\n")
    terms = json.loads(line)
    masking = Masking(
        profile=terms["profile"],
        columns=tuple(terms["columns"]),
        paths=tuple(terms["paths"]),
        rules=tuple(
            MaskingRule(path=rule["path"], unmasked_for=tuple(rule["unmasked_for"]), operator=rule["operator"])
            for rule in terms.get("rules", ())
        ),
    )
    told = terms["reader"]
    reader = Reader(**{**told, "members": frozenset(told["members"])})
    return masking, terms["envelope"], reader, json.loads(payload)


def settings(config: RedactionConfig) -> bytes:
    return json.dumps({**asdict(config), "hash_key": config.hash_key.hex()}).encode("ascii")


def read_settings(body: bytes) -> RedactionConfig:
    values = json.loads(body)
    profiles = {
        name: Profile(
            default=Operator(profile["default"]),
            operators=_operators(profile["operators"]),
            columns=tuple(profile["columns"]),
            paths=tuple(profile["paths"]),
            audiences=tuple(
                Audience(members=tuple(audience["members"]), operators=_operators(audience["operators"]))
                for audience in profile["audiences"]
            ),
        )
        for name, profile in values.pop("profiles").items()
    }
    recognizers = tuple(Recognizer(**{**told, "context": tuple(told["context"])}) for told in values.pop("recognizers"))
    return RedactionConfig(
        **{
            **values,
            "hash_key": bytes.fromhex(values["hash_key"]),
            "blobs": Blobs(values["blobs"]),
            "packs": tuple(values["packs"]),
            "token_scope": TokenScope(values["token_scope"]),
        },
        profiles=profiles,
        recognizers=recognizers,
    )


def _operators(told: dict[str, str]) -> dict[str, Operator]:
    return {entity: Operator(operator) for entity, operator in told.items()}
