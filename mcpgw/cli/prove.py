"""`mcpgw prove`: a proof that one record is in the log, and the check of one without the log."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from mcpgw.app import convert
from mcpgw.cli.common import open_folder
from mcpgw.core.errors import ConfigError
from mcpgw.core.visible import visible
from mcpgw.ledger.checkpoint import InvalidNote, NoteVerifier
from mcpgw.ledger.keys import PUBLIC, load_verifiers, read_verifiers
from mcpgw.ledger.proof import HEADER, GivenReceipt, InvalidProof, Proof
from mcpgw.ledger.proof import prove as proved
from mcpgw.ledger.store import Query, Reading, StoredRecord
from mcpgw.ledger.tree import leaf_hash

_File = Path | None


def prove(
    event: Annotated[
        str, typer.Argument(help="A record's number or event id, or a call's id: then the record that concludes the call.")
    ] = "",
    folder: Annotated[Path, typer.Option("--dir", "-C", help="The gateway's working folder.")] = Path(),
    output: Annotated[_File, typer.Option("--output", "-o", help="Write the proof to this file: NAME.tlog-proof.")] = None,
    leaf: Annotated[
        _File, typer.Option("--leaf", help="The record's exact bytes: written here when proving, read when checking.")
    ] = None,
    check: Annotated[
        _File, typer.Option("--check", help="Check this .tlog-proof, or receipt, instead. No log is needed.", exists=True)
    ] = None,
    receipt: Annotated[
        _File, typer.Option("--receipt", help="With --check: the receipt whose record the proof is to be about.", exists=True)
    ] = None,
    keys: Annotated[
        _File, typer.Option("--keys", help="With --check: the log's public keys, if not the folder's ledger.pub.", exists=True)
    ] = None,
) -> None:
    """Print the proof that one record is in the log, as C2SP tlog-proof; or check such a proof, or a receipt, offline."""
    if (check is None) == (not event):
        raise ConfigError("name a record to prove, or a file to --check", where="mcpgw prove")
    if check is not None:
        path = keys or open_folder(folder).keys_dir / PUBLIC
        said = checked(_text(check), read_verifiers(path), leaf=leaf, receipt=receipt, where=str(check))
        Console(highlight=False).print(Text(said, style="green"), soft_wrap=True)
        return
    settings = open_folder(folder)
    with closing(convert.database(settings).connect_read_only()) as store, store.snapshot():
        record = found(store, event)
        proof = proved(store, record, load_verifiers(settings.keys_dir))
    proof = replace(proof, checkpoint=convert.countersign(settings, proof.checkpoint))
    if leaf is not None:
        leaf.write_bytes(record.leaf)
    if output is None:
        print(proof.text(), end="")
    else:
        output.write_text(proof.text(), encoding="utf-8")


def found(store: Reading, event: str) -> StoredRecord:
    """Return the record of that number, event id, or call.

    Raises:
        ConfigError: there is none.
        LedgerUnavailable: the log cannot be read.
    """
    if event.isascii() and event.isdigit() and len(event) < 19:
        records = [record for record in store.records(int(event), 1) if record.seq == int(event)]
    else:
        records = [*(store.find(event) or store.search(Query(call_id=event, limit=1)))]
    for record in records:
        return record
    hint = "`mcpgw log --json` shows each record's `seq`, `id` and `call`."
    raise ConfigError(f"the log has no record and no call {visible(event)!r}", where="mcpgw prove", hint=hint)


def checked(text: str, verifiers: Sequence[NoteVerifier], *, leaf: Path | None, receipt: Path | None, where: str) -> str:
    """Check a proof or a receipt and return the sentence that says what it shows.

    Raises:
        ConfigError: it shows nothing, or not about that leaf or receipt.
    """
    hashes = [leaf_hash(leaf.read_bytes())] if leaf is not None else []
    try:
        if not text.startswith(HEADER):
            return _receipt(GivenReceipt.parse(text), verifiers, hashes)
        proof = Proof.parse(text)
        if receipt is not None:
            given = GivenReceipt.parse(_text(receipt))
            given.check(verifiers)
            if given.index != proof.index:
                raise InvalidProof(f"it is about record {proof.index}, and the receipt about record {given.index}")
            hashes.append(given.leaf_hash)
        if not hashes:
            hint = "Give the record's bytes with --leaf, or the caller's receipt with --receipt."
            raise ConfigError("a proof proves something about a record, and none is given", where="--check", hint=hint)
        checkpoints = [proof.check(one, verifiers) for one in hashes]
    except InvalidNote as error:
        raise ConfigError(f"not to be believed: {error}", where=where) from error
    return f"✓ record {proof.index} is in the log {visible(checkpoints[0].origin)}, among {checkpoints[0].size} records"


def _receipt(receipt: GivenReceipt, verifiers: Sequence[NoteVerifier], hashes: Sequence[bytes]) -> str:
    checkpoint = receipt.check(verifiers)
    if any(one != receipt.leaf_hash for one in hashes):
        raise InvalidProof("it is about another record than these bytes")
    promised = f"✓ the log {visible(checkpoint.origin)} signed for {checkpoint.size} records, and promised that one of them is"
    return f"{promised} record {receipt.index}, {receipt.leaf_hash.hex()}; a proof of {receipt.index} shows that it kept it"


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError("it is not text", where=str(path)) from error
