"""`mcpgw publish`: static files that a stranger can verify, grown and never made wrong."""

from contextlib import closing
from pathlib import Path

import anyio
import pytest
from click.testing import Result
from ledger_parts import ORIGIN, Open, rejection
from stores import Kept
from typer.testing import CliRunner

from mcpgw.cli.main import build
from mcpgw.core.errors import ConfigError, LedgerUnavailable
from mcpgw.ledger.checkpoint import Signer, open_checkpoint
from mcpgw.ledger.keys import PUBLIC, read_verifiers
from mcpgw.ledger.tiles import split
from mcpgw.ledger.tree import leaf_hash, root_of


@pytest.fixture
def public(kept: Kept, folder: Path) -> Path:
    url = f'url = "{kept.address}"\n' if kept.address else ""
    (folder / "config.toml").write_text(f'[ledger]\norigin = "{ORIGIN}"\n{url}')
    return folder / "public"


async def grown(open_ledger: Open, count: int) -> None:
    async with open_ledger(announce=False) as ledger, anyio.create_task_group() as tasks:
        for number in range(count):
            tasks.start_soon(ledger.append, rejection(f"10.0.{number // 256}.{number % 256}"))


def publish(public: Path, *options: str) -> Result:
    return CliRunner().invoke(build(["publish"]), ["publish", str(public), "-C", str(public.parent), *options])


def files(public: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(public)): path.read_bytes() for path in public.rglob("*") if path.is_file() and path.name[0] != "."
    }


def entries(bundle: bytes) -> list[bytes]:
    found = []
    while bundle:
        length = int.from_bytes(bundle[:2])
        found.append(bundle[2 : 2 + length])
        bundle = bundle[2 + length :]
    return found


def mirrored(public: Path) -> list[bytes]:
    """Read the log as a stranger would, from the files and the public keys alone; return its records."""
    checkpoint = open_checkpoint((public / "checkpoint").read_text(), read_verifiers(public.parent / "keys" / PUBLIC))
    full, width = divmod(checkpoint.size, 256)
    names = [f"{index:03}" for index in range(full)] + ([f"{full:03}.p/{width}"] if width else [])
    hashes = [one for name in names for one in split((public / "tile" / "0" / name).read_bytes())]
    assert root_of(hashes) == checkpoint.root
    leaves = [leaf for name in names for leaf in entries((public / "tile" / "entries" / name).read_bytes())]
    assert [leaf_hash(leaf) for leaf in leaves] == hashes
    above = split((public / "tile" / "1" / f"000.p/{full}").read_bytes())
    assert above == [root_of(hashes[at * 256 : (at + 1) * 256]) for at in range(full)]
    return leaves


async def test_the_files_are_the_whole_log_and_grow_with_it(kept: Kept, public: Path, open_ledger: Open) -> None:
    await grown(open_ledger, 300)
    assert publish(public).output == f"6 files written; {public} covers 300 records.\n"
    first = files(public)
    assert len(mirrored(public)) == 300
    await grown(open_ledger, 300)
    publish(public)
    assert len(mirrored(public)) == 600
    second = files(public)
    assert {name: second[name] for name in ("tile/0/000", "tile/entries/000")} == {
        name: first[name] for name in ("tile/0/000", "tile/entries/000")
    }
    assert "tile/0/001.p/44" not in second, "a full tile takes the place of its partial one"
    assert "1 files written" in publish(public).output, "nothing new but the checkpoint"
    assert {name for name in files(public) if ".new" in name} == set()


async def test_only_hashes_are_public_where_only_hashes_are_to_be(kept: Kept, public: Path, open_ledger: Open) -> None:
    await grown(open_ledger, 300)
    publish(public, "--hashes-only")
    assert sorted(files(public)) == ["checkpoint", "tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1"]
    assert b"10.0.0." not in b"".join(files(public).values())
    await grown(open_ledger, 10)
    publish(public)
    assert len(mirrored(public)) == 310, "the records of before come too, once they are to be public"


async def test_a_log_that_does_not_add_up_is_not_published(kept: Kept, public: Path, open_ledger: Open) -> None:
    await grown(open_ledger, 300)
    with kept.tampering() as admin:
        admin.execute("UPDATE records SET leaf = x'00' WHERE seq = 280")
    assert "records 256 to 299 are not what was sealed" in str(publish(public).exception)
    assert "checkpoint" not in files(public)
    with kept.tampering() as admin:
        admin.execute(f"UPDATE tiles SET hashes = x'{'00' * 8192}' WHERE idx = 0")
    assert "tile 0 of level 0 does not add up" in str(publish(public).exception)
    with kept.tampering() as admin:
        admin.execute("UPDATE tiles SET root = hashes")
    assert isinstance(publish(public).exception, LedgerUnavailable)
    assert "checkpoint" not in files(public)


async def test_a_directory_of_another_log_is_left_alone(kept: Kept, public: Path, open_ledger: Open) -> None:
    await grown(open_ledger, 5)
    publish(public)
    note = Signer.generate("other.example/log").sign("other.example/log\n1\n" + "A" * 43 + "=\n")
    (public / "checkpoint").write_text(note)
    error = publish(public).exception
    assert isinstance(error, ConfigError) and "not a checkpoint of this log" in str(error)
    assert (public / "checkpoint").read_text() == note


async def test_an_older_log_does_not_take_the_place_of_a_newer_one(kept: Kept, public: Path, open_ledger: Open) -> None:
    await grown(open_ledger, 5)
    with closing(kept.database().connect_read_only()) as store:
        older = store.newest_checkpoint()[0].size
    await grown(open_ledger, 5)
    publish(public)
    newest = (public / "checkpoint").read_text()
    with kept.tampering() as admin:
        for table, size in (("records", "seq + 1"), ("payloads", "seq + 1"), ("checkpoints", "size")):
            admin.execute(f"DELETE FROM {table} WHERE {size} > {older}")
    assert f"covers {2 * older} records and the log {older}: it was cut back" in str(publish(public).exception)
    assert (public / "checkpoint").read_text() == newest
    with kept.tampering() as admin:
        admin.execute("DELETE FROM checkpoints")
    assert "nothing was recorded" in str(publish(public).exception)
