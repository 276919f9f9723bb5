"""Witnesses (C2SP tlog-witness): each is sent the checkpoint with a proof from the size that it knows, and cosigns it.

A trust policy says how many must. Their cosignatures stand in the `checkpoint.anchored` record, so that the checkpoint with all
its signatures can be shown later to whoever trusts those witnesses.
"""

import re
import ssl
from collections.abc import Mapping, Sequence
from http import HTTPStatus

import anyio

from mcpgw.core.errors import ConfigError
from mcpgw.core.model import JsonObject
from mcpgw.ledger.anchors.anchor import AnchorFailed, Head, Overtaken, Proofs
from mcpgw.ledger.anchors.http import post
from mcpgw.ledger.checkpoint import InvalidNote, Verifier, signatures_of, verified
from mcpgw.ledger.kept_elsewhere import require_https
from mcpgw.ledger.trust import TrustedWitness, TrustPolicy
from mcpgw.ledger.witness.judge import Submission

_TRIES = 4
"""With one witness: the first may be at a size that it no longer has, and others may submit meanwhile."""
_SIZE = re.compile(rb"(0|[1-9][0-9]{0,18})\n")
_MEANINGS: Mapping[int, str] = {
    HTTPStatus.FORBIDDEN: "it does not accept the log's signature: does it know this log's present key?",
    HTTPStatus.NOT_FOUND: "it does not know this log: give its operator keys/ledger.pub",
    HTTPStatus.UNPROCESSABLE_ENTITY: "the log does not continue what it has seen: the log was rewritten, or forked",
}


class WitnessAnchor:
    kind = "witness"

    def __init__(self, name: str, policy: TrustPolicy, log: Sequence[Verifier], context: ssl.SSLContext) -> None:
        """Raises: ConfigError: the policy is not for this log, or its quorum is no quorum of witnesses that can be asked."""
        where = f"anchor.to.{name}.policy"
        if policy.logs and not {one.verifier.vkey() for one in policy.logs} & {one.vkey() for one in log}:
            raise ConfigError("the policy lists other logs than this one", where=where, hint="Add a line `log VKEY`.")
        self._asked = [witness for witness in policy.witnesses if witness.url]
        if policy.is_reached_by(frozenset()) or not policy.is_reached_by({witness.name for witness in self._asked}):
            hint = "Name a quorum of witnesses that have a URL."
            raise ConfigError("the witnesses to be asked can never make its quorum, or nobody must", where=where, hint=hint)
        for witness in self._asked:
            require_https(witness.url, f"anchor.to.{name}.url")
        self.name = name
        self.where = " ".join(witness.url for witness in self._asked)
        self._policy = policy
        self._context = context
        self._known = {witness.name: 0 for witness in self._asked}
        """Size of what each is known to have cosigned; a guess, which the witness corrects."""

    async def accept(self, head: Head, proofs: Proofs) -> JsonObject:
        lines: dict[str, str] = {}
        failures: dict[str, AnchorFailed] = {}

        async def ask(witness: TrustedWitness) -> None:
            try:
                lines[witness.name] = await self._cosigned(witness, head, proofs)
            except AnchorFailed as error:
                failures[witness.name] = error

        async with anyio.create_task_group() as tasks:
            for witness in self._asked:
                tasks.start_soon(ask, witness)
        if not self._policy.is_reached_by(lines.keys()):
            for failure in failures.values():
                if isinstance(failure, Overtaken):
                    raise failure
            told = "; ".join(f"{name}: {error}" for name, error in sorted(failures.items()))
            raise AnchorFailed(f"the quorum {self._policy.quorum} did not cosign ({told})")
        return {"cosigned": sorted(lines), "missing": sorted(failures), "cosignatures": [lines[name] for name in sorted(lines)]}

    async def _cosigned(self, witness: TrustedWitness, head: Head, proofs: Proofs) -> str:
        """Return the witness's cosignature, as a line."""
        for _ in range(_TRIES):
            old = min(self._known[witness.name], head.checkpoint.size)
            proof = tuple(await proofs(old, head.checkpoint.size))
            body = Submission(old, proof, head.note).encode()
            answer = await post(f"{witness.url.rstrip('/')}/add-checkpoint", body, {}, self._context)
            if answer.status == HTTPStatus.OK:
                line = _believed(witness, head, answer.body)
                self._known[witness.name] = head.checkpoint.size
                return line
            if answer.status != HTTPStatus.CONFLICT:
                raise AnchorFailed(_MEANINGS.get(answer.status, f"it answered {answer.status}"))
            if not (size := _SIZE.fullmatch(answer.body)):
                raise AnchorFailed("it answered 409 without the size that it knows")
            self._known[witness.name] = int(size[1])
            if int(size[1]) > head.checkpoint.size:
                raise Overtaken(int(size[1]), head.checkpoint.size)
        raise AnchorFailed("it knew another size at every try")


def _believed(witness: TrustedWitness, head: Head, body: bytes) -> str:
    """Return the line of the answer that the witness signed; the others are nobody's that we know."""
    text = head.checkpoint.text()
    try:
        _, signatures = signatures_of(f"{text}\n{body.decode('utf-8')}")
        for signature in verified(text, signatures, [witness.verifier]):
            return signature.line.rstrip("\n")
    except (InvalidNote, UnicodeDecodeError) as error:
        raise AnchorFailed("its answer is no cosignature of this checkpoint") from error
    raise AnchorFailed("its answer is not signed by the key that is known of it")
