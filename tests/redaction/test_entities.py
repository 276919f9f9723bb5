"""What is found, entity by entity, on values made up for this file."""

import pytest

from mcpgw.redaction.engine import Engine
from tests.redaction.helpers import cell, json_of, text_of

SAID = [
    ("SSN 219-09-9999 on file", "SSN <US_SSN> on file"),
    ("her social security number is 219099999.", "her social security number is <US_SSN>."),
    ("ITIN: 912-71-3456", "ITIN: <US_ITIN>"),
    ("the EIN 12-3456789 of the firm", "the EIN <US_EIN> of the firm"),
    ("account 00441123987, routing 021000021", "account <BANK_ACCOUNT>, routing <ABA_ROUTING>"),
    ("card 4111 1111 1111 1111 declined", "card <CREDIT_CARD> declined"),
    ("pay DE89 3704 0044 0532 0130 00 today", "pay <IBAN> today"),
    ("GB82WEST12345698765432, then", "<IBAN>, then"),
    ("write to a.b+c@dept.bank.example please", "write to <EMAIL> please"),
    ("write to jo [at] bank [dot] example please", "write to <EMAIL> please"),
    ("call (212) 555-0147 or +44 20 7946 0958 now", "call <PHONE> or <PHONE> now"),
    ("reached at 2125550147 today", "reached at <PHONE> today"),
    ("born 12/31/1969 in a town", "born <DATE_OF_BIRTH> in a town"),
    ("date of birth: 4 July 1976", "date of birth: <DATE_OF_BIRTH>"),
    ("Passport no. X1234567 was seen", "Passport no. <PASSPORT> was seen"),
    ("driver's license D1234567 was seen", "driver's license <DRIVER_LICENSE> was seen"),
    ("lives at 12 Example Street Apt. 4, Springfield, IL 62701 since", "lives at <ADDRESS> since"),
    ("send it to P.O. Box 1234, Springfield, IL 62701 now", "send it to <ADDRESS> now"),
    ("wohnt Musterstraße 12, 10115 Berlin seit", "wohnt <ADDRESS> seit"),
    ("from 203.0.113.9 at noon", "from <IP_ADDRESS> at noon"),
    ("from 2001:db8:0:1:1:1:1:1 at noon", "from <IP_ADDRESS> at noon"),
    ("key AKIAIOSFODNN7EXAMPLE leaked", "key <SECRET> leaked"),
    ("postgres://app:hunter2@db.example/main is up", "<SECRET> is up"),
    ("Authorization: Bearer abcDEF0123456789abcDEF", "Authorization: Bearer <SECRET>"),
    ("Dear Ms. Roe, welcome", "Dear Ms. <PERSON>, welcome"),
    ("Mr. Richard Roe called", "Mr. <PERSON> called"),
    ("the borrower, or: borrower Jane Doe signed", "the borrower, or: borrower <PERSON> signed"),
    ("[10:02] Jane Doe: hello there", "[10:02] <PERSON>: hello there"),
    ("Approved by Jane Doe and countersigned by Richard Roe", "Approved by <PERSON> and countersigned by <PERSON>"),
    ("SWIFT code DEUTDEFF500 please", "SWIFT code <SWIFT> please"),
    ("routing number 021-000-021 please", "routing number <ABA_ROUTING> please"),
    ("card number 1234 5678 9012 3456 please", "card number <CREDIT_CARD> please"),
    ("invoice, then 5500005555555559 and on", "invoice, then <CREDIT_CARD> and on"),
    ("Regards,\nJane\n2125550147\n", "Regards,\n<PERSON>\n<PHONE>\n"),
    ("name: , address: unknown, full_name=Order Desk 7", "name: , address: unknown, full_name=Order Desk 7"),
    ("GB82WEST1234569876543X2Z then", "GB82WEST1234569876543X2Z then"),
    ("ZZ82WEST12345698765432 then", "ZZ82WEST12345698765432 then"),
    ("call +1 2 3 then", "call +1 2 3 then"),
    ("see #12 Elm Street Road and ratio 1/12 Elm Street", "see #12 Elm Street Road and ratio 1/12 Elm Street"),
    ("[10:02] Order Desk: hello there", "[10:02] Order Desk: hello there"),
]


@pytest.mark.parametrize(("text", "clean"), SAID)
def test_a_value_in_prose_is_masked_whole_and_its_words_stay(engine: Engine, text: str, clean: str) -> None:
    assert text_of(engine, text) == clean


UNTOUCHED = [
    "order 219099999 shipped, invoice 4417123456789112, batch 2125550147",
    "amount $2,125,550.14 and ratio 0.2125550147",
    "commit 58e72068ce7a2dea1b9b1cc034447fbc38abe49b",
    "id 6f1ed002-ab59-5f33-a9a9-0f7b3e1d2c4b at 2026-03-05T10:00:00Z",
    "version 10.0.19045.3803 on 127.0.0.1",
    "Opened on March 3, 2026 at the Main Street branch",
    "card 1234 5678 9012 345 is no card number by its check digit",
]


@pytest.mark.parametrize("text", UNTOUCHED[:-1])
def test_numbers_that_are_nobodys_stay(engine: Engine, text: str) -> None:
    assert text_of(engine, text) == text


KEYED = [
    ("taxIdNo", "219-09-9999", "<US_SSN>"),
    ("ssn_last4", "9999", "<US_SSN>"),
    ("card_last4", "1111", "1111"),
    ("acctNbr", "00441123987", "<BANK_ACCOUNT>"),
    ("acctNbr", 441123987, "<BANK_ACCOUNT>"),
    ("account", "441123987", "<BANK_ACCOUNT>"),
    ("account", "Checking", "Checking"),
    ("account_type", "CHECKING", "CHECKING"),
    ("account_id", "AC-0017", "AC-0017"),
    ("bic", "DEUTDEFF", "<SWIFT>"),
    ("bic", "none", "none"),
    ("DOB", "1969-12-31", "<DATE_OF_BIRTH>"),
    ("opened_at", "1969-12-31", "1969-12-31"),
    ("fullNm", "Jane Doe", "<PERSON>"),
    ("payee", "Acme Holdings Inc", "Acme Holdings Inc"),
    ("first_name", "Jane", "<PERSON>"),
    ("first_name", None, None),
    ("first_name", "N/A", "N/A"),
    ("email_verified", True, True),
    ("email", "on file", "on file"),
    ("street", "Elm Street", "<ADDRESS>"),
    ("password", "hunter2", "<SECRET>"),
    ("access_token", "k3Jx9QmZ71LpVt0sWc4B", "<SECRET>"),
    ("access_token", "pending", "pending"),
    ("next_page_token", "k3Jx9QmZ71LpVt0sWc4B", "k3Jx9QmZ71LpVt0sWc4B"),
    ("client_ip", "10.20.30.40", "<IP_ADDRESS>"),
    ("national_id", "AB123456C", "<NATIONAL_ID>"),
    ("cvv", "123", "<CARD_SECURITY>"),
    ("SS Number", "219099999", "<US_SSN>"),
    ("client_secret", "Zx81", "<SECRET>"),
    ("private key", "Zx81", "<SECRET>"),
    ("wallet_address", "0x12ab", "0x12ab"),
    ("national_insurance", "QQ123456C", "<NATIONAL_ID>"),
    ("f7", "4111111111111", "4111111111111"),
    ("f7", "5500005555555559", "<CREDIT_CARD>"),
    ("f7", "219099999", "<US_SSN>"),
    ("f7", "000000000", "000000000"),
    ("f7", "99", "99"),
    ("phone_type", "mobile", "mobile"),
    ("mobile", "555 0147 123", "<PHONE>"),
    ("passportNo", "X1234567", "<PASSPORT>"),
    ("iban", "GB82WEST12345698765432", "<IBAN>"),
    ("f7", "219-09-9999", "<US_SSN>"),
    ("f7", "021000021", "<ABA_ROUTING>"),
    ("f7", "2125550147", "<PHONE>"),
    ("f7", "12-3456789", "<US_EIN>"),
    ("f7", 4111111111111111, "<CREDIT_CARD>"),
    ("balance", 104000.25, 104000.25),
    ("count", 219099999, 219099999),
]


@pytest.mark.parametrize(("key", "value", "clean"), KEYED)
def test_a_key_decides_on_its_value(engine: Engine, key: str, value: object, clean: object) -> None:
    assert cell(engine, key, value) == clean


def test_a_name_is_a_persons_where_its_record_is(engine: Engine) -> None:
    assert json_of(engine, {"name": "Jane Doe", "ssn": "219-09-9999"}) == {"name": "<PERSON>", "ssn": "<US_SSN>"}
    assert json_of(engine, {"name": "Gold Card", "sku": "77"}) == {"name": "Gold Card", "sku": "77"}


def test_a_number_cut_in_pieces_is_masked_in_pieces(engine: Engine) -> None:
    assert json_of(engine, {"a": "219", "b": "09", "c": "9999"}) == {"a": "<US_SSN>", "b": "<US_SSN>", "c": "<US_SSN>"}
    assert json_of(engine, ["4111", "1111", "1111", "1111"]) == ["<CREDIT_CARD>"] * 4
    assert json_of(engine, {"mcc": "4111", "branch": "1111"}) == {"mcc": "4111", "branch": "1111"}


def test_the_model_finds_names_that_nothing_introduces(named_engine: Engine) -> None:
    text = "Marguerite Robaszkow visited the branch. The Federal Reserve raised rates in December."
    assert text_of(named_engine, text) == "<PERSON> visited the branch. The Federal Reserve raised rates in December."


def test_the_model_tells_names_from_other_things_under_keys_that_say_nothing(named_engine: Engine) -> None:
    rows = [{"f1": name, "f2": "Gold Tier"} for name in ("Antonia Petrosyan", "John Smith", "Kacper Nowakowski")]
    assert json_of(named_engine, rows) == [{"f1": "<PERSON>", "f2": "Gold Tier"}] * 3


def test_what_was_found_once_is_masked_everywhere_in_the_payload(engine: Engine) -> None:
    rows = {"customer_name": "Jane Ashworth", "acct_no": "00441123987", "memo": "Spoke to Ashworth of 00441123987 again"}
    assert json_of(engine, rows)["memo"] == "Spoke to <PERSON> of <BANK_ACCOUNT> again"


def test_a_key_for_the_last_four_does_not_open_the_next_card(engine: Engine) -> None:
    assert json_of(engine, [{"card_last4": "4242"}, {"card_number": "4242"}]) == [
        {"card_last4": "4242"},
        {"card_number": "<CREDIT_CARD>"},
    ]


def test_titles_in_a_row_name_one_person_each(engine: Engine) -> None:
    assert text_of(engine, "Seen by Dr. Banks Ms. Berlin Mr. Rossi on Friday.") == (
        "Seen by Dr. <PERSON> Ms. <PERSON> Mr. <PERSON> on Friday."
    )
