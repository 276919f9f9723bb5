"""Trust policies: which checkpoints are valid, and what is wrong with a file, by line."""

import pytest
from ledger_parts import ORIGIN

from mcpgw.core.errors import ConfigError
from mcpgw.ledger.checkpoint import Checkpoint, InvalidNote, Signer
from mcpgw.ledger.cosignature import Cosigner
from mcpgw.ledger.trust import MAX_POLICY_BYTES, parse_policy, single

LOG = Signer(ORIGIN, b"l" * 32)
NAMES = ("X1", "X2", "X3", "Y1", "Y2", "Y3")
KEYS = {name: Cosigner(f"{name}.example", name.encode() * 16) for name in NAMES}
WITNESSES = "\n".join(f"witness {name} {KEYS[name].verifier.vkey()}" for name in NAMES)
POLICY = f"""
 # two organizations, as in the example of the specification
log\t {LOG.verifier.vkey()} https://log.example/
{WITNESSES}
group X-witnesses 2 X1 X2 X3
group Y-witnesses any Y1 Y2 Y3
group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
"""


def lines(*texts: str) -> bytes:
    return "\n".join(texts).encode()


def note(*cosigners: str, signer: Signer = LOG) -> str:
    text = Checkpoint(ORIGIN, 7, b"r" * 32).text()
    return signer.sign(text) + "".join(KEYS[name].cosign(text, 5) for name in cosigners)


@pytest.mark.parametrize(
    ("cosigners", "enough"),
    [("X1 X2 Y1", True), ("X1 X3 Y2 Y3", True), ("X1 X2 X3", False), ("X1 Y1 Y2 Y3", False), ("", False)],
)
def test_the_quorum_of_the_specifications_example(cosigners: str, enough: bool) -> None:
    policy = parse_policy(POLICY.encode(), "p")
    assert policy.is_reached_by(set(cosigners.split())) is enough
    if enough:
        assert policy.open(note(*cosigners.split())) == (Checkpoint(ORIGIN, 7, b"r" * 32), frozenset(cosigners.split()))
    else:
        with pytest.raises(InvalidNote, match="the quorum X-and-Y is not reached"):
            policy.open(note(*cosigners.split()))


def test_a_checkpoint_needs_a_log_of_the_policy_and_no_wrong_cosignature() -> None:
    policy = parse_policy(POLICY.encode(), "p")
    with pytest.raises(InvalidNote, match="signed by none"):
        policy.open(note("X1", "X2", "Y1", signer=Signer(ORIGIN, b"o" * 32)))
    wrong = note("X1", "X2", "Y1") + KEYS["X3"].cosign("another text\n", 5)
    with pytest.raises(InvalidNote, match=r"X3\.example is wrong"):
        policy.open(wrong)


def test_a_policy_may_ask_for_no_cosignature_and_for_that_of_one_witness() -> None:
    nobody = parse_policy(lines(f"log {LOG.verifier.vkey()}", "quorum none"), "p")
    assert nobody.open(note())[1] == frozenset()
    one = single("Y1", KEYS["Y1"].verifier, "https://y1.example")
    assert one.is_reached_by({"Y1"}) and not one.is_reached_by({"X1"})
    assert parse_policy(lines(WITNESSES, "quorum X2"), "p").is_reached_by({"X2"})


def test_names_are_octets_whatever_they_are() -> None:
    policy = parse_policy(
        b"witness \xff\xe2\x84\xaa " + KEYS["X1"].verifier.vkey().encode() + b"\nquorum \xff\xe2\x84\xaa\n", "p"
    )
    assert not policy.is_reached_by({"K"})
    assert policy.is_reached_by({policy.witnesses[0].name})


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("logs x\nquorum none", 1, "unknown word `logs`. Did you mean `log`?"),
        ("log", 1, "a log is"),
        ("log nonsense", 1, "base64"),
        (f"log {KEYS['X1'].verifier.vkey()}", 1, "0x01"),
        (f"log {LOG.verifier.vkey()}\n\nlog {LOG.verifier.vkey()}", 3, "given before"),
        ("witness A", 1, "a witness is"),
        (f"witness A {LOG.verifier.vkey()}", 1, "0x04"),
        (f"witness none {KEYS['X1'].verifier.vkey()}", 1, "`none` names nothing"),
        (f"{WITNESSES}\nwitness X1 {Cosigner('z', b'z' * 32).verifier.vkey()}", 7, "there is a `X1` already"),
        (f"{WITNESSES}\nwitness Z {Cosigner('z', b'X1' * 16).verifier.vkey()}", 7, "given before"),
        (f"{WITNESSES}\ngroup G all", 7, "a group is"),
        (f"{WITNESSES}\ngroup G all X1 Q1", 7, "`Q1` is not defined on a line above"),
        (f"{WITNESSES}\ngroup G all none", 7, "`none` is not defined"),
        (f"{WITNESSES}\ngroup G any X1\ngroup H any X1", 8, "`X1` is a member of a group already"),
        (f"{WITNESSES}\ngroup G any X1 X1", 7, "`X1` is a member of a group already"),
        (f"{WITNESSES}\ngroup G 3 X1 X2", 7, "a number from 1 to 2"),
        (f"{WITNESSES}\ngroup G 0 X1 X2", 7, "a number from 1 to 2"),
        (f"{WITNESSES}\ngroup G 02 X1 X2", 7, "a number from 1 to 2"),
        (f"{WITNESSES}\ngroup X1 1 X2", 7, "there is a `X1` already"),
        ("quorum", 1, "a quorum is"),
        ("quorum none\nquorum none", 2, "there is a quorum already"),
        (f"quorum X1\n{WITNESSES}", 1, "not defined on a line above"),
        ("quorum none\r\n", 1, "line ends of Windows"),
        ("# a comment\n\nquorum none\x7f", 3, "control characters"),
    ],
)
def test_what_is_wrong_is_told_by_line(text: str, line: int, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_policy(text.encode(), "trust.policy")
    assert str(caught.value).startswith(f"trust.policy:{line}: ") and message in str(caught.value)


def test_a_policy_without_a_quorum_or_without_an_end_is_refused() -> None:
    with pytest.raises(ConfigError, match="trust: there is no quorum"):
        parse_policy(b"# nothing\n", "trust")
    with pytest.raises(ConfigError, match="at most"):
        parse_policy(b"#" * (MAX_POLICY_BYTES + 1), "trust")
