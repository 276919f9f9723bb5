"""Settings become the rooms' values, and a complaint of a room finds its line again."""

from pathlib import Path

import pytest

from mcpgw.app import convert, network, redacting
from mcpgw.core.errors import ConfigError
from mcpgw.core.model import IdentityKind
from mcpgw.identity.issuer import KindRule
from mcpgw.inbound.config import Nobody
from mcpgw.inbound.head import check_host
from mcpgw.settings import Settings, from_text, load

FOLDER = Path("/srv/gateway")
GRANTED = '[roles.a]\nmembers = ["everyone"]\nscopes = ["all"]\n[scopes.all]\ntools = ["*"]\n'
TWO_RULES = '[[rules]]\nid = "a"\neffect = "deny"\n[[rules]]\nid = "a.b"\neffect = "deny"\nwhen = "args.amount >"\n'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[roles.a]\nmembers = ["everyone"]\nscopes = ["al"]\n[scopes.a]\ntools = ["*"]\n', ":3: `roles.a.scopes`: there is"),
        (GRANTED + TWO_RULES, ":12: `rules.a.b.when`: line 1, column 14: Syntax error"),
        ('[approval]\napprovers = ["nobody"]\n', ":2: `approval.approvers`: 'nobody' is neither"),
        ('[scopes."bank:read"]\ntags = []\n', ":1: `scopes.bank:read`: selects nothing"),
    ],
)  # fmt: skip
def test_a_complaint_about_the_policy_has_its_file_and_line(text: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        convert.policy(load(tmp_path))
    assert f"{tmp_path}/config.toml{complaint}" in str(caught.value)


ISSUERS = "".join(f'[[identity.issuers]]\nissuer = "https://{name}.example"\naudience = ["x"]\n' for name in ("a", "b"))
NAMED = {
    "roles.r.members": '[roles.r]\nscopes = ["all"]\nmembers = ["{}"]\n[scopes.all]\ntools = ["*"]\n',
    "rules.0.roles": '[[rules]]\nid = "x"\neffect = "deny"\nroles = ["{}"]\n',
    "rules.0.approvers": '[[rules]]\nid = "x"\neffect = "hold"\napprovers = ["{}"]\n',
    "approval.approvers": '[approval]\napprovers = ["{}"]\n',
    "console.auditors": '[console]\nauditors = ["{}"]\n',
    "redaction.profiles.p.audiences.0.members": '[[redaction.profiles.p.audiences]]\nmembers = ["{}"]\n',
}


@pytest.mark.parametrize("form", ["group", "user"])
@pytest.mark.parametrize(("where", "text"), NAMED.items(), ids=list(NAMED))
def test_with_two_issuers_every_group_and_user_names_its_own(where: str, text: str, form: str, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(ISSUERS + text.format(f"{form}:leads"))
    with pytest.raises(ConfigError, match="could be of any of 3 issuers") as caught:
        convert.policy(load(tmp_path))
    line = (ISSUERS + text).splitlines().index(next(line for line in text.splitlines() if "{}" in line)) + 1
    assert f"{tmp_path}/config.toml:{line}: `{where}`" in str(caught.value)
    assert f"{form}:mcpgw:keys#leads or {form}:https://a.example#leads" in caught.value.hint
    convert.policy(from_text(ISSUERS + text.format(f"{form}:https://a.example#leads"), FOLDER))
    convert.policy(from_text(ISSUERS[: len(ISSUERS) // 2] + text.format(f"{form}:leads"), FOLDER))  # one issuer


def test_an_issuers_kinds_and_leeway_reach_the_identity_room_whole() -> None:
    issuer = '[[identity.issuers]]\nissuer = "https://a.example"\naudience = ["x"]\nleeway = "1.5s"\ndefault_kind = "service"\n'
    rule = '[[identity.issuers.kind_rules]]\nclaim = "entity"\npattern = "bot-*"\nkind = "agent"\n'
    (found,) = convert.issuers(from_text(issuer + rule, FOLDER))
    assert (found.leeway_s, found.default_kind) == (1.5, IdentityKind.SERVICE)
    assert found.kind_rules == (KindRule(claim="entity", pattern="bot-*", kind=IdentityKind.AGENT),)


def test_of_edited_settings_a_running_gateway_takes_up_the_policy_alone() -> None:
    running = from_text("", FOLDER)
    edited = from_text(f'name = "b"\n[approval]\nquorum = 2\nbudget = "9s"\n[redaction]\nmodel = "none"\n{GRANTED}', FOLDER)
    both = convert.with_policy_of(running, edited)
    assert (both.roles, both.scopes, both.approval.quorum) == (edited.roles, edited.scopes, 2)
    assert (both.name, both.redaction, both.approval.budget) == (running.name, running.redaction, running.approval.budget)
    assert convert.config_hash(both) not in (convert.config_hash(edited), convert.config_hash(running))


def test_settings_without_a_file_keep_the_complaint_as_it_is() -> None:
    with pytest.raises(ConfigError, match=r"^roles\.a\.scopes: there is no scope"):
        convert.policy(from_text('[roles.a]\nmembers = ["everyone"]\nscopes = ["al"]\n', FOLDER))


def test_anonymous_callers_are_refused_off_loopback() -> None:
    text = '[listen]\nhost = "{host}"\n[identity]\nunsafe_allow_anonymous = true\n'
    assert not isinstance(network.inbound(from_text(text.format(host="127.0.0.1"), FOLDER)).unsafe_allow_anonymous, Nobody)
    with pytest.raises(ConfigError, match="for loopback"):
        network.inbound(from_text(text.format(host="0.0.0.0"), FOLDER))
    assert isinstance(network.inbound(from_text("", FOLDER)).unsafe_allow_anonymous, Nobody)


def test_hosts_and_budgets_of_the_settings_join_the_built_in_ones() -> None:
    text = '[listen]\npublic_url = "https://mcp.bank.example/"\nallowed_hosts = ["gw:9"]\n'
    text += '[approval]\nbudget = "2s"\n[approval.budgets]\nMyAgent = "9s"\n'
    config = network.inbound(from_text(text, FOLDER))
    assert {"mcp.bank.example", "127.0.0.1:*", "gw:9"} <= set(config.allowed_hosts)
    assert config.allowed_origins == ("https://mcp.bank.example",)
    assert config.patience.of("myagent", wants_progress=False).budget_s == 9
    assert config.patience.of("mcp", wants_progress=True).budget_s == 2
    assert config.patience.of("claude-code", wants_progress=False).budget_s == 45


def test_an_address_of_ipv6_and_a_certificate_make_the_url_that_clients_use() -> None:
    settings = from_text('[listen]\nhost = "fd00::1"\nport = 443\ntls_certificate = "server.pem"\n', FOLDER)
    assert settings.public_url == "https://[fd00::1]:443"
    config = network.inbound(settings)
    check_host(["[fd00::1]:443"], [settings.public_url], config)


def test_a_profile_that_hashes_needs_the_folders_key(tmp_path: Path) -> None:
    settings = from_text('[redaction.profiles.hashed]\ndefault = "hash"\n', tmp_path)
    with pytest.raises(ConfigError, match=r"redaction\.key: the key cannot be read") as caught:
        redacting.config(settings)
    assert "mcpgw init" in caught.value.hint
    settings.keys_dir.mkdir()
    (settings.keys_dir / redacting.REDACTION_KEY).write_bytes(bytes(32))
    assert redacting.config(settings).hash_key == bytes(32)


def test_the_hash_of_the_configuration_follows_its_content_and_not_its_folder() -> None:
    same = convert.config_hash(Settings(folder=Path("/a"))), convert.config_hash(Settings(folder=Path("/b")))
    assert same[0] == same[1] != convert.config_hash(from_text('name = "other"', FOLDER))
