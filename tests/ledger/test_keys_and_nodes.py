"""Keys on disk, and who is alive."""

import time
from pathlib import Path

import pytest
from ledger_parts import ORIGIN, Open

from mcpgw.core.errors import ConfigError
from mcpgw.ledger.checkpoint import Signer
from mcpgw.ledger.keys import PRIVATE, PUBLIC, create_keys, load_signer, load_verifiers
from mcpgw.ledger.nodes import Node, OutOfSight, is_alive


def test_new_keys_are_private_and_fit_each_other(folder: Path) -> None:
    signer = load_signer(folder / "keys", ORIGIN)
    assert load_verifiers(folder / "keys") == (signer.verifier,)
    assert (folder / "keys" / PRIVATE).stat().st_mode & 0o777 == 0o600


def test_a_retired_key_keeps_its_line(folder: Path) -> None:
    old = Signer.generate(ORIGIN).verifier
    with (folder / "keys" / PUBLIC).open("a") as file:
        file.write(f"\n{old.vkey()}\n")
    assert load_verifiers(folder / "keys")[1:] == (old,)


def test_a_key_is_never_overwritten(folder: Path) -> None:
    before = (folder / "keys" / PRIVATE).read_bytes()
    with pytest.raises(ConfigError, match="already"):
        create_keys(folder / "keys", ORIGIN)
    assert (folder / "keys" / PRIVATE).read_bytes() == before


def test_an_origin_that_cannot_name_a_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ledger\.origin"):
        create_keys(tmp_path, "two words")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda path: path.unlink(), "no such key file"),
        (lambda path: path.write_text("nonsense"), "not a signing key"),
        (lambda path: path.write_bytes(b"\xff"), "cannot be read"),
        (lambda path: path.chmod(0o604), "can be read by everybody"),
        (lambda path: path.write_text(Signer.generate("another.example/log").skey()), "signs for another.example/log"),
    ],
)
async def test_an_unusable_signing_key_stops_the_start_and_is_named(spoil, says: str, folder: Path, open_ledger: Open) -> None:
    spoil(folder / "keys" / PRIVATE)
    with pytest.raises(ConfigError, match=says) as error:
        async with open_ledger():
            pass
    assert str(folder / "keys" / PRIVATE) in str(error.value)


@pytest.mark.parametrize(("text", "says"), [("", "no key in the file"), ("nonsense\n", "not a verifier key")])
def test_unusable_public_keys_are_named(text: str, says: str, folder: Path) -> None:
    (folder / "keys" / PUBLIC).write_text(text)
    with pytest.raises(ConfigError, match=says):
        load_verifiers(folder / "keys")


def test_a_node_is_alive_until_it_is_released_and_leaves_nothing(tmp_path: Path) -> None:
    node = Node(tmp_path / "nodes", "mine")
    assert is_alive(tmp_path / "nodes", "mine")
    node.release()
    assert not is_alive(tmp_path / "nodes", "mine")
    assert list((tmp_path / "nodes").iterdir()) == []


def test_a_file_that_nobody_locks_is_a_dead_node_and_is_removed(tmp_path: Path) -> None:
    (tmp_path / "dead").touch()
    assert not is_alive(tmp_path, "dead")
    assert list(tmp_path.iterdir()) == []


def test_a_node_that_cannot_be_asked_counts_as_alive(tmp_path: Path) -> None:
    (tmp_path / "strange").mkdir()
    assert is_alive(tmp_path, "strange")


def test_a_node_out_of_sight_is_dead_only_after_being_missed_for_as_long_as_it_may_be() -> None:
    assert OutOfSight(0).dead({"a"}) == {"a"}
    patient = OutOfSight(0.05)
    assert patient.dead({"a", "b"}) == set()
    assert patient.dead({"a"}) == set()
    time.sleep(0.06)  # it is the clock that is tested
    assert patient.dead({"a", "b"}) == {"a"}, "b was seen meanwhile, so its time begins anew"
