"""Whom to believe: the trust policy of C2SP tlog-policy. Pure.

    log <vkey> [<url>]
    witness <name> <vkey> [<url>]
    group <name> all|any|<k> <name>...
    quorum <name>|none

A checkpoint is valid if one of the logs signed it and witnesses cosigned it as the quorum says. Log keys are of the signature
type 0x01 and witness keys of 0x04; a key of another type is an error and not a key that nobody will ever use.
"""

import re
from collections.abc import Callable, Set
from dataclasses import dataclass, field

from mcpgw.core.errors import ConfigError
from mcpgw.core.toml import suggestion
from mcpgw.ledger.checkpoint import Checkpoint, InvalidNote, Verifier, open_checkpoint, signatures_of, verified
from mcpgw.ledger.cosignature import CosignatureVerifier

MAX_POLICY_BYTES = 1_000_000
NONE = "none"
_BLANK = re.compile("[ \t]+")
_FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f]")
_NUMBER = re.compile("[1-9][0-9]{0,8}")


@dataclass(frozen=True, slots=True)
class TrustedLog:
    verifier: Verifier
    url: str = ""


@dataclass(frozen=True, slots=True)
class TrustedWitness:
    name: str
    """Its name in the policy, which need not be that of its key."""
    verifier: CosignatureVerifier
    url: str = ""
    """Its submission prefix (C2SP tlog-witness), where it is to be asked."""


@dataclass(frozen=True, slots=True)
class Group:
    name: str
    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TrustPolicy:
    """Valid by construction if `parse_policy` made it."""

    logs: tuple[TrustedLog, ...]
    witnesses: tuple[TrustedWitness, ...]
    groups: tuple[Group, ...]
    """Each stands behind the groups that it names."""
    quorum: str

    def is_reached_by(self, cosigners: Set[str]) -> bool:
        """Tell whether cosignatures of the witnesses of these names make a quorum."""
        reached = {NONE, *cosigners}
        for group in self.groups:
            if len(reached.intersection(group.members)) >= group.threshold:
                reached.add(group.name)
        return self.quorum in reached

    def open(self, note: str) -> tuple[Checkpoint, frozenset[str]]:
        """Return a valid checkpoint and the names of the witnesses that cosigned it.

        Raises:
            InvalidNote: no log of the policy signed it, a known signature is wrong, or the quorum is not reached.
        """
        checkpoint = open_checkpoint(note, [log.verifier for log in self.logs])
        text, signatures = signatures_of(note)
        ours = {(witness.verifier.name, witness.verifier.key_id): witness.name for witness in self.witnesses}
        right = verified(text, signatures, [witness.verifier for witness in self.witnesses])
        cosigners = frozenset(ours[signature.name, signature.key_id] for signature in right)
        if not self.is_reached_by(cosigners):
            who = ", ".join(sorted(cosigners)) or "nobody"
            raise InvalidNote(f"the quorum {self.quorum} is not reached: the checkpoint was cosigned by {who}")
        return checkpoint, cosigners


def single(name: str, verifier: CosignatureVerifier, url: str) -> TrustPolicy:
    """Return the policy that asks for the cosignature of one witness."""
    return TrustPolicy(logs=(), witnesses=(TrustedWitness(name, verifier, url),), groups=(), quorum=name)


def parse_policy(content: bytes, file: str) -> TrustPolicy:
    """Read a policy file.

    Raises:
        ConfigError: it breaks the format; the place is `file:line`.
    """
    if len(content) > MAX_POLICY_BYTES:
        raise ConfigError(f"a policy has at most {MAX_POLICY_BYTES} bytes", where=file)
    draft = _Draft()
    for number, line in enumerate(content.decode("utf-8", "surrogateescape").split("\n"), start=1):
        try:
            draft.read(line)
        except (InvalidNote, _Wrong) as error:
            raise ConfigError(str(error), where=f"{file}:{number}") from error
    if not draft.quorum:
        raise ConfigError("there is no quorum", where=file, hint="End it with `quorum NAME`, or with `quorum none`.")
    return TrustPolicy(tuple(draft.logs), tuple(draft.witnesses), tuple(draft.groups), draft.quorum)


class _Wrong(ValueError):
    """A line is not what the format says."""


@dataclass(slots=True)
class _Draft:
    """A policy while its lines are read."""

    logs: list[TrustedLog] = field(default_factory=list)
    witnesses: list[TrustedWitness] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    quorum: str = ""
    free: set[str] = field(default_factory=set)
    """Names that no group has as a member yet: each may be one once, so that nobody counts twice."""

    def read(self, line: str) -> None:
        if _FORBIDDEN.search(line):
            raise _Wrong("a policy holds no control characters but tabs and newlines (are these line ends of Windows?)")
        words = [word for word in _BLANK.split(line) if word]
        if not words or words[0].startswith("#"):
            return
        readers: dict[str, Callable[[list[str]], None]] = {
            "log": self._log,
            "witness": self._witness,
            "group": self._group,
            "quorum": self._quorum,
        }
        if words[0] not in readers:
            raise _Wrong(f"unknown word `{words[0]}`. {suggestion(words[0], readers)}")
        readers[words[0]](words[1:])

    def _log(self, words: list[str]) -> None:
        _require(1 <= len(words) <= 2, "a log is `log VKEY [URL]`")
        log = TrustedLog(Verifier.parse(words[0]), *words[1:])
        _require(log.verifier.key not in {other.verifier.key for other in self.logs}, "this log's key was given before")
        self.logs.append(log)

    def _witness(self, words: list[str]) -> None:
        _require(2 <= len(words) <= 3, "a witness is `witness NAME VKEY [URL]`")
        witness = TrustedWitness(words[0], CosignatureVerifier.parse(words[1]), *words[2:])
        keys = {other.verifier.key for other in self.witnesses}
        _require(witness.verifier.key not in keys, "this witness's key was given before")
        self._name(witness.name)
        self.witnesses.append(witness)

    def _group(self, words: list[str]) -> None:
        _require(len(words) >= 3, "a group is `group NAME all|any|K NAME...`")
        name, how, *members = words
        for member in members:
            _require(self._is_defined(member), f"`{member}` is not defined on a line above")
            _require(member in self.free, f"`{member}` is a member of a group already")
            self.free.remove(member)
        count = {"all": len(members), "any": 1}.get(how) or (int(how) if _NUMBER.fullmatch(how) else 0)
        _require(1 <= count <= len(members), f"`{how}` is neither all nor any nor a number from 1 to {len(members)}")
        self._name(name)
        self.groups.append(Group(name, count, tuple(members)))

    def _quorum(self, words: list[str]) -> None:
        _require(len(words) == 1, "a quorum is `quorum NAME` or `quorum none`")
        _require(not self.quorum, "there is a quorum already")
        _require(words[0] == NONE or self._is_defined(words[0]), f"`{words[0]}` is not defined on a line above")
        self.quorum = words[0]

    def _name(self, name: str) -> None:
        _require(name != NONE, "`none` names nothing but the empty quorum")
        _require(not self._is_defined(name), f"there is a `{name}` already")
        self.free.add(name)

    def _is_defined(self, name: str) -> bool:
        return name in {*(one.name for one in self.witnesses), *(one.name for one in self.groups)}


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise _Wrong(message)
