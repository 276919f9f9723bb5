"""The lock: the same acceptances are the same bytes, reviewers see everything in it, and edits by hand are found."""

import json
from pathlib import Path
from typing import Any

import pytest

from mcpgw.catalog.drift import accept
from mcpgw.catalog.load import read_entry
from mcpgw.catalog.lock import LOCK_NAME, Lock, lock_text, read_lock, write_lock
from mcpgw.catalog.problems import CatalogError
from mcpgw.core.model import TargetKind
from tests.catalog.conftest import STDIO, tool, tools

A, B = read_entry("catalog/a.toml", "a", STDIO), read_entry("catalog/b.toml", "b", STDIO)
ENTRIES = {"a": A, "b": B}


def test_the_same_acceptances_give_the_same_bytes_in_whatever_order_they_came() -> None:
    prompts = {TargetKind.PROMPT: [{"name": "q"}, {"name": "p"}]}
    offered = {"a": {**tools(tool("y"), tool("x")), **prompts}, "b": tools(tool("x"))}
    turned = {"b": tools(tool("x")), "a": {**prompts, **tools(tool("x"), tool("y"))}}

    once = accept(ENTRIES, Lock(), offered)
    again = accept(ENTRIES, accept(ENTRIES, Lock(), {"b": turned["b"]}), turned)

    assert lock_text(once) == lock_text(again)
    assert '"prompts": {\n        "p"' in lock_text(once)


def test_what_was_accepted_stays_as_it_was_written_when_only_its_keys_moved() -> None:
    once = accept(ENTRIES, Lock(), {"a": tools({"name": "x", "description": "d"})})
    again = accept(ENTRIES, once, {"a": tools({"description": "d", "name": "x"})})

    assert lock_text(once) == lock_text(again)


def test_the_lock_comes_back_as_it_was_written(tmp_path: Path) -> None:
    odd = tool("x", "ü 🏦 \u202e\u200b\U000e0041\x07\u2028 \\u0041", big=2**70, half=0.5, none=None)
    lock = accept(ENTRIES, Lock(), {"a": tools(odd)})

    write_lock(tmp_path / LOCK_NAME, lock)

    assert read_lock(tmp_path / LOCK_NAME) == lock
    assert [path.name for path in tmp_path.iterdir()] == [LOCK_NAME]
    assert (tmp_path / LOCK_NAME).stat().st_mode & 0o777 == 0o644


def test_a_reviewer_reads_letters_and_sees_hidden_characters() -> None:
    lock = accept(ENTRIES, Lock(), {"a": tools(tool("x", "Überweisung \u202e\U000e0041\u200b"))})

    assert '"description": "Überweisung \\u202e\\udb40\\udc41\\u200b"' in lock_text(lock)


def test_without_a_file_nothing_was_accepted(tmp_path: Path) -> None:
    assert read_lock(tmp_path / LOCK_NAME) == Lock()


def edited(change: Any) -> str:
    data = json.loads(lock_text(accept(ENTRIES, Lock(), {"a": tools(tool("x"))})))
    change(data)
    return json.dumps(data)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "is not JSON."),
        ('{"version": NaN}', "is not JSON."),
        ("[" * 100_000, "is not JSON."),
        ("[]", "has no version 1, the one that this mcpgw reads."),
        (edited(lambda data: data.update(version=2)), "has no version 1"),
        (edited(lambda data: data.pop("servers")), "lacks a part that `mcpgw catalog accept` writes."),
        (edited(lambda data: data.update(servers=[])), "lacks a part"),
        (edited(lambda data: data["servers"]["a"].pop("reached")), "lacks a part"),
        (edited(lambda data: data["servers"]["a"]["tools"]["x"].pop("hash")), "lacks a part"),
        (
            edited(lambda data: data["servers"]["a"]["tools"]["x"]["definition"].update(description="Sends it to me.")),
            'the definition of "x" does not have the hash beside it: the file was edited.',
        ),
        (
            edited(lambda data: data["servers"]["a"]["reached"].update(command="evil")),
            'a server\'s "reached" does not have the hash beside it',
        ),
        (edited(lambda data: data["servers"]["a"].update(reached={"command": "\ud800"})), "lacks a part"),
        (edited(lambda data: data["servers"]["a"].update(reached="x")), "lacks a part"),
    ],
)
def test_a_lock_that_accept_did_not_write_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / LOCK_NAME
    path.write_text(text)

    with pytest.raises(CatalogError) as refused:
        read_lock(path)

    assert f"{LOCK_NAME}: {expected}" in str(refused.value)
    assert "Restore it from your version control" in str(refused.value)


def test_a_lock_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"\xff")

    for path in (tmp_path / "b", tmp_path):
        with pytest.raises(CatalogError, match=r"cannot be read as UTF-8 text\."):
            read_lock(path)


def test_a_lock_that_cannot_be_replaced_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / LOCK_NAME).mkdir()
    (tmp_path / LOCK_NAME / "in the way").touch()

    with pytest.raises(OSError, match="directory"):
        write_lock(tmp_path / LOCK_NAME, Lock())

    assert [path.name for path in tmp_path.iterdir()] == [LOCK_NAME]
