"""Every change of what the gateway stands for is one record, with who made it, as far as anybody can know."""

import json
import os
import pwd
from pathlib import Path
from typing import Any

import pytest

from mcpgw.app import convert
from mcpgw.core.model import IdentityKind
from mcpgw.identity.api_keys import ApiKeys
from mcpgw.identity.key_record import new_key
from tests.flows.gateway import Folder, make_folder, serving, until
from tests.real_servers import odd_server

ME = f"os:{pwd.getpwuid(os.getuid()).pw_name}"
RULE = '\n[[rules]]\nid = "no-echo"\neffect = "deny"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return make_folder(tmp_path / "gateway")


def keys(folder: Folder) -> ApiKeys:
    return ApiKeys(folder.path / "keys" / convert.API_KEYS)


def changes(folder: Folder) -> list[dict[str, Any]]:
    return [record for record in folder.records() if "aspect" in record.get("facts", {})]


def told(records: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return [(record["kind"], record["facts"]["aspect"], record["actor"]) for record in records]


def without_gaps(records: list[dict[str, Any]]) -> bool:
    last: dict[str, str] = {}
    for facts in (record["facts"] for record in records):
        if facts["before"] != last.get(facts["aspect"], ""):
            return False
        last[facts["aspect"]] = facts["after"]
    return True


async def test_what_was_edited_while_nothing_ran_is_found_at_the_next_start(folder: Folder) -> None:
    folder.cli("keys", "create", "--subject", "alice", "--kind", "human")
    with serving(folder):
        pass
    first = changes(folder)
    assert told(first) == [
        ("identity.changed", "api_keys", ME),
        ("settings.changed", "settings", "unknown"),
        ("policy.activated", "policy", "unknown"),
    ]
    assert [record["facts"]["before"] for record in first] == ["", "", ""]
    facts = first[0]["facts"]
    assert (facts["change"], facts["subject"], facts["kind"], facts["groups"]) == ("key_created", "alice", "human", [])
    with serving(folder):
        pass
    assert changes(folder) == first, "nothing was edited"

    issuer = '\n[[identity.issuers]]\nissuer = "https://idp.example"\naudience = ["mcp"]\ndefault_kind = "service"\n'
    folder.config.write_text('instructions = "Be kind."\n' + folder.config.read_text() + RULE + issuer)
    folder.server("bank", 'transport = "stdio"\ncommand = "/nonexistent"\n')
    mallory = new_key(subject="mallory", kind=IdentityKind.HUMAN).record
    keys(folder).add(mallory)  # as an edit by hand would: it tells no ledger
    with serving(folder, ready=False):
        pass
    edited = changes(folder)[len(first) :]
    assert told(edited) == [
        ("settings.changed", "settings", "unknown"),
        ("identity.changed", "issuers", "unknown"),
        ("policy.activated", "policy", "unknown"),
        ("catalog.changed", "catalog", "unknown"),
        ("identity.changed", "api_keys", "unknown"),
    ]
    named = [{word: facts[word] for word in ("added", "removed", "changed") if facts[word]} for facts in map(_facts, edited)]
    assert named == [
        {"changed": ["instructions"]},
        {"added": ["https://idp.example"]},
        {"added": ["rule no-echo"]},
        {"added": ["server bank"]},
        {"added": [mallory.id]},
    ]
    assert _facts(edited[0])["file"]["name"] == "config.toml" and f"os:{_facts(edited[0])['file']['owner']}" == ME
    assert without_gaps(changes(folder))
    assert mallory.secret_sha256 not in json.dumps(edited)


async def test_two_gateways_record_one_edit_once(folder: Folder) -> None:
    with serving(folder), serving(folder) as other:
        first = changes(folder)
        folder.config.write_text(folder.config.read_text() + RULE)
        await until(lambda: len(changes(folder)) > len(first), "the rule is on the record")
        await until(lambda: [line for line in other.log if "policy" in line and "is in force" in line], "both have it")
        await folder.acli("keys", "create", "--subject", "alice")
        keys(folder).revoke(keys(folder).records()[0].id)  # as a command that died before it told the ledger
        await until(lambda: len(changes(folder)) > len(first) + 2, "the revocation was found")
        folder.server("bank", 'transport = "stdio"\ncommand = "/nonexistent"\n')
        await until(lambda: len(changes(folder)) > len(first) + 3, "the new server is on the record")
    assert told(changes(folder)[len(first) :]) == [
        ("policy.activated", "policy", "unknown"),
        ("identity.changed", "api_keys", ME),
        ("identity.changed", "api_keys", "unknown"),
        ("catalog.changed", "catalog", "unknown"),
    ]
    assert without_gaps(changes(folder))
    assert "policy.activated" in folder.cli("log", "--kind", "policy.*")
    assert "identity.changed" in folder.cli("log", "--kind", "*.changed")
    assert "✓" in folder.cli("verify")


async def test_what_a_server_offers_beside_what_was_accepted_is_on_the_record_until_it_is_accepted(
    folder: Folder, tmp_path: Path
) -> None:
    lists = tmp_path / "lists.json"

    def offer(description: str) -> None:
        lists.write_text(
            json.dumps({"tools": [{"name": "echo", "description": description, "inputSchema": {"type": "object"}}]})
        )

    offer("Echoes.")
    folder.spawned("odd", odd_server("--lists", str(lists)))
    folder.accept()
    accepted = changes(folder)
    assert told(accepted) == [("catalog.changed", "catalog", "unknown"), ("catalog.accepted", "catalog", ME)]
    offer("Echoes, and tells everybody.")
    for _ in range(2):  # the second start finds what the first one found, and has nothing to add
        with serving(folder):
            await until(lambda: [record for record in changes(folder) if record["actor"] == "server odd"], "it drifted")
    with serving(folder):
        await folder.acli("catalog", "accept", "odd", "--yes")
        await until(lambda: changes(folder)[-1]["actor"] == "server odd", "it is as accepted again")
    drifted, again, back = (
        record for record in changes(folder)[2:] if record["facts"]["aspect"] in ("catalog", "drift of odd")
    )
    assert (drifted["facts"]["before"], drifted["facts"]["changed"], drifted["facts"]["added"]) == ("", [], ["tool echo"])
    assert (again["kind"], again["actor"]) == ("catalog.accepted", ME)
    assert (back["facts"]["after"], back["facts"]["removed"]) == ("", ["tool echo"])
    assert without_gaps(changes(folder))


def _facts(record: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = record["facts"]
    return found
