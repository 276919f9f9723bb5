"""Reversible tokens: who was given one can use it with an entitled target, for a while, and nobody else."""

import dataclasses
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mcpgw.core.errors import RedactionError
from mcpgw.core.model import (
    Call,
    Masked,
    Masking,
    Origin,
    RawJson,
    RawNotice,
    RawReply,
    ReplyKind,
    Target,
)
from mcpgw.redaction import Operator, PresidioRedactor, Profile, RedactionConfig, TokenScope
from mcpgw.redaction.engine import Engine
from mcpgw.redaction.judge import NoModel
from mcpgw.redaction.payload import commit, payload_bytes
from mcpgw.redaction.reader import Reader
from mcpgw.redaction.token_file import TokenFile
from mcpgw.redaction.tokens import TOKEN, Restoration, pseudonym, tokens_in, too_many

KEY = b"k" * 32
MakeCall = Callable[..., Call]


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def tokened(**settings: Any) -> RedactionConfig:
    profiles = {"default": Profile(default=Operator.TOKEN), "open": Profile(default=Operator.KEEP)}
    return RedactionConfig(model="none", profiles=profiles, hash_key=KEY, **settings)


def writes(value: Any, **reader: Any) -> Any:
    engine = Engine(tokened(), NoModel())
    return engine.redact({"structuredContent": value}, Masking(), reader=Reader(**reader)).payload["structuredContent"]


def entitled(call: Call, schema: dict[str, Any] | None = None) -> Call:
    assert isinstance(call.target, Target)
    target = dataclasses.replace(call.target, restore_tokens=True, definition={"inputSchema": schema or {}})
    return dataclasses.replace(call, target=target)


# --- tokens --------------------------------------------------------------------------------------------------------------


def test_a_value_has_one_token_in_a_scope_and_another_in_another() -> None:
    first = writes({"email": "a@b.example"}, scope="s")["email"]
    assert TOKEN.fullmatch(first) and first.startswith("<EMAIL_")
    assert writes({"memo": "to a@b.example today"}, scope="s")["memo"] == f"to {first} today"
    assert writes({"email": "a@b.example"}, scope="t")["email"] != first
    assert writes({"email": "A@b.example"}, scope="s")["email"] != first, (
        "an upstream is given back what one wrote, to the letter"
    )
    assert writes({"email": first}, scope="u") == {"email": first}, "a token is never looked into again"


def test_without_a_scope_values_are_masked() -> None:
    assert writes({"email": "a@b.example"}) == {"email": "<EMAIL>"}


def test_a_number_stands_behind_its_token_as_a_number() -> None:
    engine = Engine(tokened(), NoModel())
    redacted = engine.redact({"structuredContent": {"ssn": 219099999, "q": "219-09-9999"}}, Masking(), reader=Reader(scope="s"))
    assert sorted(redacted.issued.values(), key=str) == ["219-09-9999", 219099999]


def test_entities_between_tags_are_undone_before_a_value_is_kept() -> None:
    engine = Engine(tokened(), NoModel())
    text = "<table><tr><td>Name</td><td>Full Name: Conor O&#39;Brien</td></tr></table>"
    redacted = engine.redact({"content": [{"type": "text", "text": text}]}, Masking(), reader=Reader(scope="s"))
    assert "Conor O'Brien" in redacted.issued.values()
    (token,) = tokens_in(redacted.payload)
    assert token in redacted.issued


def test_tokens_are_found_wherever_strings_are() -> None:
    token = pseudonym(KEY, "s", "PERSON", "Jane Doe")
    assert tokens_in({"a": [token, {"b": f"x &lt;{token[1:-1]}&gt;"}], "c": 1, token: None}) == [token]
    assert not too_many([token]) and too_many([token] * 2_000)


def test_values_take_the_place_of_tokens_with_the_type_that_the_tool_asks_for() -> None:
    number, name = pseudonym(KEY, "s", "US_SSN", 219099999), pseudonym(KEY, "s", "PERSON", "Jane Doe")
    restoration = Restoration({number: 219099999, name: "Jane Doe"})
    schema = {"properties": {"text": {"type": "string"}, "list": {"items": {"type": "string"}}, "odd": 1}}
    arguments = {
        "text": number,
        "free": f" {number} ",
        "list": [number, 5, None],
        "sql": f"WHERE n = '{name}' OR s = {number}",
        "other": name[:-4] + "000>",
        "123456": {"odd": [name]},
    }
    assert restoration.arguments(arguments, schema) == {
        "text": "219099999",
        "free": 219099999,
        "list": ["219099999", 5, None],
        "sql": "WHERE n = 'Jane Doe' OR s = 219099999",
        "other": name[:-4] + "000>",
        "123456": {"odd": ["Jane Doe"]},
    }
    assert Masked("PERSON", "other", "token-unknown@1", 1) in restoration.masked
    assert Masked("PERSON", "*.odd[*]", "token-restored@1", 1) in restoration.masked
    assert Masked("US_SSN", "list[*]", "token-restored@1", 1) in restoration.masked


# --- what comes back -----------------------------------------------------------------------------------------------------

ECHOES = [
    ("customer Jane Doe not found", "customer {} not found"),
    ("JANE\n DOE", "{}"),
    ("jane doerr", "jane doerr"),
    ("J", "J"),
]


@pytest.mark.parametrize(("reply", "shown"), ECHOES)
def test_what_was_restored_is_turned_back_whatever_the_profile_keeps(reply: str, shown: str) -> None:
    token = pseudonym(KEY, "s", "PERSON", "Jane Doe")
    known = {token: "Jane Doe", pseudonym(KEY, "s", "PERSON", "J"): "J"}
    engine = Engine(tokened(), NoModel())
    out = engine.redact({"structuredContent": {"q": reply}}, Masking(profile="open"), reader=Reader(scope="s", known=known))
    assert out.payload["structuredContent"]["q"] == shown.format(token)


def test_a_restored_number_is_recognised_however_it_is_grouped() -> None:
    token = pseudonym(KEY, "s", "US_SSN", "219-09-9999")
    known = {token: "219-09-9999"}
    engine = Engine(tokened(), NoModel())
    out = engine.redact(
        {"structuredContent": {"q": 219099999, "r": "219 099 999"}}, Masking(profile="open"), reader=Reader(known=known)
    )
    assert out.payload["structuredContent"] == {"q": token, "r": token}


def test_a_restored_value_inside_a_longer_finding_is_masked_with_it() -> None:
    engine = Engine(tokened(), NoModel())
    known = {pseudonym(KEY, "s", "PERSON", "Jane"): "Jane"}
    out = engine.redact({"structuredContent": {"full_name": "Jane Doe"}}, Masking(profile="open"), reader=Reader(known=known))
    assert out.payload["structuredContent"] == {"full_name": "<PERSON>"}


# --- the file ------------------------------------------------------------------------------------------------------------


async def test_a_kept_value_is_for_its_holder_until_it_expires(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "data" / "tokens.db"
    file, other = (TokenFile(path, KEY, lifetime_s=60, clock=clock) for _ in range(2))
    await file.keep("teller", {"<PERSON_1>": "Jane Doe", "<US_SSN_1>": 219099999})
    assert await other.values("teller", ["<PERSON_1>", "<US_SSN_1>", "<X_1>"]) == {
        "<PERSON_1>": "Jane Doe",
        "<US_SSN_1>": 219099999,
    }
    assert await other.values("mallory", ["<PERSON_1>"]) == {}
    clock.now += 59
    assert await other.values("teller", ["<PERSON_1>"])
    clock.now += 2
    assert await other.values("teller", ["<PERSON_1>"]) == {}
    assert (path.stat().st_mode & 0o777) == 0o600
    file.close()
    other.close()


async def test_being_given_out_again_lengthens_a_tokens_life(tmp_path: Path, clock: Clock) -> None:
    file = TokenFile(tmp_path / "t.db", KEY, lifetime_s=60, clock=clock)
    for _ in range(4):
        await file.keep("teller", {"<PERSON_1>": "Jane Doe"})
        clock.now += 20
    assert await file.values("teller", ["<PERSON_1>"])
    file.close()
    file.close()


async def test_the_file_tells_nothing_and_forgets_what_expired(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "t.db"
    file = TokenFile(path, KEY, lifetime_s=60, clock=clock)
    await file.keep("teller", {"<PERSON_1>": "Jane Doe"})
    file.close()
    raw = path.read_bytes()
    assert not any(word in raw for word in (b"Jane", b"teller", b"PERSON"))
    clock.now += 100
    await file.keep("teller", {"<PERSON_2>": "John Roe"})
    file.close()
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM token").fetchone() == (1,)
    db.close()


BROKEN = [
    ("UPDATE token SET expires = expires + 1000", "does not open"),
    ("UPDATE token SET sealed = zeroblob(40)", "does not open"),
    ("PRAGMA user_version = 7", "version 7"),
    ("DROP TABLE token; CREATE TABLE token (x)", "cannot be used"),
]


@pytest.mark.parametrize(("change", "why"), BROKEN)
async def test_a_file_that_somebody_changed_is_refused(tmp_path: Path, clock: Clock, change: str, why: str) -> None:
    file = TokenFile(tmp_path / "t.db", KEY, lifetime_s=60, clock=clock)
    await file.keep("teller", {"<PERSON_1>": "Jane Doe"})
    file.close()
    db = sqlite3.connect(tmp_path / "t.db")
    db.executescript(change)
    db.close()
    with pytest.raises(RedactionError, match=why):
        await file.values("teller", ["<PERSON_1>"])
    file.close()


async def test_many_tokens_are_kept_though_only_the_latest_are_remembered_as_kept(tmp_path: Path, clock: Clock) -> None:
    file = TokenFile(tmp_path / "t.db", KEY, lifetime_s=60, clock=clock)
    await file.keep("teller", {f"<PERSON_{n}>": n for n in range(20_000)})
    assert await file.values("teller", ["<PERSON_0>", "<PERSON_19999>"]) == {"<PERSON_0>": 0, "<PERSON_19999>": 19_999}
    file.close()


async def test_one_token_never_stands_for_two_values(tmp_path: Path, clock: Clock) -> None:
    file = TokenFile(tmp_path / "t.db", KEY, lifetime_s=60, clock=clock)
    other = TokenFile(tmp_path / "t.db", KEY, lifetime_s=60, clock=clock)
    await file.keep("teller", {"<PERSON_1>": "Jane Doe"})
    with pytest.raises(RedactionError, match="two values"):
        await other.keep("teller", {"<PERSON_1>": "John Roe"})
    assert await other.values("teller", ["<PERSON_1>"]) == {"<PERSON_1>": "Jane Doe"}
    file.close()
    other.close()


async def test_a_folder_that_cannot_be_written_withholds_the_reply(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(RedactionError, match="cannot be used"):
        await TokenFile(tmp_path / "data" / "t.db", KEY, lifetime_s=60).keep("teller", {"<PERSON_1>": "Jane Doe"})


# --- through the door ----------------------------------------------------------------------------------------------------


def reply(**fields: Any) -> RawReply:
    return RawReply(kind=ReplyKind.RESULT, payload=RawJson({"structuredContent": fields}))


async def test_a_token_goes_out_and_comes_back_for_its_identity_and_an_entitled_target_alone(
    tmp_path: Path, make_call: MakeCall
) -> None:
    file = TokenFile(tmp_path / "t.db", KEY, lifetime_s=60)
    redactor = PresidioRedactor(tokened(), file)
    await redactor.start()
    call = make_call()
    clean = await redactor.clean(call, reply(email="a@b.example"))
    token = clean.payload["structuredContent"]["email"]

    plain = await redactor.show(make_call({"who": token}))
    assert plain.call.arguments == {"who": token} and plain.call.restored == plain.call.sent == {}

    shown = await redactor.show(entitled(make_call({"who": token, "n": 1})))
    assert shown.call.arguments == {"who": "a@b.example", "n": 1}
    assert shown.arguments == shown.call.sent == {"who": token, "n": 1}, "as it was sent, it can be made again"
    assert shown.raw.size == len(payload_bytes(shown.call.arguments)) == commit(payload_bytes(shown.call.arguments)).size
    assert Masked("EMAIL", "who", "token-restored@1", 1) in shown.manifest.masked
    assert "a@b.example" not in json.dumps(dict(shown.arguments)) and "b.example" not in repr(shown.manifest)
    back = await redactor.clean(shown.call, reply(said="no such customer: A@B.example"))
    assert back.payload["structuredContent"] == {"said": f"no such customer: {token}"}

    other = dataclasses.replace(call.identity, subject="mallory")
    stolen = await redactor.show(dataclasses.replace(entitled(make_call({"who": token})), identity=other))
    assert stolen.call.arguments == {"who": token}
    assert Masked("EMAIL", "who", "token-unknown@1", 1) in stolen.manifest.masked
    agent = dataclasses.replace(call.identity, actors=("bot",))
    assert (await redactor.show(dataclasses.replace(entitled(make_call({"who": token})), identity=agent))).call.restored == {}
    assert (await redactor.show(entitled(make_call({"who": "nobody"})))).call.restored == {}
    with pytest.raises(RedactionError, match="tokens"):
        many = [f"<PERSON_{n:012}>" for n in range(1_001)]
        await redactor.show(entitled(make_call({"who": many})))
    await redactor.aclose()
    file.close()


async def test_a_token_of_a_session_is_of_that_session_alone(tmp_path: Path, make_call: MakeCall) -> None:
    file = TokenFile(tmp_path / "t.db", KEY, lifetime_s=60)
    redactor = PresidioRedactor(tokened(token_scope=TokenScope.SESSION), file)
    await redactor.start()

    def at(session: str, call: Call) -> Call:
        return dataclasses.replace(call, origin=Origin(transport="http", protocol_version="x", session=session))

    token = (await redactor.clean(at("one", make_call()), reply(email="a@b.example"))).payload["structuredContent"]["email"]
    assert (await redactor.show(at("one", entitled(make_call({"who": token}))))).call.arguments == {"who": "a@b.example"}
    assert (await redactor.show(at("two", entitled(make_call({"who": token}))))).call.arguments == {"who": token}
    clean = await redactor.clean(make_call(), reply(email="a@b.example"))
    assert clean.payload["structuredContent"] == {"email": "<EMAIL>"}
    await redactor.aclose()
    file.close()


async def test_a_deployment_has_one_pseudonym_for_a_value_and_everybody_still_holds_their_own(
    tmp_path: Path, make_call: MakeCall
) -> None:
    file = TokenFile(tmp_path / "t.db", KEY, lifetime_s=60)
    redactor = PresidioRedactor(tokened(token_scope=TokenScope.DEPLOYMENT), file)
    await redactor.start()
    call = make_call()
    other = dataclasses.replace(call.identity, subject="auditor")
    notice = RawNotice(method="notifications/message", params=RawJson({"data": "for a@b.example"}))
    token = tokens_in((await redactor.clean_notice(call, notice)).params)[0]
    used = entitled(dataclasses.replace(make_call({"who": token}), identity=other))
    assert (await redactor.show(used)).call.arguments == {"who": token}, "it was not given the token"
    clean = await redactor.clean(dataclasses.replace(call, identity=other), reply(email="a@b.example"))
    assert clean.payload["structuredContent"] == {"email": token}
    assert (await redactor.show(used)).call.arguments == {"who": "a@b.example"}
    await redactor.aclose()
    file.close()


async def test_without_a_store_a_tokened_reply_is_withheld(make_call: MakeCall) -> None:
    redactor = PresidioRedactor(tokened())
    await redactor.start()
    with pytest.raises(RedactionError, match="no store of tokens"):
        await redactor.clean(make_call(), reply(email="a@b.example"))
    assert (await redactor.show(entitled(make_call({"who": "<PERSON_000000000000>"})))).call.restored == {}
    await redactor.aclose()
