"""Checkpoints and notes against the rules and examples of C2SP signed-note and tlog-checkpoint."""

import base64
from dataclasses import replace

import pytest

from mcpgw.ledger.checkpoint import (
    EVERY_SIZE,
    Checkpoint,
    InvalidNote,
    Signer,
    Verifier,
    open_checkpoint,
    open_note,
    signatures_of,
)
from mcpgw.ledger.tree import EMPTY_ROOT

# The example of Go's sumdb/note, which the C2SP document grew out of: made by an implementation that is not ours.
PETER_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
PETER_NOTE = (
    PETER_TEXT
    + "\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
EXAMPLE = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer.generate("example.com/log")


def test_a_note_of_another_implementation_opens_and_an_altered_one_does_not() -> None:
    peter = Verifier.parse(PETER_VKEY)
    assert peter.vkey() == PETER_VKEY
    assert open_note(PETER_NOTE, [peter]) == PETER_TEXT
    with pytest.raises(InvalidNote, match="PeterNeumann is wrong"):
        open_note(PETER_NOTE.replace("answer", "Answer"), [peter])


def test_the_example_of_the_specification_is_read_and_written_byte_for_byte() -> None:
    checkpoint = Checkpoint.parse(EXAMPLE)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert checkpoint.text() == EXAMPLE
    assert Checkpoint.parse(EXAMPLE + "an extension\n") == checkpoint


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a\n1\n",
        EXAMPLE.removesuffix("\n"),
        EXAMPLE + "\n",
        "\n" + EXAMPLE,
        EXAMPLE.replace("20852163", "020852163"),
        EXAMPLE.replace("20852163", "-1"),
        EXAMPLE.replace("20852163", "٣"),
        EXAMPLE.replace("20852163", "9" * 5000),
        EXAMPLE.replace("CsUY", "Cs-Y"),
        EXAMPLE.replace("CsUYapGG", "CsUY"),
        EXAMPLE.replace("q2I=", "q2J="),  # the same bytes with stray bits
    ],
)
def test_a_text_that_breaks_the_format_is_refused(text: str) -> None:
    with pytest.raises(InvalidNote):
        Checkpoint.parse(text)


def test_a_signed_checkpoint_opens_with_its_key_alone(signer: Signer) -> None:
    checkpoint = Checkpoint("example.com/log", 0, EMPTY_ROOT)
    note = signer.sign(checkpoint.text())
    assert open_checkpoint(note, [signer.verifier]) == checkpoint
    stranger = Signer.generate("example.com/log")  # the same name, another key
    with pytest.raises(InvalidNote, match="none of the keys"):
        open_checkpoint(note, [stranger.verifier])
    with pytest.raises(InvalidNote, match=r"none of the keys that are trusted here \(nobody\)"):
        open_checkpoint(note, [])


def test_signatures_of_unknown_keys_are_ignored_wherever_they_stand(signer: Signer) -> None:
    text = Checkpoint("example.com/log", 0, EMPTY_ROOT).text()
    lines = [Signer.generate(f"witness{n}").sign(text).removeprefix(text + "\n") for n in range(16)]
    note = text + "\n" + lines[0] + signer.sign(text).removeprefix(text + "\n") + "".join(lines[1:])
    assert open_note(note, [signer.verifier]) == text


def test_one_wrong_signature_of_a_known_key_spoils_the_note(signer: Signer) -> None:
    text, other = "text\n", Signer.generate("other")
    wrong = other.sign("another text\n").removeprefix("another text\n\n")
    with pytest.raises(InvalidNote, match="signature of other is wrong"):
        open_note(signer.sign(text) + wrong, [signer.verifier, other.verifier])


@pytest.mark.parametrize(
    ("sizes", "size", "says"),
    [
        (range(3, 6), 2, "was not in use yet: it is believed for checkpoints over 3 to 5 records"),
        (range(3, 6), 6, "was retired: it is believed for checkpoints over 3 to 5 records"),
        (range(3, EVERY_SIZE.stop), 2, "was not in use yet: it is believed for checkpoints over 3 records and more"),
    ],
)
def test_a_key_is_believed_for_the_checkpoints_of_its_time_alone(sizes: range, size: int, says: str, signer: Signer) -> None:
    key = replace(signer.verifier, sizes=sizes)
    name, key_id, _ = key.vkey().split("+", 2)
    with pytest.raises(InvalidNote) as refused:
        open_checkpoint(signer.sign(Checkpoint("example.com/log", size, EMPTY_ROOT).text()), [key])
    assert str(refused.value) == f"{name}+{key_id} signed it, and {says}"
    for believed in (3, 5):
        checkpoint = Checkpoint("example.com/log", believed, EMPTY_ROOT)
        assert open_checkpoint(signer.sign(checkpoint.text()), [key]) == checkpoint


def test_the_text_ends_at_the_last_empty_line(signer: Signer) -> None:
    text = "one\n\ntwo\n"
    assert open_note(signer.sign(text), [signer.verifier]) == text


@pytest.mark.parametrize(
    "note",
    [
        "",
        "no signature\n",
        "text\n\n",
        "text\n\n— name",
        "text\n\n- name AAAAAAA=\n",
        "text\n\n— name\n",
        "text\n\n— na+me AAAAAAA=\n",
        "text\n\n—  AAAAAAA=\n",
        "text\n\n— name AAAA\n",
        "text\n\n— name AAAAA\n",
        "te\txt\n\n— name AAAAAAA=\n",
        "text\n\n" + "— name AAAAAAA=\n" * 101,
        "x" * 1_000_001,
    ],
)
def test_a_malformed_note_is_refused(note: str, signer: Signer) -> None:
    with pytest.raises(InvalidNote):
        open_note(note, [signer.verifier])


def test_keys_survive_being_written_and_name_their_hash(signer: Signer) -> None:
    again = Signer.parse(signer.skey() + "\n")
    assert again.verifier == signer.verifier == Verifier.parse(signer.verifier.vkey())
    assert again.sign("text\n") == signer.sign("text\n")
    assert signer.skey() not in repr(signer)


@pytest.mark.parametrize("spoil", [lambda k: k.replace("log+", "log2+"), lambda k: k[:-4], lambda k: "x" + k, lambda k: ""])
def test_a_spoiled_key_is_refused(spoil, signer: Signer) -> None:
    with pytest.raises(InvalidNote):
        Signer.parse(spoil(signer.skey()))
    with pytest.raises(InvalidNote):
        Verifier.parse(spoil(signer.verifier.vkey()).removeprefix("x")) if spoil(signer.verifier.vkey())[
            :1
        ] != "x" else Verifier.parse("")


def test_other_key_types_and_unusable_names_are_refused() -> None:
    with pytest.raises(InvalidNote, match="not one of signature type 0x01 with 32 bytes"):
        Verifier.parse("name+00000000+" + base64.b64encode(b"\x04" + b"k" * 32).decode())
    for name in ("", "with space", "with+plus", "with\u2003em space", "nul\x00"):
        with pytest.raises(InvalidNote, match="name"):
            Verifier(name, b"k" * 32)
    with pytest.raises(InvalidNote, match="32 bytes"):
        Verifier("name", b"k")


# --- what is said of what is wrong, and where exactly the bounds are -------------------------------------------------------

ONE = "example.com/one"
LINES = "a checkpoint is three or more lines, none of them empty"
SIZE = "a checkpoint's second line is the tree's size in decimal, without leading zeroes"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a\n1\n", LINES),
        (EXAMPLE.removesuffix("\n"), LINES),
        (EXAMPLE + "\n", LINES),
        (EXAMPLE.replace("20852163", "020852163"), SIZE),
        (EXAMPLE.replace("20852163", "1" * 20), SIZE),
        (EXAMPLE.replace("q2I=", "q2J="), "a checkpoint's root hash is not standard base64"),
        (EXAMPLE.replace("CsUYapGG", "CsUY"), "a checkpoint's root hash has 32 bytes, not 29"),
    ],
)
def test_a_checkpoint_is_refused_with_the_reason(text: str, says: str) -> None:
    with pytest.raises(InvalidNote) as caught:
        Checkpoint.parse(text)
    assert str(caught.value) == says


def test_sizes_have_up_to_nineteen_digits() -> None:
    for size in (0, 10**19 - 1):
        assert Checkpoint.parse(EXAMPLE.replace("20852163", str(size))).size == size


NOTE = "a note is a text, an empty line and signature lines"
LINE = "a signature line is an em dash, a key name and a signature"


@pytest.mark.parametrize(
    ("note", "says"),
    [
        ("x" * 1_000_001, "the note is longer than 1000000 characters"),
        ("te\txt\n\n— name AAAAAAA=\n", "the note holds a control character"),
        ("te\x1fxt\n\n— name AAAAAAA=\n", "the note holds a control character"),
        ("no signature\n", NOTE),
        ("text\n\n— name AAAAAAA=", NOTE),
        ("text\n\n" + "— name AAAAAAA=\n" * 101, "the note has more than 100 signatures"),
        ("text\n\n- name AAAAAAA=\n", LINE),
        ("text\n\n— name\n", LINE),
        ("text\n\n— na+me AAAAAAA=\n", "a key's name is not empty and has no space, plus or control character: 'na+me'"),
        ("text\n\n— name x AAAAAAA=\n", "the signature of name is not standard base64"),
        ("text\n\n— name AAAA!AAA=\n", "the signature of name is not standard base64"),
        ("text\n\n— name AAAAAA==\n", "the signature of name is too short"),
    ],
)
def test_a_note_is_refused_with_the_reason(note: str, says: str, signer: Signer) -> None:
    with pytest.raises(InvalidNote) as caught:
        open_note(note, [signer.verifier])
    assert str(caught.value) == says


def test_a_note_may_be_as_long_and_have_as_many_signatures_as_the_bounds_say(signer: Signer) -> None:
    signed = signer.sign("text\n")
    assert open_note(signed + "— name AAAAAAA=\n" * 99, [signer.verifier]) == "text\n"
    text = "x" * (1_000_000 - len(signer.sign("\n"))) + "\n"
    assert len(signer.sign(text)) == 1_000_000
    assert open_note(signer.sign(text), [signer.verifier]) == text


def test_signatures_are_taken_apart_as_they_stand() -> None:
    text, (one, two) = signatures_of("text\n\n— a AAECAwQ=\n— b BAUGBwgJ\n")
    assert text == "text\n"
    assert (one.line, one.name, one.key_id, one.value) == ("— a AAECAwQ=\n", "a", bytes([0, 1, 2, 3]), bytes([4]))
    assert (two.line, two.name, two.key_id, two.value) == ("— b BAUGBwgJ\n", "b", bytes([4, 5, 6, 7]), bytes([8, 9]))


def test_who_is_trusted_is_named_where_nobody_of_them_signed(signer: Signer) -> None:
    trusted = [Signer.generate(name).verifier for name in ("b", "a", "b")]
    with pytest.raises(InvalidNote, match=r"^the note is signed by none of the keys that are trusted here \(a, b\)$"):
        open_note(signer.sign("text\n"), trusted)


def test_a_key_that_is_not_what_it_says_is_named() -> None:
    one, other = Signer(ONE, b"1" * 32), Signer(ONE, b"2" * 32)
    swapped = one.verifier.vkey().replace(one.verifier.key_id.hex(), other.verifier.key_id.hex())
    with pytest.raises(InvalidNote, match=rf"^the verifier key of {ONE} does not have the hash {other.verifier.key_id.hex()}$"):
        Verifier.parse(swapped)
    private = one.skey().replace(one.verifier.key_id.hex(), other.verifier.key_id.hex())
    with pytest.raises(InvalidNote, match=rf"^the signing key of {ONE} does not have the hash {other.verifier.key_id.hex()}$"):
        Signer.parse(private)
    with pytest.raises(InvalidNote, match=r"^a signing key starts with PRIVATE\+KEY\+$"):
        Signer.parse(one.verifier.vkey())
    with pytest.raises(InvalidNote, match=r"^the key of 'name' is not standard base64$"):
        Verifier.parse("name+00000000+!")


P = 2**255 - 19
SMALL = [0, 1, P - 1, P, P + 1, 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7]
"""y of points whose order is at most 8, two of them written beyond p."""


@pytest.mark.parametrize("y", [*SMALL, P - SMALL[-1]])
@pytest.mark.parametrize("sign", [0, 1])
def test_keys_that_anybody_could_sign_with_are_refused(y: int, sign: int) -> None:
    with pytest.raises(InvalidNote, match=r"^the key of bank/log is a point of small order: anybody could sign with it$"):
        Verifier("bank/log", (y | sign << 255).to_bytes(32, "little"))


def test_a_key_has_32_bytes_and_the_error_says_so() -> None:
    with pytest.raises(InvalidNote, match=r"^an Ed25519 key has 32 bytes, not 31$"):
        Verifier("bank/log", b"k" * 31)
