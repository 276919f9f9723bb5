"""The past under another policy: nothing changes under the same one, and what differs under another is what its rules say."""

import json
import shutil
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apsw
from anyio.from_thread import BlockingPortal
from click.testing import Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcpgw.app.rejudging import NO_CATALOG, Change
from mcpgw.core.entries import Verdict
from mcpgw.core.model import Held, IdentityKind
from mcpgw.ledger.recorded import Effect, Why
from mcpgw.ledger.sqlite import FILE
from tests.app.past import CONFIG, Past, Present, Story, person

RENT = {"from_account": "CHK-100001", "to_account": "CHK-100002", "memo": "rent"}


CALLERS = st.builds(
    person,
    st.sampled_from(["alice", "bob"]),
    st.sampled_from(["tellers", "auditors", "guests"]),
    kind=st.sampled_from(IdentityKind),
    scopes=st.sampled_from([frozenset(), frozenset({"bank:read"}), frozenset({"openid", "bank:move-money"})]),
    claims=st.sampled_from([{}, {"dept": "fraud"}, {"dept": "x"}, {"dept": ["fraud", "x"], "level": 3.5}]),
    actors=st.sampled_from([(), ("agent",)]),
)
MEMOS = st.sampled_from(
    ["rent", "urgent", "card 4111 1111 1111 1111", "urgent: card 4111111111111111", "", "ünïcode \x1b[2J\u202e"]
)
AMOUNTS = st.sampled_from([1, 99.5, 100, 100.01, 4000, 5000, 5000.5, 99_999, 100_001, "6000", None, True, 2**70, 1e300])
TRANSFERS = st.fixed_dictionaries(
    {},
    optional={
        "amount": AMOUNTS,
        "memo": MEMOS,
        "from_account": st.just("CHK-100001"),
        "iban": st.just("DE89370400440532013000"),
    },
)
QUERIES = st.fixed_dictionaries(
    {},
    optional={
        "sql": st.sampled_from(
            [
                "SELECT 1",
                "DELETE FROM t",
                "SELECT * FROM c WHERE ssn = '078-05-1120'",
                "SELECT '",
                "DROP TABLE x -- 078-05-1120",
                7,
            ]
        ),
        "ssn": st.just("078-05-1120"),
    },
)
CALLS = st.one_of(
    st.tuples(CALLERS, st.just("bank__transfer"), TRANSFERS),
    st.tuples(CALLERS, st.just("bank__query"), QUERIES),
    st.tuples(CALLERS, st.sampled_from(["bank__lookup_customer", "bank__nothing", "mcpgw__status"]), TRANSFERS),
)
AFTER = st.sampled_from(["", "approved", "denied", "waiting", "resumed"])
"""What becomes of a call that is held."""


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(CALLS, AFTER, st.booleans()), min_size=1, max_size=25))
def test_the_very_policy_that_was_in_force_changes_nothing(
    kept: Past, present: Present, portal: BlockingPortal, happened: list[Any]
) -> None:
    start = kept.size()

    async def happen() -> None:
        for (caller, tool, arguments), after, previewed in happened:
            answer = await present.call(caller, tool, arguments)
            if not isinstance(answer, Held):
                continue
            if previewed:
                await present.call(caller, tool, arguments, previews=answer.approval_id)
            pending = [one for one in await present.desk.held(answer.approval_id, caller) if one.state == "pending"]
            if after in ("approved", "denied") and pending:
                await present.decide(answer, Verdict.APPROVE if after == "approved" else Verdict.DENY)
            if after:
                await present.call(caller, tool, arguments, resumes=answer.approval_id if after == "resumed" else "")

    portal.call(happen)
    report = kept.replayed(start=start)
    assert report.changes == {} and report.masking == {}
    told = kept.told(start)
    assert {one.call_id for one in told} == kept.judged_calls(start) and len(told) == len({one.call_id for one in told})
    assert report.judged + report.untold.total() == len(told) and report.same == report.judged
    assert report.passed.keys() <= {Why.NOT_JUDGED.value, Why.COUNTED.value}
    readable = [one for one in told if not one.masked]
    assert report.untold.total() <= len(told) - len(readable), "only what was masked can hide an answer"


def replay(story: Story, *words: str) -> Result:
    return story.cli("policy", "replay", *words)


def test_a_lower_limit_holds_calls_that_ran_and_each_change_has_its_rule_and_examples(story: Story) -> None:
    for amount in (50, 60, 70, 80, 2):
        story.call("transfer", amount=amount, memo="rent")
    story.call("transfer", amount=6000)
    report = story.replayed(("args.amount <= 100", "args.amount <= 55"))
    assert (report.judged, report.same, report.different) == (6, 3, 3)
    ((change, changed),) = report.changes.items()
    assert change == Change(Effect.ALLOW, Effect.HOLD, ("risk.high",))
    assert changed.count == 3 and [one.call.arguments["amount"] for one in changed.examples] == [60, 70, 80]
    assert (report.would_be(Effect.HOLD), report.would_be(Effect.DENY)) == (3, 0)


def test_what_people_decided_does_not_hide_what_policy_said(story: Story) -> None:
    """Approved and run, or denied by people: the policy had held it, and a call is judged once, whatever came of it."""
    for amount, verdict in ((7001, Verdict.APPROVE), (7002, Verdict.DENY)):
        held = story.call("transfer", amount=amount)
        story.portal.call(story.present.decide, held, verdict)
        story.call("transfer", amount=amount)
    report = story.replayed(
        ("args.amount > 5000", "args.amount > 8000"),
        '[[rules]]\nid = "fine"\neffect = "allow"\ntools = ["bank__transfer"]\nlifts_risk = true\n',
    )
    assert list(report.changes) == [Change(Effect.HOLD, Effect.ALLOW, ("large", "risk.high"))]
    assert report.same + report.different == report.judged == len(story.past.told(story.start)) == 4


def test_a_rule_that_reads_what_was_masked_cannot_be_told_and_one_that_does_not_can(story: Story) -> None:
    story.call("transfer", amount=50, memo="card 4111 1111 1111 1111")
    rule = '[[rules]]\nid = "new"\neffect = "deny"\ntools = ["bank__transfer"]\nwhen = "{}"\n'
    assert story.replayed().untold == {("urgent",): 1}
    calm = ("has(args.memo) && args.memo.contains('urgent')", "args.amount > 10 && args.amount < 20")
    assert story.replayed(calm).untold == {}
    assert story.replayed(calm, rule.format("args.memo.size() > 3")).untold == {("new",): 1}
    assert story.replayed(calm, rule.format("args['memo'] == 'x'")).untold == {("new",): 1}
    assert story.replayed(calm, rule.format("size(args) > 7")).untold == {("new",): 1}
    (change,) = story.replayed(
        calm,
        rule.format("args.memo == 'x' || args.amount == 50").replace("||", "&&")
        + rule.format("args.amount == 50").replace("new", "sure"),
    ).changes
    assert change == Change(Effect.ALLOW, Effect.DENY, ("sure",)), "a denial stands, whatever another rule would say"
    observed = rule.format("args.memo == 'x'") + 'mode = "observe"\n'
    assert story.replayed(calm, observed).untold == {}


def test_what_was_erased_is_not_guessed(story: Story) -> None:
    fraud = person("fred", "guests", claims={"dept": "fraud"})
    story.call("lookup_customer", fraud, customer="C-1001")
    story.call("transfer", fraud, amount=50)
    assert story.replayed().same == 2
    story.erase("arguments.clean")
    report = story.replayed()
    assert report.untold == {("large", "huge", "urgent", "small-is-fine"): 1, ("urgent",): 1}
    story.erase("claims")
    assert story.replayed().untold == {(): 2}, "a role depends on a claim"
    by_group = CONFIG.replace(', "claim:dept=fraud"', "").replace("|| identity.claims.dept == 'x'", "")
    assert story.past.replayed(by_group, story.start).changes.keys() == {Change(Effect.ALLOW, Effect.DENY, ("default.deny",))}


def test_another_catalog_is_tried_with_the_policy_and_says_what_it_would_mask_otherwise(story: Story, tmp_path: Path) -> None:
    story.call("query", sql="SELECT 1")
    story.call("lookup_customer", customer="C-1001")
    shutil.copytree(story.past.folder.path / "catalog", tmp_path / "catalog")
    file = tmp_path / "catalog" / "bank.toml"
    text = file.read_text()
    assert story.replayed(catalog=[tmp_path / "catalog"]).different == 0
    file.write_text(text.replace('"ssn", ', "").replace('scope = "bank:sql"', 'scope = "bank:sql"\nrisk = "high"'))
    report = story.replayed(catalog=[tmp_path / "catalog"])
    assert list(report.changes) == [Change(Effect.ALLOW, Effect.HOLD, ("risk.high",))]
    assert {name: (one.calls, one.no_longer) for name, one in report.masking.items()} == {
        "bank__query": (1, {"column ssn"}),
        "bank__lookup_customer": (1, {"column ssn"}),
    }
    at = "seq IN (SELECT seq FROM records WHERE kind = 'catalog.accepted') AND slot = 'standing'"
    with closing(apsw.Connection(str(story.past.folder.data / FILE))) as connection:
        connection.set_busy_timeout(10_000)
        ((salt,),) = connection.execute(f"SELECT salt FROM payloads WHERE {at}")
        connection.execute(f"UPDATE payloads SET salt = zeroblob(32) WHERE {at}")
        assert story.replayed().passed == {NO_CATALOG: 2}, "another text than the record commits to is not believed"
        connection.execute(f"UPDATE payloads SET salt = ? WHERE {at}", (salt,))


def test_the_command_reports_fails_a_pipeline_and_is_recorded(story: Story, tmp_path: Path) -> None:
    story.call("transfer", amount=61, memo="\x1b[2J\u202e")
    candidate = tmp_path / "candidate.toml"
    candidate.write_text(CONFIG.replace("args.amount <= 100", "args.amount <= 61.5 && args.amount != 61"))
    since = datetime.fromtimestamp(story.past.told(story.start)[0].received_ns / 1e9 - 0.001, tz=UTC).isoformat()
    said = replay(story, "--policy", str(candidate), "--from", since)
    assert said.exit_code == 0, said.output
    assert "1 call judged again: 0 as before, 1 otherwise." in said.output
    assert "1 call newly held by risk.high" in said.output and "\\u202e" in said.output
    assert "\x1b" not in said.output and "\u202e" not in said.output
    read = story.past.folder.records("evidence.read")[-1]
    assert (read["facts"]["what"], read["actor"].partition(":")[0]) == ("policy replay", "os")
    for arguments, code in ((["hold"], 3), (["deny", "allow", "untold"], 0), (["any"], 3)):
        flags = [word for one in arguments for word in ("--fail-on", one)]
        said = replay(story, "--policy", str(candidate), "--from", since, "--json", *flags)
        assert said.exit_code == code, said.output
    data = json.loads(said.output)
    assert data["policy"] == read["facts"]["policy"]
    assert [(one["was"], one["now"], one["rules"], one["calls"]) for one in data["changes"]] == [
        ("allow", "hold", ["risk.high"], 1)
    ]
    assert data["changes"][0]["examples"][0]["arguments"] == {"amount": 61, "memo": "\x1b[2J\u202e"}

    candidate.write_text(CONFIG.replace("args.amount > 5000", "args.amount >"))
    assert f"{candidate}:" in str(replay(story, "--policy", str(candidate)).exception)
    assert "none.toml" in str(replay(story, "--policy", str(tmp_path / "none.toml")).exception)
    candidate.write_text(CONFIG)
    assert "--to is not after" in str(replay(story, "--policy", str(candidate), "--from", "1h", "--to", "2h").exception)
    assert "no such folder" in str(replay(story, "--policy", str(candidate), "--catalog", str(tmp_path / "none")).exception)
