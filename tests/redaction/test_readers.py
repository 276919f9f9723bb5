"""Who sees what: rules that open a place to some, operators by group, and the explanation of every decision."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mcpgw.catalog.load import read_entry
from mcpgw.core.errors import ConfigError, RedactionError
from mcpgw.core.model import (
    Call,
    Masked,
    Masking,
    MaskingRule,
    RawJson,
    RawReply,
    ReplyKind,
    TargetKind,
)
from mcpgw.redaction import Audience, Operator, PresidioRedactor, Profile, RedactionConfig
from mcpgw.redaction.config import profile_hash
from mcpgw.redaction.engine import Engine
from mcpgw.redaction.explain import explained
from mcpgw.redaction.judge import NoModel
from mcpgw.redaction.paths import parse_place
from mcpgw.redaction.reader import Reader

FRAUD = frozenset({"group:fraud"})
NOBODY: frozenset[str] = frozenset()
ROWS = {"rows": [{"ssn": "219-09-9999", "email": "a@b.example", "tier": "gold"}], "memo": "SSN 219-09-9999"}


def seen(masking: Masking, members: frozenset[str], value: Any = ROWS, profile: Profile | None = None) -> Any:
    engine = Engine(RedactionConfig(model="none", profiles={"default": profile or Profile()}), NoModel())
    out = engine.redact({"structuredContent": value}, masking, reader=Reader(members=members))
    return out.payload["structuredContent"]


OPENED = Masking(rules=(MaskingRule(path="rows[*].ssn", unmasked_for=("group:fraud",)),))


def test_a_rule_opens_its_place_to_some_and_no_other_place() -> None:
    fraud, teller = seen(OPENED, FRAUD), seen(OPENED, frozenset({"group:tellers"}))
    assert fraud["rows"][0]["ssn"] == "219-09-9999" and teller["rows"][0]["ssn"] == "<US_SSN>"
    assert fraud["memo"] == teller["memo"] == "SSN <US_SSN>", "only the place is open"
    assert fraud["rows"][0]["email"] == "<EMAIL>"


def test_what_a_reader_was_shown_is_counted() -> None:
    engine = Engine(RedactionConfig(model="none"), NoModel())
    masked = engine.redact({"structuredContent": ROWS}, OPENED, reader=Reader(members=FRAUD)).masked
    assert Masked("US_SSN", "structuredContent.rows[*].ssn", "keep:rule:rows[*].ssn@1", 1) in masked


def test_what_columns_cover_no_rule_opens() -> None:
    strict = dataclasses.replace(OPENED, columns=("SSN",))
    assert seen(strict, FRAUD)["rows"][0]["ssn"] == "<US_SSN>"


def test_a_rule_may_have_an_operator_of_its_own_and_mask_what_no_detector_knows() -> None:
    rules = (
        MaskingRule(path="**.tier", unmasked_for=("user:eve",)),
        MaskingRule(path='column:"SSN"', operator="partial"),
        MaskingRule(path="column: email", operator="keep"),
    )
    out = seen(Masking(rules=rules), NOBODY)["rows"][0]
    assert out == {"ssn": "<US_SSN:99>", "email": "a@b.example", "tier": "<MASKED>"}
    assert seen(Masking(rules=rules), frozenset({"user:eve"}))["rows"][0]["tier"] == "gold"


def test_a_rule_reaches_tables_and_json_in_text() -> None:
    engine = Engine(RedactionConfig(model="none"), NoModel())
    rules = (MaskingRule(path='column:"Tax ID"', unmasked_for=("group:fraud",)),)
    payload = {"content": [{"type": "text", "text": "Tax ID,n\n219-09-9999,1\n219-09-9998,2\n"}]}
    shown = engine.redact(payload, Masking(rules=rules), reader=Reader(members=FRAUD)).payload
    assert shown == payload
    hidden = engine.redact(payload, Masking(rules=rules)).payload["content"][0]["text"]
    assert hidden == "Tax ID,n\n<US_SSN>,1\n<US_SSN>,2\n"


@pytest.mark.parametrize("wrong", ["column:", 'column:"a', "rows[", ""])
def test_a_place_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(ConfigError):
        parse_place(wrong)


def test_a_rule_that_hashes_without_a_key_withholds_the_answer() -> None:
    with pytest.raises(RedactionError, match="no key"):
        seen(Masking(rules=(MaskingRule(path="**.ssn", operator="hash"),)), NOBODY)


def test_operators_follow_the_first_audience_that_fits() -> None:
    profile = Profile(
        operators={"EMAIL": Operator.PARTIAL},
        audiences=(
            Audience(members=("group:fraud",), operators={"US_SSN": Operator.KEEP}),
            Audience(members=("group:fraud", "user:eve"), operators={"US_SSN": Operator.DROP}),
        ),
    )
    assert seen(Masking(), FRAUD, profile=profile)["rows"][0]["ssn"] == "219-09-9999"
    assert seen(Masking(), frozenset({"user:eve"}), profile=profile)["rows"][0]["ssn"] == ""
    assert seen(Masking(), NOBODY, profile=profile)["rows"][0] == {"ssn": "<US_SSN>", "email": "<EMAIL:le>", "tier": "gold"}


def test_the_profile_hash_follows_rules_audiences_packs_and_recognizers() -> None:
    plain = RedactionConfig()
    audience = Profile(audiences=(Audience(members=("group:a",)),))
    hashes = {
        profile_hash(plain, Masking()),
        profile_hash(plain, OPENED),
        profile_hash(RedactionConfig(packs=("us", "eu")), Masking()),
        profile_hash(RedactionConfig(profiles={"default": audience}), Masking()),
    }
    assert len(hashes) == 4


async def test_groups_of_the_caller_decide_through_the_door(make_call: Callable[..., Call]) -> None:
    redactor = PresidioRedactor(RedactionConfig(model="none"))
    await redactor.start()
    call = make_call(masking=OPENED)
    raw = RawReply(kind=ReplyKind.RESULT, payload=RawJson({"structuredContent": ROWS}))
    assert (await redactor.clean(call, raw)).payload["structuredContent"]["rows"][0]["ssn"] == "<US_SSN>"
    fraud = dataclasses.replace(call, identity=dataclasses.replace(call.identity, groups=frozenset({"fraud"})))
    assert (await redactor.clean(fraud, raw)).payload["structuredContent"]["rows"][0]["ssn"] == "219-09-9999"
    await redactor.aclose()


# --- the catalog ---------------------------------------------------------------------------------------------------------

ENTRY = """transport = "stdio"
command = "x"
[defaults]
restore_tokens = true
[[defaults.redaction.rules]]
path = "**.ssn"
unmasked_for = ["group:fraud"]
[tools.a]
restore_tokens = false
[[tools.a.redaction.rules]]
path = 'column:"Tax ID"'
operator = "partial"
"""


def test_the_catalog_says_both_and_a_tool_adds_to_its_servers_rules() -> None:
    entry = read_entry("bank.toml", "bank", ENTRY)
    rule = MaskingRule(path="**.ssn", unmasked_for=("group:fraud",))
    single = entry.rules(TargetKind.TOOL, "a")
    assert entry.defaults.restore_tokens and not single.restore_tokens
    assert single.masking.rules == (rule, MaskingRule(path='column:"Tax ID"', operator="partial"))


# --- explain -------------------------------------------------------------------------------------------------------------


def test_every_judged_value_is_explained_by_what_decided_it() -> None:
    engine = Engine(RedactionConfig(model="none"), NoModel())
    value = {**ROWS, "city": "Springfield", "note": "call 212-555-0147"}
    told = {
        d.path.removeprefix("structuredContent."): d for d in explained(engine, {"structuredContent": value}, OPENED, Reader())
    }
    assert (told["rows[*].ssn"].detector, told["rows[*].ssn"].operator) == ("rule:rows[*].ssn@1", Operator.MASK)
    assert (told["note"].entity, told["note"].detector) == ("PHONE", "patterns@1")
    assert (told["city"].entity, told["city"].detector, told["city"].operator) == ("", "", Operator.KEEP)
    assert "219" not in repr(told) and "Springfield" not in repr(told)


def test_what_was_decided_before_the_message_was_taken_apart_is_explained_too() -> None:
    engine = Engine(RedactionConfig(model="none"), NoModel())
    content = [{"type": "text", "text": "SSN 219-0"}, {"type": "text", "text": "9-9999"}, {"type": "image", "data": "AAAA"}]
    told = [d.detector for d in explained(engine, {"content": content}, Masking(), Reader())]
    assert "split:patterns@1" in told and "blob-withhold@1" in told


def mcpgw(*arguments: str, given: str = "", expect: int = 0) -> str:
    command = [sys.executable, "-m", "mcpgw", "redact", "explain", "--model", "none", *arguments]
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=60)
    assert done.returncode == expect, done.stderr
    return done.stdout + done.stderr


def test_explain_prints_no_value_unless_it_is_asked_to(tmp_path: Path) -> None:
    sample = tmp_path / "sample.json"
    sample.write_text(json.dumps(ROWS))
    said = mcpgw(str(sample), "--as", "teller")
    assert "US_SSN" in said and "key@1" in said and "219-09" not in said and "gold" not in said
    lines = [json.loads(line) for line in mcpgw(str(sample), "--json", "--show-values", "--group", "fraud").splitlines()]
    assert {"value": "219-09-9999", "seen": "<US_SSN>"}.items() <= lines[0].items()
    assert "PHONE" in mcpgw("--as", "https://i.example#eve", given="call 212-555-0147")


def test_explain_says_what_is_wrong_with_a_sample(tmp_path: Path) -> None:
    assert "not JSON" in mcpgw("--mime", "application/json", given="{", expect=2)
    assert "cannot be read" in mcpgw(str(tmp_path / "absent"), expect=2)
