"""`mcpgw explain` on a real folder, and what it prints."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from mcpgw.catalog.drift import accept
from mcpgw.catalog.load import load_catalog
from mcpgw.catalog.lock import LOCK_NAME, write_lock
from mcpgw.cli.explain import (
    access_as_json,
    access_table,
    as_data,
    build_identity,
    explain,
    parse_arguments,
    render,
)
from mcpgw.core.errors import ConfigError
from mcpgw.core.model import (
    IdentityKind,
    TargetKind,
    UnknownTarget,
)
from mcpgw.policy import Effect, Rule
from tests.policy.samples import RISKY, call, identity, policy, target

CONFIG = """
[roles.teller]
members = ["group:tellers", "claim:level=3"]
scopes = ["bank"]

[scopes.bank]
tools = ["bank__*"]

[[rules]]
id = "big"
effect = "hold"
tools = ["bank__transfer"]
when = "args.amount > 10000"
approvers = ["group:leads"]

[[rules]]
id = "never"
effect = "deny"
tools = ["bank__close"]
"""

RULES = (
    Rule(id="big", effect=Effect.HOLD, when="args.amount > 10", reason="Ask.", deadline_s=90),
    Rule(id="other", effect=Effect.DENY, tools=("crm__*",)),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder with one server and two accepted tools."""
    (tmp_path / "config.toml").write_text(CONFIG)
    catalog = tmp_path / "catalog"
    catalog.mkdir()
    (catalog / "bank.toml").write_text('transport = "stdio"\ncommand = "bank"\n')
    loaded = load_catalog(catalog)
    offered = [{"name": name, "inputSchema": {"type": "object"}} for name in ("transfer", "close")]
    write_lock(catalog / LOCK_NAME, accept(loaded.entries, loaded.lock, {"bank": {TargetKind.TOOL: offered}}))
    return tmp_path


def run(folder: Path, *options: str) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(explain)
    result = CliRunner().invoke(app, ["--dir", str(folder), *options])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (("--group", "tellers", "--tool", "bank__transfer", "--args", '{"amount": 5}'), 0, "ALLOW"),
        (("--claim", "level=3", "--tool", "bank__transfer", "--args", '{"amount": 5}'), 0, "ALLOW"),
        (("--group", "tellers", "--tool", "bank__transfer", "--args", '{"amount": 20000}'), 3, "HOLD until 1 of group:leads"),
        (("--group", "tellers", "--tool", "bank__transfer"), 4, "looks at 'amount', which is not there"),
        (("--group", "tellers", "--tool", "bank__close"), 4, "as if it did not exist"),
        (("--tool", "bank__transfer"), 4, "nothing"),
        (("--group", "tellers", "--tool", "bank__nope"), 4, "no tool called bank__nope is accepted"),
        (("--group", "tellers", "--tool", "bank__transfer", "--scope", "x"), 4, "bank: the credential does not carry them"),
        (("--group", "tellers"), 0, "bank__close"),
    ],
)
def test_explain_prints_the_decision_and_why(folder: Path, options: tuple[str, ...], code: int, says: str) -> None:
    exit_code, output = run(folder, "--as", "alice", *options)
    assert exit_code == code
    assert says in " ".join(output.split())


DEMANDING = """
[approval.break_glass]
openers = ["group:duty"]

[[rules]]
id = "huge"
effect = "hold"
tools = ["bank__transfer"]
when = "args.amount > 1000000"
quorum = "2 of group:leads and 1 of group:risk"
deadline = "30m"
comment = "required"
max_auth_age = "15m"
acr = ["phr", "phrh"]
amr = ["pwd", "mfa"]
on_denial = "wait"
run_unattended = true
may_be_asked = true

[[rules.on_silence]]
approvers = ["group:heads"]
deadline = "1h"

[[rules]]
id = "tried"
effect = "deny"
mode = "observe"
tools = ["bank__transfer"]
when = "args.amount > 1000000"
"""


def test_explain_tells_all_that_a_hold_rule_asks_of_people(folder: Path) -> None:
    config = folder / "config.toml"
    rest, big, others = config.read_text().partition('[[rules]]\nid = "big"')
    config.write_text(rest + DEMANDING + big + others)  # the first of two that hold says who is asked
    options = ("--as", "alice", "--group", "tellers", "--tool", "bank__transfer", "--args", '{"amount": 2000000}')
    code, output = run(folder, *options)
    told = " ".join(output.split())
    assert code == 3
    assert "HOLD until 2 of group:leads and 1 of group:risk approve, for 1800 s at most; " in told
    assert "then, if they are silent, 1 of group:heads, for 3600 s" in told
    assert (
        "asked for a comment with each vote; a sign-in of at most 15 min ago; acr phr or phrh; amr pwd and mfa; "
        "a denial waits until it is withdrawn, or the deadline; once approved, it may run while nobody waits for it; "
        "once approved, its server may ask the caller, whose answers nobody approves; or, in an emergency, two of group:duty"
    ) in told
    assert "observed tried would deny, and decide nothing" in told
    assert "tried deny (observed) matched" in told
    _, output = run(folder, *options, "--json")
    terms, observed = json.loads(output)["terms"], json.loads(output)["observed"]
    assert [seats["count"] for seats in terms["levels"][0]["seats"]] == [2, 1]
    assert observed == [{"id": "tried", "effect": "deny"}]


def test_explain_prints_json_for_scripts(folder: Path) -> None:
    code, output = run(folder, "--as", "idp#alice", "--group", "tellers", "--tool", "bank__close", "--json")
    told = json.loads(output)
    assert code == 4
    assert (told["decision"], told["hidden"], told["caller"], told["rule_ids"]) == ("deny", True, "idp#alice", ["never"])
    code, output = run(folder, "--as", "alice", "--group", "tellers", "--json")
    visible = {one["tool"]: one["visible"] for one in json.loads(output)}
    own = {tool for tool in visible if tool.startswith("mcpgw__")}
    assert {tool: visible[tool] for tool in visible.keys() - own} == {"bank__transfer": True, "bank__close": False}
    assert own and not any(visible[tool] for tool in own)
    assert code == 0


def test_the_rendering_shows_each_rule_on_a_line() -> None:
    asked = call({"amount": 11})
    text = printed(render(asked, policy(*RULES).explain(asked)))
    assert "HOLD until 1 of group:leads approve, for 90 s at most" in text
    lines = [line.split() for line in text.splitlines()]
    assert ["big", "hold", "matched", "`when`", "is", "true"] in lines
    assert ["other", "deny", "not", "matched", "it", "is", "about", "other", "tools"] in lines


def test_markup_in_names_is_printed_and_not_obeyed() -> None:
    asked = call(to=UnknownTarget(kind=TargetKind.TOOL, name="[red]x[/red]"), by=identity("[bold]eve[/bold]"))
    text = printed(render(asked, policy().explain(asked)))
    assert "[red]x[/red]" in text
    assert "[bold]eve[/bold]" in text


def test_access_of_a_caller_as_table_and_json() -> None:
    access = policy(*RULES).grants(identity(groups=frozenset()), [target(), RISKY])
    assert "nothing" in printed(access_table(access))
    assert access_as_json(access)[1] == {
        "tool": RISKY.name,
        "kind": "tool",
        "visible": False,
        "risk": "high",
        "grants": [],
        "rules": ["big"],
    }


def test_the_json_names_rules_and_grants() -> None:
    asked = call({"amount": 1})
    told: Any = as_data(asked, policy(*RULES).explain(asked))
    assert told["decision"] == "allow"
    assert told["grants"] == ["role:teller/scope:all"]
    assert [rule["outcome"] for rule in told["rules"]] == ["not matched", "not matched"]


def test_options_become_an_identity() -> None:
    caller = build_identity(
        "https://idp.example#alice",
        kind=IdentityKind.AGENT,
        groups=["a"],
        claims=["level=3", "dept=fraud", 'tags=["x"]', "url?a=b=c"],
        scopes=["s"],
    )
    assert (caller.principal, caller.kind) == ("https://idp.example#alice", IdentityKind.AGENT)
    assert (caller.groups, caller.scopes) == ({"a"}, {"s"})
    assert caller.claims == {"level": 3, "dept": "fraud", "tags": ["x"], "url?a=b": "c"}


@pytest.mark.parametrize("text", ["{", "[1]", "3", '{"a": 1e999999', "[" * 100_000])
def test_arguments_that_are_no_object_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--args"):
        parse_arguments(text)


@pytest.mark.parametrize("text", ["dept", "=x"])
def test_a_claim_without_name_or_value_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="NAME=VALUE"):
        build_identity("alice", kind=IdentityKind.HUMAN, claims=[text])


def printed(renderable: Any) -> str:
    out = io.StringIO()
    Console(width=160, file=out).print(renderable)
    return out.getvalue()
