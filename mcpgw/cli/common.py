"""What several verbs need: the folder, its store, and who is acting."""

import os
import pwd
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio

from mcpgw import __version__
from mcpgw.app import convert, own
from mcpgw.approval import Desk
from mcpgw.catalog.problems import CatalogError
from mcpgw.catalog.registry import Registry
from mcpgw.core.entries import Changed
from mcpgw.core.errors import AuthenticationError, ConfigError
from mcpgw.core.model import (
    Identity,
    IdentityKind,
    Target,
    TargetKind,
)
from mcpgw.identity import stdio_credential
from mcpgw.ledger import Ledger, RecordContext
from mcpgw.policy import Policy
from mcpgw.settings import Settings, load

_KINDS = (TargetKind.TOOL, TargetKind.PROMPT, TargetKind.RESOURCE)
"""In the order in which they are shown."""


def open_folder(folder: Path) -> Settings:
    """Read the settings of a working folder.

    Raises:
        ConfigError: it is none, or its config.toml is wrong.
    """
    return load(folder)


def build_policy(settings: Settings) -> Policy:
    """Return the policy of config.toml. Raises `ConfigError`."""
    return convert.policy(settings)


def load_targets(settings: Settings) -> Sequence[Target]:
    """Return everything as it was accepted, and the gateway's own tools, without asking any upstream. Raises `ConfigError`."""
    found = Registry(settings.catalog_dir).snapshot.found
    accepted = [target for kind in found for target in found[kind].values()]
    known = [*accepted, *(offer.target for offer in own.offers(settings))]
    return sorted(known, key=lambda target: (_KINDS.index(target.kind), target.name))


def record_context(settings: Settings) -> RecordContext:
    """Return what a record of a short command says of the gateway. Raises `ConfigError`."""
    catalog_hash = Registry(settings.catalog_dir).snapshot.hash
    return RecordContext(version=__version__, config_hash=convert.config_hash(settings), catalog_hash=catalog_hash)


def readers_context(settings: Settings) -> RecordContext:
    """Return the same for a command that only reads: whoever looks for what broke the catalog need not mend it first."""
    try:
        return record_context(settings)
    except CatalogError:
        return RecordContext(version=__version__, config_hash=convert.config_hash(settings), catalog_hash="unreadable")


@asynccontextmanager
async def open_ledger(
    settings: Settings, make_context: Callable[[Settings], RecordContext] = record_context
) -> AsyncIterator[Ledger]:
    """Open the folder's ledger for a short command, beside whatever else has it open."""
    context = make_context(settings)
    convert.make_data_folder(settings)
    async with Ledger.open(
        settings.data_dir,
        settings.keys_dir,
        origin=settings.ledger.origin,
        context=lambda: context,
        node="cli",
        announce=False,
        database=convert.database(settings),
        session_idle_s=settings.ledger.session_idle,
    ) as ledger:
        yield ledger


def record_changes(settings: Settings, changed: Sequence[Changed]) -> None:
    """Make durable in the ledger what it does not know of these changes.

    Raises:
        LedgerUnavailable: it is not; what it tells of must not happen.
    """

    async def record() -> None:
        async with open_ledger(settings) as ledger:
            await ledger.record_changes(*changed)

    anyio.run(record)


def system_user() -> str:
    """Return for the record who runs this command, as the operating system has it: `os:NAME`. No variable can alter it."""
    number = os.getuid()
    try:
        return f"os:{pwd.getpwuid(number).pw_name}"
    except KeyError:
        return f"os:{number}"  # a container's user often has no name


@dataclass(frozen=True, slots=True)
class GatewayStore:
    """What a person's command works on."""

    settings: Settings
    ledger: Ledger
    desk: Desk


@asynccontextmanager
async def open_gateway_store(folder: Path) -> AsyncIterator[GatewayStore]:
    """Open ledger and desk of a folder, beside a running gateway."""
    settings = open_folder(folder)
    async with open_ledger(settings) as ledger:
        yield GatewayStore(settings, ledger, convert.desk(settings, ledger))


async def calling_identity(settings: Settings) -> Identity:
    """Return whoever the credential in the environment belongs to.

    Raises:
        AuthenticationError: no credential, or a wrong one.
    """
    hint = (
        "Make a key of your own with `mcpgw keys create --kind human --subject NAME --group GROUP`, and name a file with it "
        "by --key-file, or put it in MCPGW_API_KEY."
    )
    credential = stdio_credential(os.environ, hint=hint)
    return await convert.authenticators(settings).authenticate(credential)


async def acting_identity(settings: Settings) -> Identity:
    """Return the person at the keyboard, by the credential in the environment.

    Raises:
        AuthenticationError: no credential, a wrong one, or one that belongs to no person.
    """
    identity = await calling_identity(settings)
    if identity.kind is not IdentityKind.HUMAN:
        hint = "Make a key for a person: `mcpgw keys create --kind human --subject NAME --group GROUP`."
        raise AuthenticationError(f"{identity.subject} is {identity.kind.value}, and only people decide.", hint=hint)
    return identity


def write_new(path: Path, data: bytes) -> None:
    """Write a new file that its owner alone can read.

    Raises:
        ConfigError: it is there already, or cannot be written; nothing is left then.
    """
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError as error:
        raise ConfigError("there is such a file already, and it is not replaced", where=str(path)) from error
    except OSError as error:
        path.unlink(missing_ok=True)
        raise ConfigError(f"it cannot be written: {error.strerror}", where=str(path)) from error
