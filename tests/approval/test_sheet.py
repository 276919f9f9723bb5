"""What an approver sees is what is bound, in characters that cannot deceive."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpgw.approval import KEY_BYTES, SealBroken
from mcpgw.approval.seal import Seal
from mcpgw.core.entries import Verdict
from mcpgw.core.errors import ConfigError, LedgerUnavailable
from mcpgw.core.visible import oddities, visible, visible_json, visible_line, visible_payload
from tests.approval.world import ARGUMENTS, BOB, DEADLINE_S, KEY, World

ESCAPED: dict[str, tuple[str, str]] = {
    "right-to-left override": ("\u202e001", "\\u202e001"),
    "isolate": ("a\u2066b", "a\\u2066b"),
    "zero width space": ("pay\u200bee", "pay\\u200bee"),
    "zero width joiner": ("a\u200db", "a\\u200db"),
    "byte order mark": ("\ufeffa", "\\ufeffa"),
    "soft hyphen": ("a\u00adb", "a\\u00adb"),
    "tag character": ("a\U000e0041", "a\\udb40\\udc41"),
    "variation selector": ("a\ufe0f", "a\\ufe0f"),
    "ideographic variation": ("\u4e00\U000e0100", "\u4e00\\udb40\\udd00"),
    "Hangul filler": ("\u3164", "\\u3164"),
    "Braille blank": ("a\u2800", "a\\u2800"),
    "no-break space": ("1\u00a0000", "1\\u00a0000"),
    "line separator": ("a\u2028b", "a\\u2028b"),
    "newline": ("a\nb", "a\\nb"),
    "escape": ("\x1b[2J", "\\u001b[2J"),
    "delete": ("\x7f", "\\u007f"),
    "C1 control": ("\u009b", "\\u009b"),
    "unassigned": ("\u0378", "\\u0378"),
    "private use": ("\ue000", "\\ue000"),
    "Cyrillic in a Latin word": ("p\u0430ypal", "p\\u0430ypal"),
    "Cyrillic beside a digit": ("\u04101", "\\u04101"),
    "a whole word of look-alikes": ("\u0430\u0440\u0440\u04cf\u0435", "\\u0430\\u0440\\u0440\\u04cf\\u0435"),
    "Greek omicron": ("G\u03bfogle", "G\\u03bfogle"),
    "Latin alpha": ("p\u0251ypal", "p\\u0251ypal"),
    "full width": ("\uff21", "\\uff21"),
    "mathematical bold": ("\U0001d41a", "\\ud835\\udc1a"),
    "ligature": ("\ufb01", "\\ufb01"),
    "decomposed accent": ("cafe\u0301", "cafe\\u0301"),
    "stacked marks": ("e\u0301\u0302", "e\\u0301\\u0302"),
    "enclosing mark": ("1\u20dd", "1\\u20dd"),
    "minus sign": ("\u2212100", "\\u2212100"),
    "fraction slash": ("1\u20442", "1\\u20442"),
    "curly quote": ("\u201d", "\\u201d"),
    "Bengali four, which looks like an eight": ("\u09ea", "\\u09ea"),
    "Arabic-Indic digit": ("1\u0663", "1\\u0663"),
}


@pytest.mark.parametrize("what", ESCAPED)
def test_shown_escaped(what: str) -> None:
    text, shown = ESCAPED[what]
    assert visible(text) == shown


PLAIN = [
    "",
    'plain ASCII, with "quotes" & <tags>',
    "M\u00fcller",
    "stra\u00dfe",
    "caf\u00e9",
    "\u0418\u0432\u0430\u043d",
    "\u0391\u03b8\u03ae\u03bd\u03b1",
    "\u65e5\u672c\u8a9e",
    "\u05e9\u05dc\u05d5\u05dd",
    "\u0928\u092e\u0938\u094d\u0924\u0947",
    "\U0001f600",
    "\u20ac",
]


@pytest.mark.parametrize("text", PLAIN)
def test_shown_as_it_is(text: str) -> None:
    assert visible(text) == text


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_what_is_shown_reads_back_as_the_same_value(value: object) -> None:
    assert json.loads(visible_json(value)) == value


@given(st.text())
def test_nothing_that_is_shown_hides_or_turns(text: str) -> None:
    assert visible(text).isprintable()


@given(st.text(min_size=1), st.text(min_size=1))
def test_different_values_are_never_shown_alike(one: str, other: str) -> None:
    assert (visible_json(one) == visible_json(other)) == (one == other)


def test_a_value_cannot_fake_an_escape() -> None:
    assert visible_json("\\u202e") == '"\\\\u202e"'
    assert visible_json("\u202e") == '"\\u202e"'


def test_a_recorded_payload_is_laid_out_as_json_and_what_was_cut_as_text() -> None:
    assert visible_payload('{"memo":"a\u202eb"}') == '{\n  "memo": "a\\u202eb"\n}'
    assert json.loads(visible_payload('{"memo":"a\u202e')) == '{"memo":"a\u202e'
    assert "\u202e" not in visible_payload('{"memo":"a\u202e')


def test_the_escaped_characters_are_named() -> None:
    assert oddities({"to": "p\u0430yp\u0430l", "memo": "\u202e"}) == (
        "U+0430 CYRILLIC SMALL LETTER A, 2 times",
        "U+202E RIGHT-TO-LEFT OVERRIDE, once",
    )
    assert oddities(["\u0378"]) == ("U+0378 (no name), once",)
    assert oddities({"amount": 1}) == ()


async def test_look_alike_arguments_are_shown_escaped_and_named(world: World) -> None:
    approval_id = await world.held(world.call(arguments={"to": "p\u0430ypal", "memo": "ok\u202edetsurt"}))
    sheet = await world.desk.show(approval_id, BOB)
    assert sheet.arguments == '{\n  "memo": "ok\\u202edetsurt",\n  "to": "p\\u0430ypal"\n}'
    assert len(sheet.oddities) == 2


async def test_the_shown_arguments_are_the_exact_ones(world: World) -> None:
    odd = {"to": "x", "amount": 2**60 + 1, "rate": 1.5, "deep": [{"a": None}], "text": 'a"\n\u200b\\'}
    approval_id = await world.held(world.call(arguments=odd))
    sheet = await world.desk.show(approval_id, BOB)
    assert json.loads(sheet.arguments) == odd


async def test_once_it_is_over_the_clean_arguments_are_shown_and_nothing_exact_was_read(world: World) -> None:
    approval_id = await world.held()
    await world.desk.vote(approval_id, BOB, Verdict.DENY)
    sheet = await world.desk.show(approval_id, BOB)
    assert not sheet.exact
    assert json.loads(sheet.arguments) == {**ARGUMENTS, "to": "<IBAN>"}
    assert "evidence.read" not in world.kinds()


async def test_a_reading_that_cannot_be_recorded_shows_nothing(world: World) -> None:
    approval_id = await world.held()
    world.ledger.lose_next = True
    with pytest.raises(LedgerUnavailable):
        await world.desk.show(approval_id, BOB)


async def test_what_was_shown_is_committed_with_a_salt(world: World) -> None:
    """The same arguments in two approvals give two commitments, so that none can be looked up in a table."""
    first = await world.desk.show(await world.held(), BOB)
    world.later(DEADLINE_S)
    second = await world.desk.show(await world.held(), BOB)
    assert first.arguments == second.arguments
    assert first.commitment != second.commitment


async def test_exact_arguments_under_another_approval_do_not_open(world: World) -> None:
    one = await world.held()
    other = await world.held(world.call(arguments={"to": "x"}))
    world.ledger.tamper(one, exact=world.ledger.records[other].exact)
    with pytest.raises(SealBroken):
        await world.desk.show(one, BOB)


async def test_exact_arguments_that_the_digest_does_not_bind_are_not_shown(world: World) -> None:
    approval_id = await world.held()
    world.ledger.tamper(approval_id, digest="0" * 64)
    with pytest.raises(SealBroken, match="not those"):
        await world.desk.show(approval_id, BOB)


def test_a_seal_opens_only_what_it_closed_for_that_id() -> None:
    seal = Seal(KEY)
    sealed = seal.close("apr_1", b"exact")
    assert seal.open("apr_1", sealed) == b"exact"
    assert sealed != seal.close("apr_1", b"exact")
    flipped = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for broken, reader in ((flipped, seal), (sealed, Seal(b"k" * KEY_BYTES)), (b"short", seal), (b"", seal)):
        with pytest.raises(SealBroken, match="apr_1"):
            reader.open("apr_1", broken)
    with pytest.raises(SealBroken):
        seal.open("apr_2", sealed)


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_a_key_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(ConfigError, match=f"{size} bytes; it must have 32"):
        Seal(b"k" * size)


def test_of_very_many_characters_a_hundred_are_named_and_the_others_counted() -> None:
    odd = oddities("".join(chr(code) for code in range(0x2000, 0x2100)))
    assert len(odd) == 101 and odd[0].startswith("U+2000 EN QUAD") and odd[-1].startswith("and ")


@pytest.mark.parametrize(
    ("value", "longest", "shown"),
    [
        ({"a": 1}, 20, '{"a": 1}'),
        ({"a": "x" * 30}, 12, '{"a": "xxxx…'),
        ("p\u0430ypal", 20, '"p\\u0430ypal"'),
        ("p\u0430ypal", 10, '"p\\u0430y…'),
        ("\u202e" * 10_000, 13, '"\\u202e\\u202…'),
    ],
)
def test_one_line_of_a_value_is_bounded_and_deceives_nobody(value: object, longest: int, shown: str) -> None:
    assert visible_line(value, longest) == shown
    assert len(shown) <= longest
