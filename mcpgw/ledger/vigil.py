"""Verifying again and again what is new, and remembering what was believed: so nobody can take it back meanwhile."""

from collections.abc import Sequence

from mcpgw.ledger.checkpoint import Checkpoint, Verifier
from mcpgw.ledger.store import Database, Reading
from mcpgw.ledger.verify import Progress, Report, Verification

_MOST = 1024
"""Checkpoints remembered: enough to tell in which part of the vigil a log was rewritten."""


class Vigil:
    def __init__(self, verifiers: Sequence[Verifier], against: Sequence[Checkpoint] = ()) -> None:
        """`verifiers` may change, as `keys.PublicKeys` do. Raises: ValueError: no verifiers."""
        self._verifiers = verifiers
        self._believed = tuple(verifiers)
        self._against = against
        self._remembered: list[Checkpoint] = []
        self._verification = Verification(verifiers, against=against)

    def look(self, store: Reading, progress: Progress = lambda done, total: None, database: Database | None = None) -> Report:
        """Verify what is new, and that the log still continues what was believed before.

        If it does not, or if the log's key was rotated, all of it is verified against everything that is remembered, so that
        the report says since where. Give a store that was opened anew: an open file is seen even after another one took its
        name.

        Raises:
            LedgerUnavailable: the store cannot be read at all.
        """
        with store.snapshot():
            believed = tuple(self._verifiers)
            if believed != self._believed or not self._goes_on(store):
                self._believed = believed
                self._verification = Verification(believed, against=[*self._against, *self._remembered])
            self._verification.go_on(store, progress, database)
        report = self._verification.report()
        self._remember()
        return report

    def _goes_on(self, store: Reading) -> bool:
        sealed = self._verification.sealed
        found = [(stored.size, stored.frontier) for stored in store.checkpoint_at_most(sealed.size)]
        return sealed.size == 0 or (found == [(sealed.size, sealed.to_bytes())] and store.size() >= sealed.size)

    def _remember(self) -> None:
        sealed = self._verification.sealed
        if sealed.size > (self._remembered[-1].size if self._remembered else 0):
            self._remembered.append(Checkpoint(self._verifiers[0].name, sealed.size, sealed.root()))
        if len(self._remembered) > _MOST:
            del self._remembered[: _MOST // 2 : 2]  # the older half at half the density
