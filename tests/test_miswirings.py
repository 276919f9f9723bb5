"""Planted mistakes of wiring, and the proof that the type checker rejects each one."""

import subprocess
import sys
from pathlib import Path

import pytest

PRELUDE = """
from collections.abc import Awaitable, Callable
from mcpgw.core.model import *
from mcpgw.ports import Interview, Journal, OnNotice, Peer, Redactor, Upstreams

async def relay(notice: RawNotice) -> None: ...

"""

RIGHT = """
async def right(
    call: Call, allow: Allow, journal: Journal, upstreams: Upstreams, redactor: Redactor, interview: Interview
) -> CleanReply:
    shown = await redactor.show(call)
    intent = await journal.append(Intent(shown=shown, allow=allow))
    raw = await upstreams.send(Permit(intent), relay, interview)
    clean = await redactor.clean(call, raw)
    await journal.append(Outcome(intent=intent, result=clean))
    return clean
"""

WRONG: dict[str, tuple[str, str]] = {
    "the upstream is called without a permit": (
        """
async def wrong(call: Call, upstreams: Upstreams, interview: Interview) -> RawReply:
    return await upstreams.send(call, relay, interview)
""",
        '"send" of "Upstreams" has incompatible type "Call"; expected "Permit"',
    ),
    "a permit is made from an intent that is not durable": (
        """
def wrong(shown: ShownCall, allow: Allow) -> Permit:
    return Permit(Intent(shown=shown, allow=allow))
""",
        'has incompatible type "Intent"; expected "Sealed[Intent]"',
    ),
    "a held call is treated as allowed": (
        """
def wrong(shown: ShownCall, hold: Hold) -> Intent:
    return Intent(shown=shown, allow=hold)
""",
        'has incompatible type "Hold"; expected "Allow"',
    ),
    "raw arguments reach the ledger": (
        """
def wrong(call: Call, allow: Allow) -> Intent:
    return Intent(shown=call, allow=allow)
""",
        'has incompatible type "Call"; expected "ShownCall"',
    ),
    "a raw reply reaches the ledger": (
        """
def wrong(intent: Sealed[Intent], raw: RawReply) -> Outcome:
    return Outcome(intent=intent, result=raw)
""",
        'has incompatible type "RawReply"; expected "CleanReply | Failed"',
    ),
    "a raw reply reaches the client": (
        """
def wrong(raw: RawReply, sealed: Sealed[Outcome]) -> Answer:
    return Completed(reply=raw, sealed=sealed)
""",
        'has incompatible type "RawReply"; expected "CleanReply"',
    ),
    "a reply leaves before its outcome is durable": (
        """
def wrong(clean: CleanReply, outcome: Outcome) -> Answer:
    return Completed(reply=clean, sealed=outcome)
""",
        'has incompatible type "Outcome"; expected "Sealed[Outcome] | Sealed[Replay]"',
    ),
    "a raw payload is passed off as clean": (
        """
def wrong(raw: RawReply, commitment: Commitment, manifest: Manifest) -> CleanReply:
    return CleanReply(kind=raw.kind, payload=raw.payload, raw=commitment, manifest=manifest)
""",
        'has incompatible type "RawJson"; expected "CleanJson"',
    ),
    "a raw notification reaches the client": (
        """
async def wrong(peer: Peer, notice: RawNotice) -> None:
    await peer.notify(notice)
""",
        'has incompatible type "RawNotice"; expected "CleanNotice"',
    ),
}


def type_check(folder: Path, sources: dict[str, str]) -> str:
    for name, source in sources.items():
        (folder / f"{name}.py").write_text(PRELUDE + source)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--hide-error-context", "--no-pretty"]
    done = subprocess.run([*command, *sorted(str(path) for path in folder.glob("*.py"))], capture_output=True, text=True)
    assert done.stderr == ""
    return done.stdout


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("miswired")
    sources = {f"wrong_{number}": source for number, (source, _) in enumerate(WRONG.values())}
    return type_check(folder, {"right": RIGHT, **sources})


def test_the_right_wiring_is_accepted(findings: str) -> None:
    assert "right.py" not in findings


@pytest.mark.parametrize("mistake", WRONG)
def test_the_type_checker_rejects(mistake: str, findings: str) -> None:
    number = list(WRONG).index(mistake)
    lines = [line for line in findings.splitlines() if f"wrong_{number}.py" in line and ": error:" in line]
    assert len(lines) == 1, lines
    assert WRONG[mistake][1] in lines[0]
