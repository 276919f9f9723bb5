"""Countries as packs, and recognizers of one's own: form, arithmetic, context, and complaints at their line."""

import json
import time
from pathlib import Path

import pytest

from mcpgw.app import redacting
from mcpgw.core.errors import ConfigError
from mcpgw.core.model import Masking
from mcpgw.redaction import Recognizer, RedactionConfig, national
from mcpgw.redaction.engine import Engine
from mcpgw.redaction.judge import NoModel
from mcpgw.redaction.recognizers import LONGEST_PATTERN
from mcpgw.settings import load
from tests.redaction.helpers import cell, text_of


def engine_of(*packs: str, recognizers: tuple[Recognizer, ...] = ()) -> Engine:
    return Engine(RedactionConfig(model="none", packs=packs or ("us",), recognizers=recognizers), NoModel())


EUROPE = engine_of("eu", "uk")

VALID = [
    ("steuer_id", "86 095 742 719"),
    ("nir", "2 55 08 14 168 025 38"),
    ("dni_nie", "12345678Z"),
    ("dni_nie", "X-1234567-L"),
    ("codice_fiscale", "RSSMRA85T10A562S"),
    ("bsn", "111222333"),
    ("pesel", "44051401359"),
    ("nhs", "943 476 5919"),
    ("utr", "1123456789"),
    ("nino", "AB 12 34 56 C"),
    ("vat", "DE136695976"),
    ("vat", "IT00743110157"),
    ("vat", "PL5260001246"),
    ("luhn", "4111 1111 1111 1111"),
    ("iban", "DE89 3704 0044 0532 0130 00"),
    ("aba", "021000021"),
    ("ssn", "219-09-9999"),
]
SHORT = {"luhn": "1", "ssn": "000-00-0000"}


@pytest.mark.parametrize(("validator", "value"), VALID)
def test_check_digits_accept_what_authorities_issue_and_refuse_a_slip(validator: str, value: str) -> None:
    check = national.VALIDATORS[validator]
    assert check(value)
    assert not check(SHORT.get(validator, "1")) and not check("letters only")
    last = next(i for i in range(len(value) - 1, -1, -1) if value[i].isdigit())
    slip = value[:last] + str((int(value[last]) + 1) % 10) + value[last + 1 :]
    assert not check(slip) or validator in ("ssn", "nino")


ODD = [
    ("steuer_id", "01234567890", False),
    ("steuer_id", "12345678901", False),
    ("nir", "1 85 05 2A 123 456 96", False),
    ("nir", "185052A12345633", True),
    ("nir", "185052B12345660", True),
    ("nino", "BG123456A", False),
    ("iso7064_mod_11_10", "ABC", False),
    ("nhs", "ABCDEFGHIJ", False),
    ("nhs", "1000000010", False),
    ("vat", "FR40303265045", True),
    ("vat", "ITABCDEFGHIJK", False),
    ("utr", "1123456789K", True),
    ("dni_nie", "ABCDEFGHI", False),
]


@pytest.mark.parametrize(("validator", "value", "valid"), ODD)
def test_odd_numbers(validator: str, value: str, valid: bool) -> None:
    assert national.VALIDATORS[validator](value) is valid


FOUND = [
    ("tax_ref", "86095742719", "<DE_TAX_ID>"),
    ("nir", "255081416802538", "<FR_NIR>"),
    ("documento", "12345678Z", "<ES_DNI>"),
    ("cf", "rssmra85t10a562s", "<IT_FISCAL_CODE>"),
    ("bsn", "111222333", "<NL_BSN>"),
    ("peselNumber", "44051401359", "<PL_PESEL>"),
    ("vatNumber", "DE136695976", "<EU_VAT>"),
    ("ni", "AB 12 34 56 C", "<UK_NINO>"),
    ("nhs_no", "943 476 5919", "<UK_NHS>"),
    ("utr", "1123456789", "<UK_UTR>"),
    ("where", "Flat 2, 10 Downing Street, London SW1A 2AA", "<ADDRESS>"),
    ("postcode", "SW1A 2AA", "<ADDRESS>"),
    ("ref", "SW1A 2AA", "SW1A 2AA"),
    ("count_of", "111222333", "111222333"),
    ("order_ref", "44051401359", "44051401359"),
]


@pytest.mark.parametrize(("key", "value", "shown"), FOUND)
def test_packs_find_their_identifiers_and_weak_ones_only_where_they_are_named(key: str, value: str, shown: str) -> None:
    assert cell(EUROPE, key, value) == shown


def test_packs_read_prose() -> None:
    text = "His NHS number is 943 476 5919, sort code 20-00-00 and account 55779911; the BSN: 111222333."
    assert text_of(EUROPE, text).count("<") == 4
    assert "55779911" not in text_of(EUROPE, text)


def test_what_is_not_on_is_not_looked_for() -> None:
    assert text_of(engine_of("us"), "CF RSSMRA85T10A562S x") == "CF RSSMRA85T10A562S x"
    assert text_of(engine_of("us"), "it says 219-09-9999") == "it says <US_SSN>"
    assert text_of(engine_of("uk"), "it says 219-09-9999") == "it says 219-09-9999"
    assert cell(engine_of("uk"), "ssn", "219-09-9999") == "<US_SSN>", "a key that names it still decides"
    with pytest.raises(ConfigError, match="no pack of recognizers 'fr'"):
        RedactionConfig(packs=("fr",))


# --- recognizers of one's own --------------------------------------------------------------------------------------------

BADGE = Recognizer(name="badge", entity="EMPLOYEE_ID", pattern=r"\bB(?P<value>[0-9]{6})\b", context=("badge",), score=0.2)


def test_a_recognizer_needs_its_context_where_its_score_is_low() -> None:
    engine = engine_of(recognizers=(BADGE,))
    assert text_of(engine, "Badge no: B123456 is lost") == "Badge no: B<EMPLOYEE_ID> is lost"
    assert text_of(engine, "order B123456 is lost") == "order B123456 is lost"
    assert cell(engine, "badgeNumber", "B123456") == "B<EMPLOYEE_ID>"
    masked = engine.redact({"structuredContent": {"badge": "B123456"}}, Masking()).masked
    assert [line.detector for line in masked] == ["custom.badge@1"]
    assert BADGE.facts["score"] == "0.2"


WRONG = [
    ({"name": "A B"}, "name", "cannot name a recognizer"),
    ({"entity": "employee"}, "entity", "cannot name an entity"),
    ({"pattern": "(?=a)"}, "pattern", "does not compile"),
    ({"pattern": r"(a)\1"}, "pattern", "does not compile"),
    ({"pattern": "a*"}, "pattern", "matches nothing"),
    ({"pattern": "a" * (LONGEST_PATTERN + 1)}, "pattern", "at most"),
    ({"validator": "lun"}, "validator", "no validator 'lun'"),
    ({"score": 0.0}, "score", "above 0"),
    ({"score": 0.2, "context": []}, "score", "never be found"),
    ({"context": ["--"]}, "context", "no letters"),
]


@pytest.mark.parametrize(("change", "key", "why"), WRONG)
def test_a_wrong_recognizer_is_refused_at_its_line(tmp_path: Path, change: dict[str, object], key: str, why: str) -> None:
    told: dict[str, object] = {"name": "badge", "entity": "EMPLOYEE_ID", "pattern": "B[0-9]{6}", "score": 0.5, **change}
    lines = ["[redaction]", 'model = "none"', "", "[[redaction.recognizers]]"]
    lines += [f"{name} = {json.dumps(value)}" for name, value in told.items()]
    (tmp_path / "config.toml").write_text("\n".join(lines) + "\n")
    with pytest.raises(ConfigError, match=why) as refused:
        redacting.config(load(tmp_path))
    line = next(number for number, text in enumerate(lines, 1) if text.startswith(f"{key} ="))
    assert f"config.toml:{line}: `redaction.recognizers.0.{key}`" in str(refused.value)


def test_a_pack_that_does_not_exist_is_refused_at_its_line(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[redaction]\npacks = ["us", "narnia"]\n')
    with pytest.raises(ConfigError, match=r"config\.toml:2: `redaction\.packs`.*narnia"):
        redacting.config(load(tmp_path))


def test_ten_lines_of_toml_make_a_recognizer(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "redaction.md").read_text()
    block = next(part for part in page.split("```toml\n")[1:] if "[[redaction.recognizers]]" in part).split("```")[0]
    assert len(block.strip().splitlines()) <= 10
    (tmp_path / "config.toml").write_text(block)
    config = redacting.config(load(tmp_path))
    engine = Engine(config.replace(model="none"), NoModel())
    assert text_of(engine, "loan number LN-20418835-1 was paid") == "loan number <LOAN_ID> was paid"


def test_a_hostile_text_takes_linear_time_in_every_pack_and_in_patterns_that_other_engines_choke_on() -> None:
    evil = Recognizer(name="evil", entity="EVIL", pattern=r"(?:a+)+b", score=0.5)
    engine = engine_of("us", "eu", "uk", recognizers=(evil,))
    for text in ("a" * 100_000, "1 " * 20_000, "A1 " * 20_000, "sort code " * 8_000, "Flat 1, 1 A " * 6_000):
        began = time.process_time()
        text_of(engine, text)
        assert time.process_time() - began < 5, text[:12]
