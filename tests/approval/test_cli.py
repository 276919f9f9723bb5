"""`mcpgw approvals` in a real folder: real keys, the real ledger, the person at the keyboard."""

import io
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import anyio
import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from mcpgw.app import convert
from mcpgw.approval import NotEntitled
from mcpgw.approval.standing import weigh
from mcpgw.cli.approvals import approvals, as_table, span
from mcpgw.cli.common import open_folder, open_gateway_store, record_changes
from mcpgw.cli.init import initialise, make_keys
from mcpgw.core.errors import ApprovalConflict, AuthenticationError, GatewayError
from mcpgw.core.model import (
    Allow,
    Hold,
    Identity,
    IdentityKind,
    Intent,
    Patience,
    Waiting,
)
from mcpgw.core.terms import BreakGlass, Seats
from mcpgw.identity.administration import create_key
from mcpgw.identity.api_keys import ApiKeys
from mcpgw.identity.key_record import new_key
from mcpgw.ports import Approval, ApprovalState
from tests.approval.world import ALICE, ARGUMENTS, HOLD, LEADS, Witness, World, asking, needing, person

GROUP = "payments-leads"
NOW = Patience(budget_s=0.0)
THROUGH_AN_AGENT = replace(ALICE, actors=("agent-7",))


@dataclass
class Folder:
    """A working folder, the keys of its people, and one held call."""

    path: Path
    keys: dict[str, str]
    approval_id: str = ""

    def run(self, *words: str, by: str = "bob", answer: str = "") -> Result:
        env = {"MCPGW_API_KEY": self.keys[by], "COLUMNS": "200"}
        return CliRunner().invoke(approvals, [*words, "-C", str(self.path)], env=env, input=answer)

    def approval(self) -> Approval:
        async def read() -> Approval:
            async with open_gateway_store(self.path) as store:
                return (await store.ledger.approval(self.approval_id))[0]

        return anyio.run(read)

    def hold(self, arguments: dict[str, object], hold: Hold = HOLD, by: Identity = THROUGH_AN_AGENT) -> None:
        async def settle() -> None:
            async with open_gateway_store(self.path) as store:
                shown = World().call(by, arguments=arguments)
                answer = await store.desk.settle(shown, hold, NOW, Witness())
                assert isinstance(answer, Waiting)
                self.approval_id = answer.approval_id

        anyio.run(settle)

    def crash_in_the_middle(self) -> None:
        """Spend the approval of what the fixture held, in a process that ends before there is an outcome."""

        async def spend() -> None:
            async with open_gateway_store(self.path) as store:
                shown = World().call(THROUGH_AN_AGENT, arguments=dict(ARGUMENTS))
                allow = await store.desk.settle(shown, HOLD, NOW, Witness())
                assert isinstance(allow, Allow)
                await store.ledger.append(Intent(shown=shown, allow=allow))

        anyio.run(spend)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    initialise(tmp_path, [], origin="bank.example/mcpgw", force=False, make_keys=make_keys, create_api_key=lambda _: "")
    settings = open_folder(tmp_path)
    store = ApiKeys(settings.keys_dir / convert.API_KEYS)
    keys = {}
    people = [
        ("bob", IdentityKind.HUMAN, GROUP),
        ("carol", IdentityKind.HUMAN, GROUP),
        ("audra", IdentityKind.HUMAN, "audit"),
        ("mallory", IdentityKind.HUMAN, "marketing"),
        ("bot", IdentityKind.AGENT, GROUP),
    ]
    for subject, kind, group in [*people, ("alice", IdentityKind.HUMAN, GROUP)]:
        made = new_key(subject=subject, kind=kind, groups=(group,), expires=0, now=int(time.time()))
        create_key(store, made, partial(record_changes, settings), actor="os:test")
        keys[subject] = made.text
    folder = Folder(tmp_path, keys)
    folder.hold(dict(ARGUMENTS))
    return folder


def test_an_approver_sees_the_list_looks_and_approves(folder: Folder) -> None:
    listed = folder.run("list")
    assert listed.exit_code == 0
    assert folder.approval_id in listed.stdout
    assert "bank__transfer" in listed.stdout
    assert "big-transfer" in listed.stdout
    assert "in 59m" in listed.stdout

    approved = folder.run("approve", folder.approval_id, "-m", "rang the customer", answer="y\n")
    assert approved.exit_code == 0, approved.output
    assert '"to": "DE89 3704 0044 0532 0130 00"' in approved.stdout
    assert "through agent-7" in approved.stdout
    assert "it is approved, 1 of 1 approved." in approved.stdout
    approval = folder.approval()
    assert approval.state is ApprovalState.APPROVED
    assert [(vote.verdict, vote.comment) for vote in approval.votes] == [("approve", "rang the customer")]


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_nothing_is_approved_without_a_yes(folder: Folder, answer: str) -> None:
    assert folder.run("approve", folder.approval_id, answer=answer).exit_code == 1
    assert folder.approval().votes == ()


def test_with_yes_nobody_is_asked_and_the_arguments_are_printed_all_the_same(folder: Folder) -> None:
    done = folder.run("approve", folder.approval_id, "--yes")
    assert done.exit_code == 0
    assert '"amount": 12500' in done.stdout
    assert folder.approval().state is ApprovalState.APPROVED


def test_a_denial_needs_no_look(folder: Folder) -> None:
    done = folder.run("deny", folder.approval_id, "--comment", "wrong account")
    assert done.exit_code == 0
    assert "it is denied" in done.stdout
    assert "DE89" not in done.stdout
    assert folder.run("list").stdout.strip().startswith("id")
    assert folder.approval_id not in folder.run("list").stdout
    shown = folder.run("show", folder.approval_id).stdout
    assert "the exact ones are erased" in shown
    assert "deny (wrong account)" in shown
    assert folder.approval_id in folder.run("list", "--all").stdout


@pytest.mark.parametrize(("who", "error"), [("alice", NotEntitled), ("mallory", NotEntitled), ("bot", AuthenticationError)])
@pytest.mark.parametrize("verb", ["approve", "deny"])
def test_the_cli_is_no_side_door(folder: Folder, who: str, error: type[Exception], verb: str) -> None:
    """Alice asked for the call; her key is of another issuer than her login was, which does not make her another person."""
    done = folder.run(verb, folder.approval_id, *(["--yes"] if verb == "approve" else []), by=who)
    assert isinstance(done.exception, error)
    assert folder.approval().votes == ()


def test_a_stranger_sees_nothing(folder: Folder) -> None:
    assert folder.approval_id not in folder.run("list", "--all", by="mallory").stdout
    shown = folder.run("show", folder.approval_id, by="mallory")
    assert isinstance(shown.exception, NotEntitled)
    assert "DE89" not in shown.output


def test_a_second_verdict_is_refused(folder: Folder) -> None:
    folder.run("deny", folder.approval_id)
    assert isinstance(folder.run("deny", folder.approval_id).exception, ApprovalConflict)


def test_programs_get_json(folder: Folder) -> None:
    (line,) = folder.run("list", "--json").stdout.splitlines()
    listed = json.loads(line)
    assert listed["id"] == folder.approval_id
    assert listed["clean_arguments"]["to"] == "<IBAN>"
    (seats,) = listed["terms"]["levels"][0]["seats"]
    assert (listed["state"], seats["count"], listed["votes"], listed["actors"]) == ("pending", 1, [], ["agent-7"])
    shown = json.loads(folder.run("show", folder.approval_id, "--json").stdout)
    assert shown["arguments"] == ARGUMENTS
    assert shown["exact"] is True
    assert len(shown["shown"]) == 64


def test_what_deceives_is_shown_escaped_and_markup_is_not_obeyed(folder: Folder) -> None:
    folder.hold({"to": "p\u0430ypal", "memo": "[red]x[/red] :warning: \u202e\x1b[2J"})
    shown = folder.run("show", folder.approval_id).stdout
    assert '"memo": "[red]x[/red] :warning: \\u202e\\u001b[2J"' in shown
    assert '"to": "p\\u0430ypal"' in shown
    assert "U+0430 CYRILLIC SMALL LETTER A, once" in shown
    assert all(char.isprintable() or char == "\n" for char in shown)


def test_a_comment_that_is_too_long_is_refused_before_anything_is_shown(folder: Folder) -> None:
    done = folder.run("approve", folder.approval_id, "--yes", "-m", "x" * 2_001)
    assert done.exit_code == 2
    assert "DE89" not in done.output


def test_a_key_in_a_file_outweighs_the_environment(folder: Folder) -> None:
    key_file = folder.path / "bob.key"
    key_file.write_text(folder.keys["bob"])
    command = [
        sys.executable,
        "-m",
        "mcpgw",
        "approvals",
        "list",
        "--json",
        "--key-file",
        str(key_file),
        "-C",
        str(folder.path),
    ]
    env = {**os.environ, "MCPGW_API_KEY": folder.keys["mallory"]}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["id"] == folder.approval_id


def test_without_a_credential_nothing_is_listed(folder: Folder) -> None:
    folder.keys["nobody"] = ""
    assert isinstance(folder.run("list", by="nobody").exception, AuthenticationError)


def test_a_row_of_an_overdue_approval_says_so(folder: Folder) -> None:
    approval = folder.approval()
    console = Console(width=200, file=io.StringIO())
    with console.capture() as capture:
        standing = weigh(approval, lambda vote: frozenset(vote.fits), approval.deadline_ns)
        console.print(as_table([standing], approval.deadline_ns))
    assert "passed" in capture.get()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0s"), (0, "0s"), (59, "59s"), (60, "1m"), (3_599, "59m"), (3_600, "1h 00m"), (7_500, "2h 05m"), (100_000, "1d 3h")],
)
def test_lengths_of_time_are_for_people(seconds: int, text: str) -> None:
    assert span(seconds * 1_000_000_000) == text


def test_what_was_approved_is_revoked_and_counted(folder: Folder) -> None:
    assert folder.run("approve", folder.approval_id, "--yes").exit_code == 0
    revoked = folder.run("revoke", folder.approval_id, "-m", "wrong account")
    assert "it will not run; it is revoked" in revoked.stdout
    shown = folder.run("show", folder.approval_id).stdout
    assert "stopped  mcpgw:keys#bob: wrong account" in shown
    counted = json.loads(folder.run("stats", "--json").stdout)
    assert counted["states"] == {"revoked": 1}
    assert counted["voters"][0]["voter"] == "mcpgw:keys#bob"
    assert "1 held calls in 30 days: 1 revoked; 0 by break-glass" in folder.run("stats").stdout


def test_nobody_takes_back_reviews_or_resolves_what_is_not_there(folder: Folder) -> None:
    for verb in (("review",), ("resolve", "--happened", "no")):
        refused = folder.run(verb[0], folder.approval_id, *verb[1:], "-m", "looked")
        assert refused.exit_code != 0
    assert isinstance(folder.run("withdraw", folder.approval_id).exception, ApprovalConflict), "bob has no vote to take back"
    assert folder.approval().state is ApprovalState.PENDING


def test_a_vote_is_taken_back_and_given_anew(folder: Folder) -> None:
    folder.hold({"to": "x"}, asking(2))
    assert folder.run("approve", folder.approval_id, "--yes").exit_code == 0
    back = folder.run("withdraw", folder.approval_id, "-m", "not yet")
    assert "taken back; it is pending, 0 of 2 approved" in back.stdout
    assert "mcpgw:keys#bob: approve, withdrawn" in folder.run("show", folder.approval_id).stdout
    assert "it is pending, 1 of 2 approved" in folder.run("approve", folder.approval_id, "--yes").stdout
    assert "it is approved, 2 of 2 approved" in folder.run("approve", folder.approval_id, "--yes", by="carol").stdout


@pytest.mark.parametrize("approved", [False, True])
def test_who_asked_withdraws_the_call_until_it_runs(folder: Folder, approved: bool) -> None:
    folder.hold({"to": "x"}, by=person("alice", issuer="mcpgw:keys"))
    if approved:
        assert folder.run("approve", folder.approval_id, "--yes").exit_code == 0
    done = folder.run("withdraw", folder.approval_id, "-m", "a typo", by="alice")
    assert "taken back; it is withdrawn" in done.stdout
    refused = folder.run("approve", folder.approval_id, "--yes", by="carol")
    assert isinstance(refused.exception, ApprovalConflict)
    assert folder.approval().state is ApprovalState.WITHDRAWN


def test_an_unknown_outcome_stands_in_the_list_until_a_person_has_said_what_became_of_it(folder: Folder) -> None:
    assert folder.run("approve", folder.approval_id, "--yes").exit_code == 0
    folder.crash_in_the_middle()
    alarm = f"{folder.approval_id}: the outcome of bank__transfer is unknown"
    assert alarm in folder.run("list").stdout
    (line,) = folder.run("list", "--json").stdout.splitlines()
    assert (json.loads(line)["state"], json.loads(line)["needs_resolution"]) == ("indeterminate", True)
    resolve = ("resolve", folder.approval_id, "--happened", "no")
    assert folder.run(*resolve).exit_code == 2, "it takes a comment"
    assert isinstance(folder.run(*resolve, "-m", "looked", by="alice").exception, NotEntitled), "she asked for it"
    done = folder.run(*resolve, "-m", "nothing on the account")
    assert "resolved; it is indeterminate" in done.stdout
    assert folder.approval_id not in folder.run("list").stdout
    assert "resolved  mcpgw:keys#bob: it happened: no; nothing on the account" in folder.run("show", folder.approval_id).stdout
    assert isinstance(folder.run(*resolve, "-m", "again").exception, ApprovalConflict)


def test_broken_glass_stands_in_the_list_until_a_third_person_has_reviewed_it(folder: Folder) -> None:
    glass = BreakGlass(openers=LEADS, lasts_ns=900 * 10**9, reviewers=("group:audit",))
    folder.hold({"to": "x"}, needing(Seats(2, ("group:nobody",)), break_glass=glass))
    broken = ("approve", folder.approval_id, "--yes", "--break-glass", "-m", "there is a fire")
    for opener in ("bob", "carol"):
        assert folder.run(*broken, by=opener).exit_code == 0
    assert (folder.approval().state, folder.approval().break_glass) == (ApprovalState.APPROVED, True)
    alarm = f"{folder.approval_id}: break-glass on bank__transfer; somebody else must review it"
    assert alarm in folder.run("list", by="audra").stdout
    reviewed = ("review", folder.approval_id, "-m", "there was a fire")
    assert isinstance(folder.run(*reviewed, by="bob").exception, NotEntitled), "he broke it"
    assert "reviewed; it is approved" in folder.run(*reviewed, by="audra").stdout
    assert alarm not in folder.run("list", by="audra").stdout
    assert "reviewed  mcpgw:keys#audra: there was a fire" in folder.run("show", folder.approval_id, by="audra").stdout


def test_a_rule_whose_calls_are_always_approved_is_pointed_out(folder: Folder) -> None:
    first, hint = folder.approval_id, "always approved: could it be relaxed?"
    for number in range(4):
        folder.hold({"to": str(number)})
        assert folder.run("approve", folder.approval_id, "--yes").exit_code == 0
    counted = folder.run("stats").stdout
    assert "5 held calls in 30 days: 4 approved, 1 pending; 0 by break-glass" in counted and hint not in counted
    assert folder.run("approve", first, "--yes").exit_code == 0
    assert hint in folder.run("stats").stdout
    (rule,) = json.loads(folder.run("stats", "--json", "--days", "1").stdout)["rules"]
    assert (rule["rule"], rule["held"], rule["approved"], rule["could_be_relaxed"]) == ("big-transfer", 5, 5, True)


def test_an_approver_proposes_other_arguments_and_sees_what_differs(folder: Folder) -> None:
    less = json.dumps({**ARGUMENTS, "amount": 500, "memo": "\u202erent"})
    told = folder.run("propose", folder.approval_id, "--arguments", less, "-m", "at most 500", answer="n\n")
    assert told.exit_code == 1 and folder.approval().state is ApprovalState.PENDING
    assert "- 12500" in told.stdout and "+ 500" in told.stdout and "\\u202erent" in told.stdout
    done = folder.run("propose", folder.approval_id, "--arguments", "-", "-m", "at most 500", "--yes", answer=less)
    assert done.exit_code == 0 and "your proposal is recorded, and its client is told of it; it is denied" in done.stdout
    denied = folder.approval()
    assert (denied.state, denied.offer[0].comment) == (ApprovalState.DENIED, "at most 500")
    facts = json.loads(folder.run("show", folder.approval_id, "--json").stdout)
    assert facts["proposed_by"] == ["mcpgw:keys#bob"] and facts["taken_up_as"] == ""
    assert "other arguments, by mcpgw:keys#bob (at most 500); until" in folder.run("show", folder.approval_id).stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [("{", "cannot be read as JSON"), ("no-such-file.json", "cannot be read as JSON"), ("-", "must be a JSON object")],
)
def test_arguments_that_are_no_object_are_a_mistake_at_the_keyboard(folder: Folder, arguments: str, says: str) -> None:
    answer = folder.run("propose", folder.approval_id, "--arguments", arguments, "--yes", answer="[1]")
    assert answer.exit_code == 2 and says in answer.output


def test_what_the_desk_refuses_is_said_in_a_sentence(folder: Folder) -> None:
    same = json.dumps(dict(ARGUMENTS))
    answer = folder.run("propose", folder.approval_id, "--arguments", same, "--yes")
    assert isinstance(answer.exception, GatewayError)
    assert str(answer.exception) == "nothing was recorded: these are the arguments that it has already"
