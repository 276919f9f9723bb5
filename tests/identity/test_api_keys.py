"""The gateway's own keys: their text, their file, and many processes on it."""

import json
import multiprocessing
import os
import re
import resource
import signal
import stat
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from mcpgw.core.entries import Changed, Standing
from mcpgw.core.errors import AuthenticationError, ConfigError, LedgerUnavailable
from mcpgw.core.model import IdentityKind
from mcpgw.identity import ApiKeys, create_key, new_key, parse_expiry, revoke_key
from mcpgw.identity.key_text import SCANNER_PATTERN, generate, parse

NOW = 1_800_000_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "api_keys.json"


def made(store: ApiKeys, subject: str = "batch", **options: Any) -> str:
    key = new_key(subject=subject, **{"kind": IdentityKind.SERVICE, **options})
    store.add(key.record)
    return key.text


async def test_a_key_names_its_holder(path: Path) -> None:
    store = ApiKeys(path)
    text = made(store, groups=("payments", "audit"), expires=0)
    identity = await store.authenticate(text)
    assert identity.principal == "mcpgw:keys#batch"
    assert (identity.kind, identity.method, identity.expires) == (IdentityKind.SERVICE, "api_key", 0)
    assert identity.groups == {"payments", "audit"}
    assert identity.credential_id == text.split("_")[1]


async def test_the_stdio_entry_can_say_how_the_key_came(path: Path) -> None:
    text = made(ApiKeys(path))
    assert (await ApiKeys(path, method="stdio_key").authenticate(text)).method == "stdio_key"


@pytest.mark.parametrize(
    ("acts_for", "principal"),
    [
        ("alice", "mcpgw:keys#alice"),
        ("https://idp.example#a1b2", "https://idp.example#a1b2"),
        ("mcpgw:keys#bob", "mcpgw:keys#bob"),
    ],
)
async def test_an_agent_acting_for_a_person_is_that_person_with_the_agent_as_actor(
    path: Path, acts_for: str, principal: str
) -> None:
    store = ApiKeys(path)
    identity = await store.authenticate(made(store, "assistant", kind=IdentityKind.AGENT, acts_for=acts_for))
    assert identity.principal == principal
    assert (identity.kind, identity.actors) == (IdentityKind.AGENT, ("mcpgw:keys#assistant",))


async def test_a_subject_that_looks_like_a_principal_stays_a_subject_of_our_keys(path: Path) -> None:
    store = ApiKeys(path)
    identity = await store.authenticate(made(store, "https://idp.example#alice"))
    assert identity.principal == "mcpgw:keys#https://idp.example#alice"


def test_only_a_hash_is_stored_and_no_secret_shows_in_a_repr(path: Path) -> None:
    key = new_key(subject="batch", kind=IdentityKind.SERVICE)
    ApiKeys(path).add(key.record)
    secret = key.text.split("_", 2)[2]
    for text in (path.read_text(), repr(key), repr(parse(key.text)), str(key)):
        assert secret not in text
        assert secret[:43] not in text


def test_a_key_can_be_found_by_a_secret_scanner() -> None:
    for _ in range(200):
        text = generate().text
        assert re.fullmatch(SCANNER_PATTERN, text)
        assert parse(text).text == text


def test_every_single_mistyped_character_is_noticed() -> None:
    text = generate().text
    for at in range(len("mcpgw_"), len(text)):
        wrong = text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]
        with pytest.raises(AuthenticationError, match="mistyped"):
            parse(wrong)


@pytest.mark.parametrize(
    "text",
    ["", "mcpgw_", "mcpgw_abc_def", generate().text[:-1], generate().text + "A", generate().text + "\n"],
    ids=["empty", "prefix", "no key", "cut", "longer", "line break"],
)
def test_a_key_that_was_cut_off_or_extended_is_malformed(text: str) -> None:
    with pytest.raises(AuthenticationError, match="malformed"):
        parse(text)


async def test_a_well_formed_key_that_nobody_made_is_unknown(path: Path) -> None:
    store = ApiKeys(path)
    with pytest.raises(AuthenticationError, match="not known"):
        await store.authenticate(generate().text)
    real = made(store)
    other = generate()
    stolen_id = type(other)(real.split("_")[1], other.secret)
    with pytest.raises(AuthenticationError, match="not known"):
        await store.authenticate(stolen_id.text)


async def test_a_key_ends_at_its_expiry(path: Path) -> None:
    now = [float(NOW)]
    store = ApiKeys(path, clock=lambda: now[0])
    text = made(store, expires=NOW + 60, now=NOW)
    assert (await store.authenticate(text)).expires == NOW + 60
    now[0] = NOW + 60
    with pytest.raises(AuthenticationError, match="expired"):
        await store.authenticate(text)


async def test_a_revocation_by_another_process_counts_at_once(path: Path) -> None:
    store = ApiKeys(path)
    text = made(store)
    assert await store.authenticate(text)
    code = "import sys, pathlib; from mcpgw.identity import ApiKeys; ApiKeys(pathlib.Path(sys.argv[1])).revoke(sys.argv[2])"
    with anyio.fail_after(30):
        await anyio.run_process([sys.executable, "-c", code, str(path), text.split("_")[1]])
    with pytest.raises(AuthenticationError, match="revoked"):
        await store.authenticate(text)


async def test_changes_within_one_tick_of_the_clock_are_all_seen(path: Path) -> None:
    """The file keeps its size and may get its old inode back; only its time tells the changes apart."""
    writer, reader = ApiKeys(path), ApiKeys(path)
    texts = [made(writer, f"batch-{number:03d}") for number in range(50)]
    for text in texts:
        assert await reader.authenticate(text)
        writer.revoke(text.split("_")[1])
        with pytest.raises(AuthenticationError, match="revoked"):
            await reader.authenticate(text)


def test_every_change_makes_the_file_newer_even_if_the_clock_was_set_back(path: Path) -> None:
    store = ApiKeys(path)
    made(store)
    for _ in range(3):
        later = path.stat().st_mtime_ns + 3600 * 10**9
        os.utime(path, ns=(later, later))
        made(store)
        assert path.stat().st_mtime_ns > later


def test_a_revoked_key_stays_on_the_list_with_the_time_of_its_first_revocation(path: Path) -> None:
    now = [NOW]
    store = ApiKeys(path, clock=lambda: now[0])
    key_id = made(store).split("_")[1]
    store.revoke(key_id)
    now[0] += 60
    store.revoke(key_id)
    assert [record.revoked for record in store.records()] == [NOW]


def test_revoking_what_is_not_there_says_so(path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no key 0123456789ab"):
        ApiKeys(path).revoke("0123456789ab")
    assert not path.exists()


def test_an_id_is_used_once(path: Path) -> None:
    store, key = ApiKeys(path), new_key(subject="batch", kind=IdentityKind.SERVICE)
    store.add(key.record)
    with pytest.raises(ConfigError, match="exists already"):
        store.add(key.record)


def _create_many(path: Path, name: str, count: int) -> None:
    store = ApiKeys(path)
    for number in range(count):
        made(store, f"{name}-{number}")


def test_processes_that_create_keys_at_once_lose_none(path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_create_many, args=(path, f"worker-{number}", 15)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0, 0]
    expected = {f"worker-{worker}-{number}" for worker in range(4) for number in range(15)}
    assert {record.subject for record in ApiKeys(path).records()} == expected
    assert sorted(each.name for each in path.parent.iterdir()) == ["api_keys.json", "api_keys.lock"]


def test_file_and_folder_are_for_the_owner_alone(path: Path) -> None:
    made(ApiKeys(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_a_file_that_others_may_write_lets_nobody_in_until_that_is_mended(path: Path) -> None:
    store = ApiKeys(path)
    text = made(store)
    assert await store.authenticate(text)
    await anyio.Path(path).chmod(0o620)
    with pytest.raises(AuthenticationError, match="cannot read its API keys"):
        await store.authenticate(text)
    with pytest.raises(ConfigError, match="others than the owner"):
        store.records()
    await anyio.Path(path).chmod(0o600)
    assert await store.authenticate(text)


async def test_a_file_that_was_removed_lets_nobody_in(path: Path) -> None:
    store = ApiKeys(path)
    text = made(store)
    assert await store.authenticate(text)
    await anyio.Path(path).unlink()
    with pytest.raises(AuthenticationError, match="not known"):
        await store.authenticate(text)


Damage = Callable[[dict[str, Any]], object]


def _field(name: str, value: object) -> Damage:
    return lambda document: document["keys"][0].update({name: value})


@pytest.mark.parametrize(
    "damage",
    [
        lambda document: document.update(version=2),
        lambda document: document.pop("keys"),
        lambda document: document.update(keys=[7]),
        lambda document: document["keys"].append(document["keys"][0]),
        lambda document: document["keys"][0].pop("expires"),
        _field("admin", True),
        _field("expires", "never"),
        _field("expires", True),
        _field("revoked", None),
        _field("kind", "root"),
        _field("groups", [1]),
        _field("groups", [""]),
        _field("key", "../../etc"),
        _field("secret_sha256", ""),
        _field("subject", " batch"),
        _field("acts_for", "alice"),
    ],
)
async def test_a_damaged_file_lets_nobody_in_and_says_where(path: Path, damage: Damage) -> None:
    store = ApiKeys(path)
    text = made(store)
    document = json.loads(await anyio.Path(path).read_text())
    damage(document)
    await anyio.Path(path).write_text(json.dumps(document))
    with pytest.raises(AuthenticationError, match="cannot read its API keys"):
        await store.authenticate(text)
    with pytest.raises(ConfigError, match=re.escape(str(path))):
        store.records()
    with pytest.raises(ConfigError, match="damaged"):
        made(store)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b'{"version": 1, "version": 1, "keys": []}'])
def test_a_file_that_is_not_ours_is_refused(path: Path, data: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(data)
    with pytest.raises(ConfigError, match="damaged"):
        ApiKeys(path).records()


def test_a_file_beyond_all_measure_is_refused(path: Path) -> None:
    path.parent.mkdir()
    with path.open("wb") as file:
        file.truncate(16 * 1024 * 1024 + 1)
    with pytest.raises(ConfigError, match="larger than"):
        ApiKeys(path).records()


def test_a_disk_that_is_full_leaves_the_old_keys_and_no_rubbish(path: Path) -> None:
    store = ApiKeys(path)
    made(store)
    before = path.read_bytes()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    old_handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, limit[1]))  # the kernel refuses to write more than 8 bytes to any file
    try:
        with pytest.raises(ConfigError, match="cannot be written: File too large"):
            made(store)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, old_handler)
    assert path.read_bytes() == before
    assert sorted(each.name for each in path.parent.iterdir()) == ["api_keys.json", "api_keys.lock"]


async def test_a_path_that_cannot_be_read_or_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = ApiKeys(tmp_path / "file" / "api_keys.json")
    with pytest.raises(ConfigError, match="cannot be read"):
        store.records()
    with pytest.raises(ConfigError, match="cannot be written"):
        made(store)
    (tmp_path / "api_keys.json").mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        ApiKeys(tmp_path / "api_keys.json").records()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"subject": ""}, "subject"),
        ({"subject": "a" * 256}, "subject"),
        ({"subject": "a\nb"}, "subject"),
        ({"groups": ("",)}, "group"),
        ({"acts_for": "alice"}, "only an agent"),
        ({"acts_for": "alice#1", "kind": IdentityKind.AGENT}, "not a principal"),
        ({"acts_for": "https://idp.example#", "kind": IdentityKind.AGENT}, "not a principal"),
        ({"expires": NOW, "now": NOW}, "expired from the start"),
    ],
)
def test_a_key_that_could_not_be_told_apart_is_not_made(options: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        new_key(**{"subject": "batch", "kind": IdentityKind.SERVICE, **options})


@pytest.mark.parametrize(
    ("text", "expires"),
    [("never", 0), ("90d", NOW + 90 * 86400), ("12h", NOW + 43200), ("2w", NOW + 14 * 86400), ("2030-01-01", 1893456000)],
)
def test_expiry_is_an_age_a_date_or_never(text: str, expires: int) -> None:
    assert parse_expiry(text, NOW) == expires


@pytest.mark.parametrize("text", ["", "0d", "90", "-1d", "99999d", "2030-13-01", "2020-01-01", "forever"])
def test_an_expiry_that_is_none_of_these_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_expiry(text, NOW)


class Log:
    """Stands for the ledger: what it is told, and whether it is full."""

    def __init__(self) -> None:
        self.told: list[Changed] = []
        self.is_full = False

    def __call__(self, changed: Sequence[Changed]) -> None:
        if self.is_full:
            raise LedgerUnavailable("the disk is full")
        self.told += changed


async def test_creation_and_revocation_are_recorded_without_the_secret(path: Path) -> None:
    store, log = ApiKeys(path), Log()
    empty = store.standing()
    key = new_key(subject="batch", kind=IdentityKind.SERVICE, groups=("payments",))
    create_key(store, key, log, actor="os:alice")
    made = store.standing()
    revoke_key(store, key.record.id, log, actor="os:bob")
    assert empty.hash == ""
    assert [(one.kind, one.actor, one.facts.get("change"), one.standing) for one in log.told] == [
        ("identity.changed", "unknown", None, empty),
        ("identity.changed", "os:alice", "key_created", made),
        ("identity.changed", "unknown", None, made),
        ("identity.changed", "os:bob", "key_revoked", store.standing()),
    ]
    for one in log.told[1::2]:
        assert {**one.facts, "subject": "batch", "key": key.record.id, "groups": ["payments"]} == one.facts
    assert key.record.secret_sha256 not in repr(log.told)
    assert key.text not in repr(log.told)


def test_a_key_that_cannot_be_recorded_is_not_made(path: Path) -> None:
    store, log = ApiKeys(path), Log()
    log.is_full = True
    with pytest.raises(LedgerUnavailable):
        create_key(store, new_key(subject="batch", kind=IdentityKind.SERVICE), log, actor="os:alice")
    assert store.records() == ()


async def test_a_revocation_does_not_wait_for_the_ledger_and_is_recorded_when_it_is_done_again(path: Path) -> None:
    store, log = ApiKeys(path), Log()
    text = made(store)
    key_id = text.split("_")[1]
    log.is_full = True
    with pytest.raises(LedgerUnavailable, match="is revoked, but"):
        revoke_key(store, key_id, log, actor="os:alice")
    with pytest.raises(AuthenticationError, match="revoked"):
        await store.authenticate(text)
    log.is_full = False
    revoke_key(store, key_id, log, actor="os:alice")
    assert [(one.actor, one.facts["change"], one.standing) for one in log.told] == [
        ("os:alice", "key_revoked", store.standing())
    ]


def test_nobody_looks_at_the_file_while_a_change_of_it_is_being_recorded(path: Path) -> None:
    store, beside = ApiKeys(path), ApiKeys(path)
    seen: list[Sequence[Standing]] = []

    def record(changed: Sequence[Changed]) -> None:
        with beside.steady() as standing:
            seen.append(standing)

    create_key(store, new_key(subject="batch", kind=IdentityKind.SERVICE), record, actor="os:alice")
    with beside.steady() as standing:
        seen.append(standing)
    assert seen == [[], [store.standing()]]


def test_a_folder_that_cannot_be_written_needs_no_lock(tmp_path: Path) -> None:
    with ApiKeys(tmp_path / "missing" / "api_keys.json").steady() as standing:
        assert [one.hash for one in standing] == [""]
    assert not [*tmp_path.iterdir()]
