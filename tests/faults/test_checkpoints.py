"""The judge of checkpoints is judged: each contradiction, planted into what observers saw of a sound log, is found."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from mcpgw.core.canonical import canonical
from mcpgw.ledger.checkpoint import Checkpoint, Signer
from mcpgw.ledger.tree import leaf_hash, root_of
from tests.faults.checkpoints import Row, Seen, contradictions

SIGNER = Signer.generate("log.example/a")


def row(seq: int, event: str = "", leaf_seq: int | None = None) -> Row:
    members = {"seq": seq if leaf_seq is None else leaf_seq, "id": event or f"e{seq}"}
    return Row(seq, str(members["id"]), canonical(members))


def note(rows: Sequence[Row], signer: Signer = SIGNER, name: str = SIGNER.verifier.name) -> str:
    return signer.sign(Checkpoint(name, len(rows), root_of([leaf_hash(row.leaf) for row in rows])).text())


ROWS = [row(seq) for seq in range(21)]
NOTES = [note(ROWS[:size]) for size in range(22)]
SOUND = Seen(vkey=SIGNER.verifier.vkey(), rows=ROWS, observed={"one": NOTES, "two": NOTES[3:9]})
FORK = [*ROWS[:10], row(10, "another"), *ROWS[11:]]


def saw(*notes: str) -> Seen:
    return replace(SOUND, observed={**SOUND.observed, "three": notes})


PLANTED: dict[str, tuple[Seen, str]] = {
    "the log went back": (saw(NOTES[9], NOTES[8]), "three saw the log go back from 9 to 8"),
    "two roots of one size": (saw(note(FORK[:15])), "two checkpoints over 15 records have different roots"),
    "a root of another log alone": (
        replace(SOUND, observed={"one": [note(FORK[:15])]}),
        "the checkpoint over 15 records is of another log",
    ),
    "a checkpoint of the log before a rewriting": (replace(SOUND, rows=FORK), "is of another log"),
    "more than there is": (replace(SOUND, rows=ROWS[:-1]), "a checkpoint over 21 records was seen; the log has 20"),
    "another key": (saw(note(ROWS, Signer.generate(SIGNER.verifier.name))), "did not sign"),
    "another log's name": (saw(note(ROWS, name="log.example/b")), "did not sign"),
    "an altered text": (saw(NOTES[9].replace("\n9\n", "\n8\n")), "did not sign"),
    "a gap": (replace(SOUND, rows=[*ROWS[:5], *ROWS[6:]]), "record 5 of the table has the number 6"),
    "a record twice": (replace(SOUND, rows=[*ROWS[:6], *ROWS[5:]]), "record 6 of the table has the number 5"),
    "a leaf out of its place": (replace(SOUND, rows=[*ROWS[:5], row(5, leaf_seq=4), *ROWS[6:]]), "and its leaf 4"),
    "an event twice": (replace(SOUND, rows=[*ROWS[:5], row(5, "e4"), *ROWS[6:]]), "event e4: 2 records"),
    "another id": (replace(SOUND, rows=[replace(ROWS[0], event_id="x"), *ROWS[1:]]), "another id"),
}


def test_what_was_seen_of_a_sound_log_passes() -> None:
    assert contradictions(SOUND) == []
    assert SOUND.distinct == 22


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_contradiction_is_found(planted: str) -> None:
    seen, complaint = PLANTED[planted]
    assert any(complaint in problem for problem in contradictions(seen)), contradictions(seen)
