"""RFC 3161: an authority's signature over the checkpoint's bytes and the time, kept beside the checkpoint in a directory.

The token says that this checkpoint existed at that time, whatever the log's own clock said. `openssl ts -verify` checks it.
"""

import hashlib
import ssl
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path

from cryptography.x509 import Certificate, load_pem_x509_certificates
from rfc3161_client import (
    HashAlgorithm,
    TimestampRequestBuilder,
    TimeStampResponse,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)
from rfc3161_client import Verifier as TokenVerifier
from rfc3161_client.tsp import TimeStampRequest

from mcpgw.core.errors import ConfigError
from mcpgw.core.model import JsonObject
from mcpgw.ledger.anchors.anchor import AnchorFailed, Head, Proofs
from mcpgw.ledger.anchors.directory import DirectoryAnchor
from mcpgw.ledger.anchors.http import post
from mcpgw.ledger.kept_elsewhere import require_https

SUFFIX = ".tsr"
"""The authority's whole answer (TimeStampResp, DER), as `openssl ts` reads it."""
_QUERY = "application/timestamp-query"
_REPLY = "application/timestamp-reply"


class TimestampAnchor:
    kind = "timestamp"

    def __init__(self, directory: DirectoryAnchor, url: str, trusted: Sequence[Certificate], context: ssl.SSLContext) -> None:
        """`trusted` are the certificates up to the authority's own; `directory` keeps what it answers.

        Raises:
            ConfigError: the address is none, or no root is among the certificates.
        """
        self.name = directory.name
        require_https(url, f"anchor.to.{self.name}.url")
        if not any(certificate.issuer == certificate.subject for certificate in trusted):
            raise ConfigError("holds no root certificate", where=f"anchor.to.{self.name}.trust")
        self.where = url
        self._directory = directory
        self._trusted = trusted
        self._context = context

    async def accept(self, head: Head, proofs: Proofs) -> JsonObject:
        note = head.note.encode()
        file = await self._directory.keep(head)
        request = TimestampRequestBuilder().data(note).hash_algorithm(HashAlgorithm.SHA256).build()
        answer = await post(self.where, request.as_bytes(), {"Content-Type": _QUERY}, self._context)
        if answer.status != HTTPStatus.OK or answer.content_type != _REPLY:
            raise AnchorFailed(f"the authority answered {answer.status}, and no {_REPLY}")
        token = verified_token(answer.body, note, self._verifier(request))
        kept = await self._directory.keep_beside(file, SUFFIX, answer.body)
        return {
            "file": file.name,
            "token": kept.name,
            "token_sha256": hashlib.sha256(answer.body).hexdigest(),
            "stamped": token.tst_info.gen_time.isoformat(),
        }

    def _verifier(self, request: TimeStampRequest) -> TokenVerifier:
        return _building(VerifierBuilder.from_request(request), self._trusted).build()


def verified_token(answer: bytes, note: bytes, verifier: TokenVerifier) -> TimeStampResponse:
    """Return the answer if it is a granted token over the note that the verifier believes.

    Raises:
        AnchorFailed: it is none.
    """
    try:
        response = decode_timestamp_response(answer)
        verifier.verify_message(response, note)
    except (VerificationError, ValueError) as error:
        raise AnchorFailed("the authority's answer is no token over this checkpoint by a certificate trusted here") from error
    return response


def token_verifier(trusted: Sequence[Certificate]) -> TokenVerifier:
    """Return what believes tokens of authorities below those roots, whenever they were made."""
    return _building(VerifierBuilder(), trusted).build()


def load_certificates(path: Path, where: str) -> Sequence[Certificate]:
    """Read a PEM file.

    Raises:
        ConfigError: it cannot be read, or holds no certificate.
    """
    try:
        return load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=where) from error
    except ValueError as error:
        raise ConfigError("is no PEM file of certificates", where=where) from error


def _building(builder: VerifierBuilder, trusted: Sequence[Certificate]) -> VerifierBuilder:
    for certificate in trusted:
        if certificate.issuer == certificate.subject:
            builder = builder.add_root_certificate(certificate)
        else:
            builder = builder.add_intermediate_certificate(certificate)
    return builder
