"""A witness's working folder: what its operator edits, its key, and what it has seen.

witness.toml   listener, and the verifier keys of the logs that it knows; without one it cosigns nothing
witness.key    its private key, mode 0600
witness.pub    its verifier key, for whoever is to believe it
witness.db     its memory: never to be replaced by an older copy
"""

import json
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcpgw.core.errors import ConfigError
from mcpgw.core.toml import line_of, parse, suggestion
from mcpgw.ledger.checkpoint import InvalidNote, Verifier
from mcpgw.ledger.cosignature import CosignatureVerifier, Cosigner
from mcpgw.ledger.keys import parse_line, require_order
from mcpgw.ledger.witness.memory import create_memory

CONFIG = "witness.toml"
PRIVATE = "witness.key"
PUBLIC = "witness.pub"
MEMORY = "witness.db"
_TEMPLATE = """\
# A witness of transparency logs: https://c2sp.org/tlog-witness. It cosigns for the logs below and for no other.

host = "127.0.0.1"       # open it to the gateways' network only behind TLS
port = 8787
tls_certificate = ""     # PEM files, relative to this folder, where the witness itself terminates TLS
tls_key = ""

# Ed25519 verifier keys: the first line of `keys/ledger.pub` of a gateway, NAME+HASH+KEY.
logs = [
{logs}]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessConfig:
    host: str = "127.0.0.1"
    port: int = 8787
    """0 lets the system choose."""
    tls_certificate: str = ""
    tls_key: str = ""
    logs: tuple[Verifier, ...] = ()


def create_folder(folder: Path, name: str, logs: Sequence[str]) -> CosignatureVerifier:
    """Make a witness with a fresh key. Nothing that exists is overwritten.

    Raises:
        ConfigError: there is a witness already, the name cannot name a key, or a log's key is none.
    """
    try:
        cosigner = Cosigner.generate(name)
    except InvalidNote as error:
        raise ConfigError(str(error), where="--name") from error
    for vkey in logs:
        _verifier(vkey, "--log")
    if any((folder / file).exists() for file in (CONFIG, PRIVATE, MEMORY)):
        raise ConfigError("there is a witness already", where=str(folder))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    create_memory(folder / MEMORY)
    descriptor = os.open(folder / PRIVATE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(cosigner.skey() + "\n")
        file.flush()
        os.fsync(file.fileno())
    (folder / PUBLIC).write_text(cosigner.verifier.vkey() + "\n")
    (folder / CONFIG).write_text(_TEMPLATE.format(logs="".join(f"  {json.dumps(vkey)},\n" for vkey in logs)))
    return cosigner.verifier


def load_config(folder: Path) -> WitnessConfig:
    """Read witness.toml.

    Raises:
        ConfigError: it is missing, no TOML, or a key or value is wrong; with file and line.
    """
    path = folder / CONFIG
    text = _read(path)
    values = parse(text, str(path))
    known = WitnessConfig.__dataclass_fields__
    for key, value in values.items():
        where = f"{path}:{line_of(text, [key])}"
        if key not in known:
            raise ConfigError(f"unknown key `{key}`. {suggestion(key, known)}", where=where)
        _check(key, value, where)
    logs = [_verifier(vkey, f"{path}:{line_of(text, ['logs'])}") for vkey in values.get("logs", [])]
    require_order(logs, f"{path}:{line_of(text, ['logs'])}" if logs else str(path))
    plain: dict[str, Any] = {key: value for key, value in values.items() if key != "logs"}
    for key in ("tls_certificate", "tls_key"):
        plain[key] = str(folder / plain[key]) if plain.get(key) else ""
    return WitnessConfig(**plain, logs=tuple(logs))


def load_cosigner(folder: Path) -> Cosigner:
    """Read the witness's private key.

    Raises:
        ConfigError: it is missing, damaged, or can be read by everybody.
    """
    path = folder / PRIVATE
    text = _read(path)
    if path.stat().st_mode & stat.S_IRWXO:
        raise ConfigError("the witness's key can be read by everybody", where=str(path), hint=f"chmod 600 {path}")
    try:
        return Cosigner.parse(text)
    except InvalidNote as error:
        raise ConfigError(f"not a witness's key: {error}", where=str(path)) from error


def _check(key: str, value: object, where: str) -> None:
    if key == "logs":
        if not (isinstance(value, list) and all(isinstance(one, str) for one in value)):
            raise ConfigError('`logs` is a list of verifier keys: ["NAME+HASH+KEY"]', where=where)
    elif key == "port":
        if not (isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 65_535):
            raise ConfigError("`port` is a number from 0 to 65535", where=where)
    elif not isinstance(value, str):
        raise ConfigError(f"`{key}` is a text", where=where)


def _verifier(vkey: str, where: str) -> Verifier:
    try:
        found = parse_line(vkey)
    except InvalidNote as error:
        raise ConfigError(f"not a log's verifier key: {error}", where=where) from error
    if not isinstance(found, Verifier):
        raise ConfigError("not a log's verifier key: it is of ML-DSA-44, and Ed25519 is asked for", where=where)
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        hint = "Make a witness with `mcpgw witness init --name NAME`, or name its folder with `-C DIR`."
        raise ConfigError("there is no such file", where=str(path), hint=hint) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read: {type(error).__name__}", where=str(path)) from error
