"""What is sealed of a call, what is left out before, and that nothing is sealed by halves."""

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyrage
import pytest

from mcpgw.app import redacting
from mcpgw.app.vaulting import NoVault, SealingVault, vault
from mcpgw.core.answers import Answers, with_answers
from mcpgw.core.errors import VaultError
from mcpgw.core.model import (
    Call,
    Identity,
    IdentityKind,
    Origin,
    RawJson,
    RawReply,
    ReplyKind,
    Target,
    TargetKind,
    UnknownTarget,
)
from mcpgw.ledger.unseal import Identities
from mcpgw.ledger.vault import LeftOut, Recipients, Sheet
from mcpgw.redaction import PresidioRedactor
from mcpgw.settings import Settings, from_text

KEY = pyrage.x25519.Identity.generate()
SECRET, CARD = "sk_live_4eC39HqLyjWDarjtT1zdp7dc", "4111 1111 1111 1111"
TOOL = Target(
    kind=TargetKind.TOOL,
    name="bank__pay",
    server="bank",
    server_fingerprint="f",
    upstream_name="pay",
    definition={},
    definition_hash="h",
    vault=True,
)


def settings(more: str = "") -> Settings:
    text = f'[redaction]\nmodel = "none"\n{more}\n[vault]\nmode = "sealed"\nrecipients = ["{KEY.to_public()}"]\n'
    return from_text(text, Path())


@pytest.fixture(scope="module")
async def redactor(anyio_backend: str) -> AsyncIterator[PresidioRedactor]:
    made = PresidioRedactor(redacting.config(settings()))
    await made.start()
    yield made
    await made.aclose()


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


def call(arguments: dict[str, Any], target: Target | UnknownTarget = TOOL) -> Call:
    identity = Identity(subject="teller", issuer="test", kind=IdentityKind.HUMAN, method="api_key")
    origin = Origin(transport="stdio", protocol_version="2025-11-25")
    return Call(id="c1", identity=identity, target=target, arguments=arguments, origin=origin)


async def arguments_of(redactor: PresidioRedactor, arguments: dict[str, Any], target: Target = TOOL) -> Sheet:
    keeper = SealingVault(redactor, Recipients([str(KEY.to_public())]), 100_000)
    (file,) = (await keeper.seal_arguments(await redactor.show(call(arguments, target)))).sealed
    return Identities(str(KEY)).open(file)


async def test_personal_data_is_kept_to_the_byte(redactor: PresidioRedactor) -> None:
    arguments = {"ssn": "219-09-9999", "card": CARD, "who": {"name": "José", "n": [1, 2.5, None]}, "blob": "aGVsbG8="}
    sheet = await arguments_of(redactor, arguments)
    assert sheet.body == json.dumps(arguments, separators=(",", ":")).encode() and not sheet.left_out and len(sheet.salt) == 32


@pytest.mark.parametrize(
    ("arguments", "places"),
    [
        ({"api_key": SECRET}, ["api_key"]),
        ({"note": f"use {SECRET} for now"}, ["note"]),
        ({"body": json.dumps({"password": "hunter2-hunter2"})}, ["body:password"]),
        ({"headers": {"Authorization": f"Bearer {SECRET}"}}, ["headers.Authorization"]),
        ({"card": {"number": CARD, "CVV": "918"}}, ["card.CVV"]),
        ({"pin": 4711}, ["pin"]),
    ],
)
async def test_credentials_are_removed_and_told(
    redactor: PresidioRedactor, arguments: dict[str, Any], places: list[str]
) -> None:
    sheet = await arguments_of(redactor, arguments)
    assert [one.path for one in sheet.left_out] == places
    for secret in (SECRET, "hunter2", "918", "4711"):
        assert secret.encode() not in sheet.body and sheet.salt == b""
    assert CARD.encode() in sheet.body or "card" not in arguments


async def test_a_place_that_is_excepted_is_removed_with_all_below_it(redactor: PresidioRedactor) -> None:
    target = replace(TOOL, vault_except=("rows[*].memo", "column:Tax ID"))
    arguments = {"rows": [{"memo": {"a": "Eve"}, "n": "x"}], "Tax ID": "12-3456789"}
    sheet = await arguments_of(redactor, arguments, target)
    assert json.loads(sheet.body) == {"rows": [{"memo": {"a": "<MASKED>"}, "n": "x"}], "Tax ID": "<US_SSN>"}
    assert LeftOut("MASKED", "rows[*].memo.a", 1) in sheet.left_out


async def test_what_nobody_can_read_is_not_sealed_either(redactor: PresidioRedactor) -> None:
    image = base64.b64encode(b"\x89PNG and more").decode()
    reply = RawReply(
        kind=ReplyKind.RESULT, payload=RawJson({"content": [{"type": "image", "data": image, "mimeType": "image/png"}]})
    )
    keeper = vault(settings(), redactor)
    clean = await keeper.seal_reply(call({}), reply, await redactor.clean(call({}), reply))
    sheet = Identities(str(KEY)).open(clean.sealed[0])
    assert image.encode() not in sheet.body and [one.entity for one in sheet.left_out] == ["BLOB"]


async def test_a_servers_state_is_sealed_with_neither_the_answers_nor_the_question(redactor: PresidioRedactor) -> None:
    arguments = with_answers({"to": "ACME"}, Answers(responses={"day": {"action": "accept"}}, state="of-the-server"))
    brought = await arguments_of(redactor, arguments)
    assert json.loads(brought.body)["mcpgw/answers"]["inputResponses"] == {"day": {"action": "accept"}}
    assert brought.left_out == (LeftOut("REQUEST_STATE", "mcpgw/answers.requestState", 1),)

    question = {
        "resultType": "input_required",
        "inputRequests": {"day": {"method": "roots/list"}},
        "requestState": "of-the-server",
    }
    reply = RawReply(kind=ReplyKind.RESULT, payload=RawJson(question))
    clean = await vault(settings(), redactor).seal_reply(call({}), reply, await redactor.clean(call({}), reply))
    asked = Identities(str(KEY)).open(clean.sealed[0])
    assert json.loads(asked.body)["inputRequests"] == question["inputRequests"]
    assert asked.left_out == (LeftOut("REQUEST_STATE", "requestState", 1),)

    for sheet in (brought, asked):
        assert b"of-the-server" not in sheet.body and sheet.salt == b"", "with the salt, it could be tried out"

    answered = await arguments_of(redactor, with_answers({}, Answers(responses={"day": {"action": "accept"}})))
    assert not answered.left_out and answered.salt, "where there was no state, all of it is there"


async def test_only_what_the_catalog_names_is_sealed_and_only_where_there_is_a_vault(redactor: PresidioRedactor) -> None:
    keeper = vault(settings(), redactor)
    for target in (replace(TOOL, vault=False), UnknownTarget(kind=TargetKind.TOOL, name="x")):
        shown = await redactor.show(call({"a": 1}, target))
        assert await keeper.seal_arguments(shown) == shown
    nothing = vault(from_text("", Path()), redactor)
    shown = await redactor.show(call({"a": 1}))
    assert isinstance(nothing, NoVault) and await nothing.seal_arguments(shown) is shown


async def test_what_cannot_be_searched_for_credentials_is_not_sealed(redactor: PresidioRedactor) -> None:
    keeper = vault(settings(), redactor)
    shown = await redactor.show(call({"a": 1}, replace(TOOL, vault_except=("rows[",))))
    with pytest.raises(VaultError, match="not a path"):
        await keeper.seal_arguments(shown)
    huge = replace(shown, call=call({"a": "x" * 5_000_000}))
    with pytest.raises(VaultError, match="at most"):
        await keeper.seal_arguments(huge)


def test_a_profile_of_ones_own_cannot_be_the_vaults() -> None:
    assert "for the vault" not in redacting.config(from_text("", Path())).profiles
    with pytest.raises(Exception, match="pattern"):
        settings('[redaction.profiles."for the vault"]\ndefault = "keep"')
