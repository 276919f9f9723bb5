"""An access review says who may, who did and who never does, and who decided, in four formats that deceive nobody."""

import csv
import json
import re
from datetime import UTC, datetime
from typing import Any

from mcpgw.cli.records import COLUMNS as LOG_COLUMNS
from mcpgw.cli.report import COLUMNS
from mcpgw.core.access import access_of
from mcpgw.core.entries import Verdict
from mcpgw.core.model import (
    Held,
    IdentityKind,
    Patience,
    Request,
    TargetKind,
)
from tests.app.past import CAROL, ORIGIN, Story, person

EVIL = '=HYPERLINK("http://x")\x1b[2J<script>'


def since() -> str:
    return datetime.now(UTC).isoformat()


def reviewed(story: Story, start: str, form: str) -> str:
    said = story.cli("report", "access-review", "--from", start, "--format", form)
    assert said.exit_code == 0, said.output
    return str(said.output)


def test_who_may_who_did_who_never_does_and_who_decided(story: Story) -> None:
    start = since()
    story.past.folder.key("keyed", "auditors")
    rita = person("rita", "tellers")
    fred = person("fred", "guests", claims={"dept": "fraud"})
    for _ in range(3):
        story.call("transfer", rita, amount=7)
    story.call("lookup_customer", fred, customer="C-1")
    story.call("query", person("gus", "guests"), sql="SELECT 1")
    story.call("nothing", rita)
    held = story.call("transfer", rita, amount=7777)
    story.portal.call(story.present.decide, held, Verdict.APPROVE)
    story.call("transfer", rita, amount=7777)
    held = story.call("transfer", rita, amount=8888)
    story.portal.call(story.present.decide, held, Verdict.DENY)

    found = json.loads(reviewed(story, start, "json"))
    people: dict[str, Any] = {one["who"].rpartition("#")[2]: one for one in found["people"]}
    lines = {who: {line["target"]: line for line in one["lines"]} for who, one in people.items()}
    assert lines["rita"]["bank__transfer"]["uses"] == {"ran": 4, "held": 3, "refused": 0} | {
        "last_ns": lines["rita"]["bank__transfer"]["uses"]["last_ns"]
    }
    findings = {who: {target: line["finding"] for target, line in one.items()} for who, one in lines.items()}
    assert findings["rita"]["bank__transfer"] == "used"
    assert {name for name, finding in findings["rita"].items() if finding == "never used"} >= {
        "bank__query",
        "bank__close_account",
    }
    assert findings["fred"]["bank__lookup_customer"] == "used", "he has the role by a claim"
    assert findings["gus"] == {"bank__query": "refused"}
    assert (people["rita"]["roles"], people["rita"]["unknown"]) == (["tellers"], 1)
    assert (people["keyed"]["seen_ns"], people["keyed"]["has_key"]) == (0, True)
    assert set(findings["keyed"].values()) == {"never used"}
    assert found["approvers"]["https://idp.example#carol"] | {"last_ns": 0} == {
        "approved": 1, "denied": 1, "taken_back": 0, "proposed": 0, "broke_glass": 0, "revoked": 0, "reviewed": 0, "last_ns": 0,
    }  # fmt: skip
    roles = {role["name"]: role for role in found["roles"]}
    assert "bank__close_account" in roles["tellers"]["never_used"] and "bank__transfer" not in roles["tellers"]["never_used"]
    assert roles["auditors"]["people"] >= 1

    table = reviewed(story, start, "table")
    assert re.search(r"rita +human +tellers .* never|rita +human +tellers", table) and "approved 1, denied 1" in table
    read = story.past.folder.records("evidence.read")[-1]
    assert (read["facts"]["what"], read["actor"].partition(":")[0]) == ("access review", "os")


def test_what_ran_and_may_run_no_more_is_found(story: Story) -> None:
    start = since()
    story.call("lookup_customer", person("nora", "auditors"), customer="C-1")
    config = story.past.folder.config
    before = config.read_text()
    try:
        config.write_text(before.replace('members = ["group:auditors"]', 'members = ["group:examiners"]'))
        found = json.loads(reviewed(story, start, "json"))
    finally:
        config.write_text(before)
    (nora,) = [one for one in found["people"] if one["who"].endswith("#nora")]
    assert [(line["target"], line["finding"]) for line in nora["lines"]] == [("bank__lookup_customer", "no longer allowed")]


def test_a_grant_is_told_with_its_uses(story: Story) -> None:
    start, rita = since(), person("rita", "tellers")
    asked = access_of({"max_calls": 3, "lasts_ns": 3_600_000_000_000, "vary": {"memo": {"any": True}}, "reason": "rents"})
    request = Request(
        identity=rita, kind=TargetKind.TOOL, name="bank__transfer", arguments={"amount": 9001, "memo": "a"}, origin=ORIGIN,
        patience=Patience(budget_s=0.0),
    )  # fmt: skip
    held = story.portal.call(story.present.corridor.request_access, request, asked)
    assert isinstance(held, Held), held
    story.portal.call(story.present.desk.vote, held.approval_id, CAROL, Verdict.APPROVE)
    for memo in ("b", "c"):
        story.call("transfer", rita, amount=9001, memo=memo)
    (grant,) = json.loads(reviewed(story, start, "json"))["grants"]
    assert (grant["who"], grant["target"], grant["uses"], grant["max_calls"]) == (rita.principal, "bank__transfer", 2, 3)
    assert grant["state"] == "approved"
    assert "2 of 3" in reviewed(story, start, "table") and "2 of 3" in reviewed(story, start, "html")


def test_names_deceive_no_spreadsheet_no_browser_and_no_terminal(story: Story) -> None:
    start = since()
    story.call("lookup_customer", person(EVIL, "auditors", "=cmd|' /C calc'!A0", kind=IdentityKind.SERVICE), customer="C-1")
    rows = [*csv.DictReader(reviewed(story, start, "csv").splitlines())]
    assert tuple(rows[0]) == COLUMNS and len(set(COLUMNS) & set(LOG_COLUMNS)) > 3
    evil = [row for row in rows if "HYPERLINK" in row["who"]]
    assert {row["finding"] for row in evil} >= {"used"}
    assert not any(value.startswith(("=", "+", "-", "@", "\t", "\r")) for row in rows for value in row.values())
    html = reviewed(story, start, "html")
    assert "<script" not in html and "&lt;script&gt;" in html and "default-src 'none'" in html
    for form in ("table", "csv", "html"):
        assert "\x1b" not in reviewed(story, start, form)
