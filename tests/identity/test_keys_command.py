"""`mcpgw keys` as an admin runs it: a real folder, a real ledger, processes of their own."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mcpgw.core.errors import AuthenticationError
from mcpgw.identity import ApiKeys


def mcpgw(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "mcpgw", *arguments], capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all tests here: each only adds to it, or changes nothing."""
    folder = tmp_path_factory.mktemp("gateway")
    made = mcpgw("init", folder)
    assert made.returncode == 0, made.stderr
    return folder


@pytest.mark.slow
async def test_a_key_is_created_shown_once_listed_recorded_and_revoked(folder: Path) -> None:
    options = ("--subject", "assistant", "--kind", "agent", "--group", "b", "--group", "a", "--acts-for", "alice")
    created = mcpgw("keys", "create", "-C", folder, *options, "--expires", "30d")
    assert created.returncode == 0, created.stderr
    key = created.stdout.strip()
    assert re.fullmatch(r"mcpgw_[0-9a-f]{12}_[A-Za-z0-9_-]{49}", key)  # nothing else on standard output, for scripts
    assert key not in created.stderr
    key_id = key.split("_")[1]

    store = ApiKeys(folder / "keys" / "api_keys.json")
    identity = await store.authenticate(key)
    assert (identity.subject, identity.actors, identity.groups) == ("alice", ("mcpgw:keys#assistant",), {"a", "b"})

    listed = [json.loads(line) for line in mcpgw("keys", "list", "--json", "-C", folder).stdout.splitlines()]
    assert listed[-1]["key"] == key_id
    assert "secret_sha256" not in listed[-1]
    assert key_id in mcpgw("keys", "list", "-C", folder).stdout

    revoked = mcpgw("keys", "revoke", key_id, "-C", folder)
    assert (revoked.returncode, revoked.stdout) == (0, "")
    with pytest.raises(AuthenticationError, match="revoked"):
        await store.authenticate(key)
    assert "revoked" in mcpgw("keys", "list", "-C", folder).stdout

    record = mcpgw("log", "--json", "-C", folder)
    assert record.returncode == 0, record.stderr
    assert record.stdout.count("identity.changed") >= 3  # the first key of `init`, this one, and its end
    assert "key_revoked" in record.stdout
    assert key not in record.stdout


MISTAKES = [
    (("create", "--subject", "x", "--expires", "soon"), "is not an expiry"),
    (("create", "--subject", "x", "--acts-for", "alice"), "only an agent"),
    (("revoke", "0123456789ab"), "there is no key"),
]


@pytest.mark.slow
def test_a_mistake_is_told_in_plain_words_and_changes_nothing(folder: Path) -> None:
    before = (folder / "keys" / "api_keys.json").read_bytes()
    for arguments, words in MISTAKES:
        done = mcpgw("keys", *arguments, "-C", folder)
        assert (done.returncode, done.stdout) == (2, "")
        assert words in done.stderr
        assert "Traceback" not in done.stderr
    assert (folder / "keys" / "api_keys.json").read_bytes() == before


@pytest.mark.slow
def test_a_key_is_not_made_where_the_ledger_cannot_record_it(folder: Path) -> None:
    before = (folder / "keys" / "api_keys.json").read_bytes()
    signer = folder / "keys" / "ledger.key"
    signer.rename(folder / "ledger.key")
    try:
        done = mcpgw("keys", "create", "--subject", "x", "-C", folder)
    finally:
        (folder / "ledger.key").rename(signer)
    assert done.returncode != 0
    assert done.stdout == ""
    assert (folder / "keys" / "api_keys.json").read_bytes() == before
