"""What `mcpgw check` says of names that nobody bears and nothing is published under, of masking, and of what leaves."""

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from mcpgw.cli.check import masked, outgoing
from mcpgw.cli.unmet import Doubts
from mcpgw.core.model import IdentityKind, Masking, MaskingRule, Risk, Target
from mcpgw.identity.key_record import KeyRecord, new_key
from mcpgw.settings import Settings, load
from tests.cli.test_start import folder_at, run
from tests.policy.samples import target

POLICY = """
[roles.tellers]
members = ["group:tellers"]
scopes = ["all"]

[scopes.all]
tools = ["bank__look*", "bank__close*"]

[[rules]]
id = "large"
effect = "hold"
tools = ["bank__transfer", "bank__close_account"]
when = "args.amount > 5.0 || args.account == 'x'"
approvers = ["group:leads"]
"""
SCHEMA = {"type": "object", "properties": {"amount": {}, "account": {}}}
NAMES = ("bank__lookup_customer", "bank__transfer", "bank__close_account")
TARGETS = [target(name, definition={"name": name, "inputSchema": SCHEMA}) for name in NAMES]


def key(subject: str, group: str, kind: IdentityKind = IdentityKind.HUMAN) -> KeyRecord:
    return new_key(subject=subject, kind=kind, groups=(group,)).record


KEYS = [key("tess", "tellers"), key("lea", "leads")]


def settings_of(folder: Path, old: str = "", new: str = "", more: str = "") -> Settings:
    assert old in POLICY
    return load(folder_at(folder / "g", more=POLICY.replace(old, new) + more))


def doubts(
    settings: Settings,
    targets: Sequence[Target] = TARGETS,
    keys: Sequence[KeyRecord] = KEYS,
    unknown: frozenset[str] = frozenset(),
) -> list[str]:
    found = Doubts(settings, targets, keys, unknown)
    return [f"{doubt.detail} {doubt.hint}" for doubt in (*found.of_people(), *found.of_names(idle_rules=[]))]


def test_a_policy_without_mistakes_raises_no_doubt(tmp_path: Path) -> None:
    assert doubts(settings_of(tmp_path)) == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            "group:leads",
            "group:laeds",
            "23: `rules.0.approvers`: no person has an API key of group:laeds, so none of them can decide."
            " Did you mean 'leads'?",
        ),
        (
            "group:tellers",
            "user:zoe",
            "8: `roles.tellers.members`: no API key is of user:zoe. Make one: `mcpgw keys create --subject zoe`.",
        ),
        (
            "bank__look*",
            "bank__find*",
            "12: `scopes.all.tools`: nothing that was accepted fits 'bank__find*'. Compare it with `mcpgw catalog list`.",
        ),
        (
            '["bank__transfer"',
            '["bank__transfr"',
            "17: `rules.0.tools`: nothing that was accepted fits 'bank__transfr'. Did you mean 'bank__transfer'?",
        ),
        (
            "args.amount",
            "args.amuont",
            "22: `rules.0.when`: no tool of the rule large has an argument 'amuont'. Did you mean 'amount'?",
        ),
        (
            "args.amount",
            "args.xyz",
            "22: `rules.0.when`: no tool of the rule large has an argument 'xyz'. They have these: account, amount.",
        ),
    ],
    ids=["approver", "member", "glob", "name", "argument", "strange argument"],
)
def test_a_name_that_fits_nothing_is_doubted_at_its_line(old: str, new: str, told: str, tmp_path: Path) -> None:
    (doubt,) = doubts(settings_of(tmp_path, old, new))
    assert doubt.partition(": ")[2] == told.partition(": ")[2]
    file, _, line = doubt.partition(": ")[0].rpartition(":")
    assert Path(file).name == "config.toml"
    assert new.strip('["') in Path(file).read_text(encoding="utf-8").splitlines()[int(line) - 1]


def test_a_key_that_ended_or_is_no_persons_makes_no_approver(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    expired = new_key(subject="lea", kind=IdentityKind.HUMAN, groups=("leads",), expires=int(time.time()) + 1, now=0).record
    assert doubts(settings, keys=[*KEYS[:1], key("bot", "leads", IdentityKind.AGENT)])
    assert not doubts(settings, keys=[*KEYS[:1], expired])


def test_with_an_identity_provider_nobody_knows_here_who_is_in_a_group(tmp_path: Path) -> None:
    issuer = '\n[[identity.issuers]]\nissuer = "https://idp.example"\naudience = ["https://gateway.example/mcp"]\n'
    assert doubts(settings_of(tmp_path, "group:leads", "group:laeds", issuer)) == []


def test_the_desks_own_approvers_are_looked_for_where_a_call_can_be_held_under_them(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, more='\n[approval]\napprovers = ["group:nobody"]\n')
    assert doubts(settings) == []
    (doubt,) = doubts(settings, [*TARGETS, target("bank__wire", risk=Risk.HIGH)])
    assert "`approval.approvers`: no person has an API key of group:nobody" in doubt
    assert "`mcpgw keys create --kind human --subject NAME --group nobody`" in doubt


def test_names_of_a_server_that_waits_to_be_accepted_are_not_doubted(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    assert len(doubts(settings, [])) == 4
    assert doubts(settings, [], unknown=["bank"]) == []


def test_arguments_of_tools_that_take_any_are_not_doubted(tmp_path: Path) -> None:
    open_ended = [target(name, definition={"inputSchema": {**SCHEMA, "additionalProperties": True}}) for name in NAMES]
    assert doubts(settings_of(tmp_path, "args.amount", "args.amuont"), open_ended) == []


@pytest.mark.parametrize(
    ("masking", "complaint"),
    [
        (Masking(profile="strct"), "there is no redaction profile 'strct'"),
        (Masking(paths=("rows[",)), "not a path: 'rows['"),
        (Masking(rules=(MaskingRule(path="a..b"),)), "not a path: 'a..b'"),
    ],
)
def test_masking_that_redaction_would_not_understand_fails(masking: Masking, complaint: str, tmp_path: Path) -> None:
    (finding,) = masked(settings_of(tmp_path), [target("bank__wire", masking=masking)])
    assert f"bank: redaction of bank__wire: {complaint}" in finding.detail.replace("redaction.profiles: ", "")


@pytest.mark.parametrize(
    ("more", "what", "key"),
    [
        ('[[sinks]]\nname = "siem"\nkind = "syslog"\nurl = "siem.example:6514"\n', "sinks", "sinks.siem.url"),
        ('[[notify]]\nname = "ops"\nkind = "webhook"\nurl = "https://ops.example/"\n', "notifiers", "notify.ops"),
    ],
)
def test_a_receiver_that_would_keep_the_gateway_from_starting_is_found_before(
    more: str, what: str, key: str, tmp_path: Path
) -> None:
    (finding,) = outgoing(settings_of(tmp_path, more=f"\n{more}"))
    assert finding.what == what
    assert key in finding.detail and "config.toml:" in finding.detail


def test_check_tells_each_mistake_of_a_folder_once(tmp_path: Path) -> None:
    anchor = '\n[[anchor.to]]\nname = "away"\nkind = "directory"\n'
    folder = folder_at(tmp_path / "g", more=POLICY + anchor)
    (folder / "catalog/bank.toml").write_text('transport = "http"\nulr = "x"\n', encoding="utf-8")
    code, told = run(folder, "check")
    assert code == 1
    assert "✓ policy       1 role, 1 scope, 1 rule (" in told
    assert "✗ catalog      catalog/bank.toml:1: `transport" in told
    assert told.count("unknown key `ulr`") == 1, "the ledger's finding does not repeat it"
    assert "\n               catalog/bank.toml:2: unknown key `ulr`" in told, "a second line stands under the first"
    assert "✓ ledger" in told
    assert "✗ anchors      config.toml:" in told
    assert "✓ redaction    No language model is used" in told
