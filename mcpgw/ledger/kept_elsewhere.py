"""Checkpoints that were kept out of the database admin's reach, read back to compare the log with.

Nothing is believed that the log's own key did not sign, and a witness's answer only if the witness cosigned it too. What cannot
be believed is not compared: somebody who can write into an anchor could otherwise make an honest log look altered. So these
functions never return nothing: where no checkpoint is left to be believed, they say so.

    Layout of a directory, and of a bucket below its prefix: SIZE.HASH.checkpoint, a signed note; SIZE has 20 digits, HASH is
    the first 16 hex digits of the note's SHA-256. An RFC 3161 answer over the note's bytes has the same name and `.tsr`.
    A name that was taken by half a file, after a power cut, is passed over: SIZE.HASH.2.checkpoint. Other files are ignored.
"""

import hashlib
import ipaddress
import re
import ssl
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

from mcpgw.core.errors import ConfigError
from mcpgw.ledger.checkpoint import MAX_NOTE_BYTES, Checkpoint, InvalidNote, NoteVerifier, open_checkpoint
from mcpgw.ledger.cosignature import CosignatureVerifier
from mcpgw.ledger.trust import TrustPolicy

SUFFIX = ".checkpoint"
_NAME = re.compile(r"(?P<size>\d{20})\.[0-9a-f]{16}(\.\d+)?\.checkpoint")
_TIMEOUT_S = 15.0


def file_name(size: int, note: bytes) -> str:
    """Return how a note over `size` records is called. The same note has the same name, another one never has it."""
    return f"{size:020}.{hashlib.sha256(note).hexdigest()[:16]}{SUFFIX}"


def size_in(name: str) -> int:
    """Return the size in a name of that form; 0 for any other name."""
    found = _NAME.fullmatch(name)
    return int(found["size"]) if found else 0


def checkpoints_in(directory: Path, verifiers: Sequence[NoteVerifier]) -> Sequence[Checkpoint]:
    """Return the checkpoints of an anchor directory that one of the verifiers signed, the smallest first; at least one.

    Two of one size with different roots are both returned: the log has one of them at most, and the other proves a fork.
    Files that no verifier signed, or that a power cut left half written, are not in it.

    Raises:
        ConfigError: the directory cannot be read, or holds nothing to be believed.
    """
    try:
        names = sorted(path for path in directory.iterdir() if _NAME.fullmatch(path.name))
        found = {checkpoint for path in names for checkpoint in _believed(path, verifiers)}
    except OSError as error:
        raise ConfigError(f"the anchor cannot be read: {error.strerror}", where=str(error.filename or directory)) from error
    if not found:
        what = f"none of its {len(names)} files is a checkpoint that this log's keys signed" if names else "it is empty"
        raise ConfigError(f"there is no checkpoint to compare with: {what}", where=str(directory))
    return sorted(found, key=lambda checkpoint: (checkpoint.size, checkpoint.root))


def checkpoints_from_witness(
    url: str, witness: CosignatureVerifier, verifiers: Sequence[NoteVerifier], *, ca: str = ""
) -> Sequence[Checkpoint]:
    """Ask a witness for the newest checkpoint of this log that it cosigned, and return it alone in a sequence.

    `url` is the monitoring prefix of C2SP tlog-witness: `GET <url>/<hex SHA-256 of the origin>/checkpoint`. `verifiers` are
    of one log; `ca` is a PEM file of authorities that are trusted instead of the system's.

    Raises:
        ConfigError: the address is none, plain http beyond loopback, or cannot be asked; the witness knows no such log; or it
            answered with what the log or the witness did not sign.
    """
    if not verifiers:
        raise ValueError("a checkpoint needs at least one public key to be believed")
    origin = verifiers[0].name
    note = _fetched(url, f"/{hashlib.sha256(origin.encode()).hexdigest()}/checkpoint", ca)
    try:
        text = note.decode("utf-8")
        if open_checkpoint(text, [witness]) != (checkpoint := open_checkpoint(text, verifiers)) or checkpoint.origin != origin:
            raise InvalidNote("it is of another log")
    except (InvalidNote, UnicodeDecodeError) as error:
        raise ConfigError(f"what the witness shows cannot be believed: {error}", where=url) from error
    return [checkpoint]


def checkpoints_by_policy(
    policy: TrustPolicy, verifiers: Sequence[NoteVerifier], *, ca: str = ""
) -> tuple[Sequence[Checkpoint], Mapping[str, str]]:
    """Ask every witness of the policy that has a URL, and return what a quorum of them cosigned, and why others did not answer.

    Each witness answers with the newest checkpoint that it knows, and these may differ: a log that continues all of them is one
    that a quorum vouches for up to the smallest.

    Raises:
        ConfigError: those who gave an answer to be believed make no quorum.
    """
    found: dict[str, Checkpoint] = {}
    failed: dict[str, str] = {}
    for witness in policy.witnesses:
        try:
            if not witness.url:
                raise ConfigError("it has no URL")
            (found[witness.name],) = checkpoints_from_witness(witness.url, witness.verifier, verifiers, ca=ca)
        except ConfigError as error:
            failed[witness.name] = str(error)
    if not found or not policy.is_reached_by(found.keys()):
        told = "; ".join(f"{name}: {why}" for name, why in failed.items()) or "it asks for nobody"
        raise ConfigError(f"the quorum {policy.quorum} of the policy's witnesses is not reached ({told})", where="--policy")
    return sorted(set(found.values()), key=lambda checkpoint: (checkpoint.size, checkpoint.root)), failed


def require_https(url: str, where: str) -> None:
    """Raises: ConfigError: `url` is not https, nor http on loopback, or has a login, a query or a fragment in it."""
    try:
        parts = urlsplit(url)
        plain = not (parts.username or parts.password or parts.query or parts.fragment)
        if plain and parts.hostname and parts.port != 0 and (parts.scheme == "https" or _is_loopback(url)):
            return
    except ValueError:
        pass  # no address either
    hint = "Write https://HOST/PATH without a login; plain http is for loopback alone."
    raise ConfigError("is no https:// address", where=where, hint=hint)


def _believed(path: Path, verifiers: Sequence[NoteVerifier]) -> Sequence[Checkpoint]:
    with path.open("rb") as file:
        note = file.read(MAX_NOTE_BYTES + 1)
    try:
        return [open_checkpoint(note.decode("utf-8"), verifiers)]
    except (InvalidNote, UnicodeDecodeError):
        return []


def _fetched(url: str, path: str, ca: str) -> bytes:
    """Get one bounded answer; nothing is followed, and no proxy of the environment is used."""
    require_https(url, "the witness's address")
    parts = urlsplit(url)
    try:
        connection = _connection(parts.scheme, parts.hostname or "", parts.port, ca)
        try:
            connection.request("GET", parts.path.rstrip("/") + path, headers={"User-Agent": "mcpgw", "Accept": "text/plain"})
            response = connection.getresponse()
            body = response.read(MAX_NOTE_BYTES + 1)
        finally:
            connection.close()
    except (OSError, HTTPException) as error:
        raise ConfigError(f"the witness gave no answer ({type(error).__name__})", where=url) from error
    if response.status == HTTPStatus.NOT_FOUND:
        hint = "Is the log's key in its witness.toml, and has it been asked to cosign?"
        raise ConfigError("the witness has no checkpoint of this log", where=url, hint=hint)
    if response.status != HTTPStatus.OK:
        raise ConfigError(f"the witness answered {response.status}", where=url)
    return body


def _connection(scheme: str, host: str, port: int | None, ca: str) -> HTTPConnection:
    if scheme == "http":
        return HTTPConnection(host, port, timeout=_TIMEOUT_S)
    return HTTPSConnection(host, port, timeout=_TIMEOUT_S, context=ssl.create_default_context(cafile=ca or None))


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return urlsplit(url).scheme == "http" and (host == "localhost" or ipaddress.ip_address(host).is_loopback)
    except ValueError:
        return False
