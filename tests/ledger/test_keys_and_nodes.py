"""Keys on disk, and who is alive."""

import time
from pathlib import Path

import pytest
from ledger_parts import ORIGIN, Open

from mcpgw.core.errors import ConfigError
from mcpgw.ledger.checkpoint import EVERY_SIZE, Signer
from mcpgw.ledger.keys import (
    PRIVATE,
    PUBLIC,
    PublicKeys,
    create_keys,
    load_keys,
    load_signer,
    load_verifiers,
    public_line,
)
from mcpgw.ledger.nodes import Node, OutOfSight, is_alive


def test_new_keys_are_private_and_fit_each_other(folder: Path) -> None:
    signer = load_signer(folder / "keys", ORIGIN)
    assert load_verifiers(folder / "keys") == (signer.verifier,)
    assert (folder / "keys" / PRIVATE).stat().st_mode & 0o777 == 0o600


def test_a_retired_key_keeps_its_line_and_the_checkpoints_it_is_believed_for(folder: Path) -> None:
    one, two, three = (Signer.generate(ORIGIN).verifier for _ in range(3))
    lines = f"{one.vkey()} until=7\n\n{two.vkey()} from=7 until=7\n{three.vkey()} from=7\n"
    (folder / "keys" / PUBLIC).write_text(lines)
    read = load_verifiers(folder / "keys")
    assert [(key.key, key.sizes) for key in read] == [
        (one.key, range(8)),
        (two.key, range(7, 8)),
        (three.key, range(7, EVERY_SIZE.stop)),
    ]
    assert "".join(f"{public_line(key)}\n" for key in read) == lines.replace("\n\n", "\n")


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        ("", "", "would be believed for the same checkpoints"),
        (" until=7", "", "would be believed for the same checkpoints"),
        (" until=7", " from=6", "would be believed for the same checkpoints"),
        (" until=0", " from=7", "a line is name"),
        (" until=07", " from=7", "a line is name"),
        (" til=7", " from=7", "a line is name"),
        (" from=8 until=7", " from=9", "no checkpoint is from 8 until 7"),
    ],
)
def test_no_two_keys_are_believed_for_one_checkpoint_but_where_they_change(
    first: str, second: str, says: str, folder: Path
) -> None:
    one, two = (Signer.generate(ORIGIN).verifier.vkey() for _ in range(2))
    (folder / "keys" / PUBLIC).write_text(f"{one}{first}\n{two}{second}\n")
    with pytest.raises(ConfigError, match=says) as caught:
        load_verifiers(folder / "keys")
    assert str(folder / "keys" / PUBLIC) in str(caught.value)


def test_a_key_is_not_written_with_unless_its_public_line_says_that_it_is_believed(folder: Path) -> None:
    keys, signer = folder / "keys", load_signer(folder / "keys", ORIGIN)
    assert load_keys(keys, ORIGIN).known == {signer.verifier.key_id}
    (keys / PUBLIC).write_text(f"{signer.verifier.vkey()} until=7\n{Signer.generate(ORIGIN).verifier.vkey()} from=7\n")
    with pytest.raises(ConfigError, match="retired with the commit over 7 records"):
        load_keys(keys, ORIGIN)
    (keys / PUBLIC).write_text(f"{Signer.generate(ORIGIN).verifier.vkey()}\n")
    with pytest.raises(ConfigError, match="public line is not in it"):
        load_keys(keys, ORIGIN)


def test_whoever_believes_for_long_reads_the_public_keys_anew(folder: Path) -> None:
    keys, followed = folder / "keys", PublicKeys(folder / "keys")
    (old,) = followed
    new = Signer.generate(ORIGIN).verifier
    (keys / "new").write_text(f"{old.vkey()} until=7\n{new.vkey()} from=7\n")
    (keys / "new").replace(keys / PUBLIC)
    assert (len(followed), followed[0].sizes, followed[1].key) == (2, range(8), new.key)
    (keys / PUBLIC).unlink()
    with pytest.raises(ConfigError, match="no such key file"):
        list(followed)


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
