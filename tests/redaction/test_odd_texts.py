"""Texts at the edge of what a reader or detector expects: half a statement, a number nobody means, a tag without a name."""

import base64
import json

import pytest

from mcpgw.core.model import Masking
from mcpgw.redaction import RedactionConfig
from mcpgw.redaction.engine import Engine
from mcpgw.redaction.findings import Finding, resolve
from mcpgw.redaction.judge import Judge, NoModel
from mcpgw.redaction.linear import Alternatives, Linear
from mcpgw.redaction.names import cued, pairs, trim
from mcpgw.redaction.near import Near
from mcpgw.redaction.nodes import Unit
from mcpgw.redaction.paths import parse
from mcpgw.redaction.presidio import PresidioNamer
from mcpgw.redaction.reader import ANYONE
from mcpgw.redaction.vocabulary import BARE, UNKNOWN, meaning
from tests.redaction.helpers import cell, json_of, text_of

ODD = [
    ("account balance 441123987", "account balance 441123987"),  # the balance is the number
    ('customer="Desk of 7 things" then', 'customer="Desk of 7 things" then'),
    ('full_name="order desk of things" then', 'full_name="order desk of things" then'),
    ("DE89370400440532013000 219 09 9999", "<IBAN> <US_SSN>"),
    ("n\n4222222222222\n", "n\n<CREDIT_CARD>\n"),
    ("a 4111111111111111 b", "a <CREDIT_CARD> b"),
    ("de89370400440532013001 then", "de89370400440532013001 then"),  # neither its sum is right nor its letters are large
    ("INSERT INTO t (a, ssn) VALUES ('x', '219", "INSERT INTO t (a, ssn) VALUES ('x', '219"),
    ("INSERT INTO t (ssn) VALUES ('219099999'), ('219", "INSERT INTO t (ssn) VALUES ('<US_SSN>'), ('219"),
    ("SSN 219-09-9999 \\" + "\u0301" * 5, "SSN <US_SSN> \\" + "\u0301" * 5),  # a sign with marks, and no escape
    ("<p title='a@b.example'>SSN 219-09-9999</p>", "<p title='&lt;EMAIL&gt;'>SSN &lt;US_SSN&gt;</p>"),
    ("<!-- note --><p>SSN 219-09-9999</p>", "<!-- note --><p>SSN &lt;US_SSN&gt;</p>"),
    (
        "<table><tr><th>n</th></tr><tr><td>1</td><th>SSN</th><td>219099999</td></tr></table>",
        "<table><tr><th>n</th></tr><tr><td>1</td><th>SSN</th><td>&lt;US_SSN&gt;</td></tr></table>",
    ),
]


@pytest.mark.parametrize(("text", "clean"), ODD)
def test_an_odd_text_loses_what_is_personal_and_nothing_else(engine: Engine, text: str, clean: str) -> None:
    assert text_of(engine, text) == clean


def test_a_table_inside_a_statement_is_read_once(engine: Engine) -> None:
    text = "INSERT INTO t (a, ssn) VALUES ('x\na,b\n1,2\n3,4\n', '219099999');"
    clean = text_of(engine, text)
    assert clean.startswith(text[: text.index("3,4")]) and "219099999" not in clean


def test_a_long_name_under_its_key_is_a_persons_where_its_record_is(engine: Engine) -> None:
    name = "Bartholomew Featherstonehaugh-Cholmondeley Wolstenholme-Elmyaaa"
    assert json_of(engine, {"full_name": name, "ssn": "219-09-9999"}) == {"full_name": "<PERSON>", "ssn": "<US_SSN>"}


def test_what_is_encoded_more_than_three_times_is_not_looked_into(engine: Engine) -> None:
    text = "SSN 219-09-9999"
    seen = []
    for _ in range(4):
        text = base64.b64encode(text.encode()).decode()
        seen.append(cell(engine, "f1", text) == "<ENCODED>")
    assert seen == [True, True, True, False]


def test_pieces_that_are_no_number_together_stay(engine: Engine) -> None:
    pieces = {"a": "000", "b": "00", "c": "0000", "d": "1234", "e": "123456", "f": "12345"}
    assert json_of(engine, pieces) == pieces


def test_what_an_earlier_redaction_wrote_is_cut_out_of_a_finding(engine: Engine) -> None:
    row = {"password": "hunter2 <PERSON> and more", "ssn": "<US_SSN>"}
    assert json_of(engine, row) == {"password": "<SECRET><PERSON><SECRET>", "ssn": "<US_SSN>"}


def test_an_empty_finding_among_others_masks_nothing() -> None:
    assert resolve([Finding(3, 3, "A", "a", 1.0), Finding(4, 6, "B", "b", 0.5)]) == [Finding(4, 6, "B", "b", 0.5)]


def test_without_a_model_nobody_is_found_and_nothing_speaks_for_a_name() -> None:
    assert (NoModel().people(["Jane Doe"], [""]), NoModel().votes(["Jane Doe"])) == ([[]], [0])


class Everyone(NoModel):
    """Sees one person in each text: the first possible one."""

    reads = True

    def people(self, texts: list[str], keys: list[str]) -> list[list[Finding]]:  # type: ignore[override]  # a test's own
        return [[Finding(*span, "PERSON", "x@1", 0.5) for span in list(pairs(text))[:1]] for text in texts]


def test_reading_again_comes_to_an_end() -> None:
    text = " and ".join(f"Amara{chr(97 + n)} Bianchi{chr(97 + n)}" for n in range(20))
    unit = Unit(text, "", "", UNKNOWN, prose=True)
    Judge(Everyone(), memory=0).decide([unit])
    assert 1 < len(unit.findings) < 20


def test_a_pattern_that_matches_nothing_at_all_comes_to_an_end() -> None:
    assert Linear("a*").spans("ba") == [(0, 0), (1, 2), (2, 2)]
    assert Alternatives(["a", "b"]).first("c") == -1


def test_a_chain_of_titles_and_a_list_of_names_end() -> None:
    chain = "Dr. Al Ms Bo " * 8
    assert all(chain[f.start : f.end] in ("Al", "Bo") for f in cued(chain))
    assert (trim("Jane Doe, Richard", 0, 17), trim("Jane Doe.", 0, 9)) == ((0, 8), (0, 8))
    assert list(pairs("Jordan Ellery: hello")) == [], "a label, and nobody"


def test_a_way_that_several_steps_lead_to_is_tried_once() -> None:
    assert parse("**.**.a").covers(["x", "y", "a"]) and not parse("**.**.a").covers(["x", "y", "b"])


VAGUE = {"owner account from": UNKNOWN, "f1": BARE}


@pytest.mark.parametrize(("key", "told"), VAGUE.items())
def test_a_key_that_says_too_little_tells_nothing(key: str, told: object) -> None:
    assert meaning(key) == told


@pytest.mark.parametrize("key", ["fname", "lastname", "middlenm", "benefname"])
def test_short_keys_of_names_tell(key: str) -> None:
    assert (meaning(key).entity, meaning(key).sure) == ("PERSON", True)


def test_warming_an_engine_leaves_what_a_model_has_to_read() -> None:
    near = Near(RedactionConfig())
    near.warm()
    answer = near.answer(json.dumps({"content": []}).encode(), Masking(), ANYONE, envelope=True)
    assert answer == {"payload": {"content": []}, "masked": []}


def test_a_wallet_is_found_by_presidio_and_lower_case_words_are_nobody(namer: PresidioNamer) -> None:
    found = namer.people(["the lower case and 4417 are nobody, and neither is wallet 1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"], [""])
    assert [finding.entity for finding in found[0]] == ["CRYPTO"]


def test_the_words_of_a_key_are_context_for_presidio(namer: PresidioNamer) -> None:
    text = "Jordan Ellery may be tried on 2125550147 after noon"
    without, under = ([f.entity for f in found] for found in namer.people([text, text], ["memo", "phoneNotes"]))
    assert "PHONE" in under and "PHONE" not in without


def test_what_the_model_takes_for_a_name_has_to_look_like_one(namer: PresidioNamer) -> None:
    text = "We spoke to john smith and Mary Jones about it."
    (found,) = namer.people([text], [""])
    assert [text[finding.start : finding.end] for finding in found] == ["Mary Jones"]
