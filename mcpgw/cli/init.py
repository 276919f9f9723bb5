"""`mcpgw init`: a working folder, with the servers of existing clients in it and keys of its own."""

import getpass
import os
import re
import secrets
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from mcpgw.app import convert, redacting
from mcpgw.approval.seal import KEY_BYTES
from mcpgw.catalog.clients import ClientFile, pastes, well_known
from mcpgw.catalog.dialects import Found, read_client_config
from mcpgw.catalog.draft import Draft, draft
from mcpgw.catalog.load import read_entry
from mcpgw.catalog.problems import CatalogError
from mcpgw.cli.common import open_folder, record_changes, system_user
from mcpgw.core.errors import ConfigError
from mcpgw.core.model import IdentityKind
from mcpgw.identity.administration import create_key
from mcpgw.identity.api_keys import ApiKeys
from mcpgw.identity.key_record import new_key, parse_expiry
from mcpgw.ledger.keys import PRIVATE, create_keys
from mcpgw.settings import CONFIG_FILE

FIRST_KEY_AGE = "90d"
"""How long the first API key is valid: a pilot's length."""

_IGNORED = ("/data/", "/secrets/", "/keys/*", "!/keys/ledger.pub")
_ORIGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")

MakeKeys = Callable[[Path], Sequence[str]]
"""Makes the keys that a folder lacks; returns their names. An existing key is never touched."""
CreateApiKey = Callable[[Path], str]
"""Makes the first API key and returns its text, or an empty string where the folder has keys already."""


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to make; existing files are kept.")] = Path(),
    imports: Annotated[
        list[Path] | None, typer.Option("--import", metavar="FILE", help="A client's configuration; may be repeated.")
    ] = None,
    origin: Annotated[str, typer.Option(help="The ledger's name in checkpoints: a host and path that is yours.")] = "",
    force: Annotated[bool, typer.Option(help="Replace imported catalog files and their secrets.")] = False,
) -> None:
    """Make a working folder, import existing clients' servers, and print what to paste into a client."""
    made = initialise(folder, imports or [], origin=origin, force=force, make_keys=make_keys, create_api_key=create_first_key)
    for line in made.lines:
        print(line)
    for line in _detected(folder, made, list(well_known(Path.home(), Path.cwd()))):
        print(line)
    settings = open_folder(folder)
    for paste in pastes(folder, f"{settings.public_url}/mcp", made.api_key or "YOUR_API_KEY", _own_command()):
        print(f"\n--- {paste.title} ---\n{paste.text}")
    for line in _next_steps(folder, made):
        print(line)
    raise typer.Exit(1 if made.failures else 0)


def _own_command() -> str:
    """The command that this process was started by, in full: desktop clients do not have the shell's PATH."""
    found = shutil.which(sys.argv[0]) if Path(sys.argv[0]).name == "mcpgw" else shutil.which("mcpgw")
    return str(Path(found).absolute()) if found else "mcpgw"


# --- the folder ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Made:
    """What was done, as lines to print. `api_key` is a secret: printed once, in the blocks to paste."""

    lines: list[str] = field(default_factory=list)
    failures: int = 0
    imported: list[str] = field(default_factory=list)
    read: list[Path] = field(default_factory=list)
    api_key: str = field(default="", repr=False)

    def say(self, mark: str, text: str) -> None:
        self.lines.append(f"{mark:<9} {text}")

    def fail(self, text: str) -> None:
        self.failures += 1
        self.say("FAILED", text)


def initialise(
    folder: Path, imports: Sequence[Path], *, origin: str, force: bool, make_keys: MakeKeys, create_api_key: CreateApiKey
) -> Made:
    """Make what the folder lacks, and say of everything what was done with it. Running it again changes nothing.

    Raises:
        ConfigError: the origin cannot name a log, or an existing config.toml is wrong.
        OSError: the folder cannot be written.
    """
    made = Made()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "catalog").mkdir(exist_ok=True)
    _write(folder, CONFIG_FILE, _config(origin or _fresh_origin(folder)), made, force=False)  # its rules and origin are kept
    _ignore(folder, made)
    taken: dict[str, Found] = {}
    for file in imports:
        _import(folder, file, taken, made, force=force)
    for name in make_keys(folder):
        made.say("made", name)
    made.api_key = create_api_key(folder)
    if made.api_key:
        made.say(
            "made",
            f"an API key, valid for {FIRST_KEY_AGE}; it stands in the blocks for Claude Desktop and Cursor below, "
            "nowhere else, and is not shown again",
        )
    else:
        made.say("kept", "the API keys that are there; make another with `mcpgw keys create`")
    return made


def _config(origin: str) -> str:
    if not _ORIGIN.fullmatch(origin):
        message = "the origin cannot name a log"
        raise ConfigError(message, where="--origin", hint="Use a host and path such as mcp.bank.example/ledger.")
    template = files("mcpgw.cli").joinpath("templates", "config.toml").read_text(encoding="utf-8")
    return template.replace("@@ORIGIN@@", origin)


def _fresh_origin(folder: Path) -> str:
    """A name of the folder that no other folder has: checkpoints of two logs must not be mixed up."""
    name = re.sub(r"[^A-Za-z0-9-]+", "-", folder.resolve().name).strip("-") or "gateway"
    return f"mcpgw.local/{name}-{secrets.token_hex(4)}"


def _write(folder: Path, name: str, text: str, made: Made, *, force: bool) -> None:
    path = folder / name
    if path.exists() and not force:
        made.say("kept", f"{name}, as it was")
        return
    made.say("replaced" if path.exists() else "made", name)
    path.write_text(text, encoding="utf-8")


def _ignore(folder: Path, made: Made) -> None:
    """Keep data and secrets out of version control; lines of an existing .gitignore stay."""
    path = folder / ".gitignore"
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    missing = [line for line in _IGNORED if line not in before.splitlines()]
    if missing:
        made.say("extended" if before else "made", ".gitignore")
        lead = "\n" if before and not before.endswith("\n") else ""
        path.write_text(before + lead + "".join(f"{line}\n" for line in missing), encoding="utf-8")


# --- import --------------------------------------------------------------------------------------------------------------


def _import(folder: Path, file: Path, taken: dict[str, Found], made: Made, *, force: bool) -> None:
    try:
        found = read_client_config(file.read_text(encoding="utf-8"), file.resolve())
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        made.fail(f"{file} cannot be read: {reason}")
        return
    except CatalogError as error:
        made.fail(str(error))
        return
    made.read.append(file.resolve())
    for server in found:
        if server in taken.values():
            made.say("skipped", f"{server.name} of {file.name}: it is the same as one imported before")
            continue
        drafted = draft(server, file.name, taken)
        taken[drafted.name] = server
        _adopt(folder, drafted, made, force=force)


def _adopt(folder: Path, drafted: Draft, made: Made, *, force: bool) -> None:
    name = f"catalog/{drafted.name}.toml"
    if (folder / name).exists() and not force:
        made.say("kept", f"{name}, as it was")
        return
    try:
        read_entry(name, drafted.name, drafted.text)
    except CatalogError as error:
        for problem in error.problems:
            made.fail(f"{drafted.name} was not imported: {problem.message} {problem.hint}".rstrip())
        return
    if not _keep_secrets(folder, drafted, made, force=force):
        return
    _write(folder, name, drafted.text, made, force=force)
    made.imported.append(drafted.name)
    for note in drafted.notes:
        made.say("look", f"{drafted.name}: {note}")


def _keep_secrets(folder: Path, drafted: Draft, made: Made, *, force: bool) -> bool:
    """Write the secrets that left the client's file, each readable by this user alone. False where one is in the way."""
    for file, value in drafted.secrets.items():
        path, content = folder / "secrets" / file, f"{value}\n".encode()
        path.parent.mkdir(mode=0o700, exist_ok=True)
        if path.exists() and not force and path.read_bytes() != content:
            made.fail(
                f"{drafted.name} was not imported: secrets/{file} is there with another content; remove it or use --force"
            )
            return False
        _write_private(path, content)
        made.say("made", f"secrets/{file}, moved out of the client's file")
    return True


def _write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, from its first byte on."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


# --- keys ----------------------------------------------------------------------------------------------------------------


def make_keys(folder: Path) -> Sequence[str]:
    """Make the keys that are missing: the ledger's, under the origin of config.toml, the desk's and redaction's."""
    settings = open_folder(folder)
    settings.keys_dir.mkdir(mode=0o700, exist_ok=True)
    made = []
    if not (settings.keys_dir / PRIVATE).exists():
        create_keys(settings.keys_dir, settings.ledger.origin)
        made.append("keys/ledger.key, keys/ledger-pq.key and keys/ledger.pub, which sign and verify the record")
    for name in (convert.DESK_KEY, redacting.REDACTION_KEY):
        if not (settings.keys_dir / name).exists():
            _write_private(settings.keys_dir / name, secrets.token_bytes(KEY_BYTES))
            made.append(f"keys/{name}")
    return made


def create_first_key(folder: Path) -> str:
    """Make a key for an agent that acts for the person at the keyboard, on the record; nothing where there are keys."""
    settings = open_folder(folder)
    store = ApiKeys(settings.keys_dir / convert.API_KEYS)
    if store.records():
        return ""
    now, user = time.time(), getpass.getuser()
    made = new_key(
        subject=f"{user}-agent",
        kind=IdentityKind.AGENT,
        groups=("users",),
        expires=parse_expiry(FIRST_KEY_AGE, now),
        acts_for=user,
        now=int(now),
    )
    create_key(store, made, partial(record_changes, settings), actor=system_user())
    return made.text


# --- words ---------------------------------------------------------------------------------------------------------------


def _detected(folder: Path, made: Made, existing: Sequence[ClientFile]) -> Iterator[str]:
    """Mention configurations of clients that hold servers and were not imported; nothing of them is taken unasked."""
    for client in existing:
        if client.path.resolve() in made.read:
            continue
        try:
            count = len(read_client_config(client.path.read_text(encoding="utf-8"), client.path))
        except (OSError, UnicodeDecodeError, CatalogError):
            continue  # it is only mentioned, so an unreadable one is nobody's problem here
        if count:
            command = shlex.join(["mcpgw", "init", str(folder), "--import", str(client.path)])
            yield f"{'found':<9} {client.client} has {count} servers: {command}"


def _next_steps(folder: Path, made: Made) -> Iterator[str]:
    at = f" -C {shlex.quote(str(folder))}" if folder != Path() else ""
    yield "\nNext:"
    if made.imported:
        yield f"  mcpgw catalog diff{at}      what the imported servers offer"
        yield f"  mcpgw catalog accept --all{at}"
    yield f"  mcpgw check{at}             everything that would stop a call, and what to do about it"
    yield f"  mcpgw serve{at}"
    if made.imported:
        yield "Then remove the imported servers from the clients: what they call directly, nobody sees."
