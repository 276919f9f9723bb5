"""config.toml: every complaint has its line and a suggestion; the environment overrides; the docs cannot lie."""

import runpy
from pathlib import Path

import pytest

from mcpgw.catalog.registry import Registry
from mcpgw.core.errors import ConfigError
from mcpgw.settings import Settings, from_text, load

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('nme = "x"', "config.toml:1: unknown key `nme`. Did you mean `name`?"),
        ("\n[listen]\nprt = 1", "config.toml:3: unknown key `listen.prt`. Did you mean `port`?"),
        ('[listen]\nport = "many"', "config.toml:2: `listen.port`: must be a whole number, and is a text"),
        ("[listen]\nport = 70000", "config.toml:2: `listen.port`: must be less than or equal to 65535"),
        ('[roles.a]\nmembers = ["everyone"]', "config.toml:1: `roles.a.scopes`: is required, and is not there"),
        ('[[rules]]\nid = "a"\neffect = "deny"\n[[rules]]\nid = "b"\nefect = "deny"', "toml:6: unknown key `rules.1.efect`"),
        ('[[rules]]\nid = "a"\neffect = "hold"\ndeadline = "soon"', 'a duration looks like "250ms"'),
        ('[[rules]]\nid = "a"\neffect = "deny"\nsql = { argumet = "q" }', "`rules.0.sql.argumet`. Did you mean `argument`?"),
        ('[scopes."Not A Name"]\ntools = ["*"]', "config.toml:1: `scopes.Not A Name`: must match"),
        ('[roles.a]\nmembers = "everyone"\nscopes = []', "config.toml:2: `roles.a.members`: must be a list"),
        ('[[rules]]\nid = "a"\neffect = "holt"', '`rules.0.effect`: must be "deny", "hold" or "allow". Did you mean "hold"?'),
        ("[console]\nenabled = 3", "config.toml:2: `console.enabled`: must be true or false, and is a number"),
        ("[a.b]\n[a.b]\n", "config.toml:2: this is not TOML: Cannot declare `a.b` twice"),
        ("[listen\n", "config.toml:1: this is not TOML"),
        ('folder = "/etc"', "config.toml:1: unknown key `folder`"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_text(text, Path())
    assert complaint in str(caught.value)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        from_text("nme = 1\n[listen]\nprt = 1\n", Path())
    assert len(str(caught.value).splitlines()) == 2


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.toml: there is no such file") as caught:
        load(tmp_path)
    assert "mcpgw init" in caught.value.hint


def test_the_environment_overrides_one_key_and_leaves_its_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCPGW_LISTEN__PORT", "9000")
    monkeypatch.setenv("MCPGW_API_KEY", "mcpgw_x_y")
    settings = from_text('[listen]\nhost = "::1"\nport = 1\n', Path("/srv"))
    assert (settings.listen.host, settings.listen.port) == ("::1", 9000)
    assert settings.data_dir == Path("/srv/data")


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("MCPGW_LISTEN__PORT", "many", "environment: MCPGW_LISTEN__PORT: `listen.port`: must be a whole number, and is a text"),
        ("MCPGW_LISTEN__PRT", "9000", "environment: MCPGW_LISTEN__PRT: unknown key `listen.prt`. Did you mean `port`?"),
        ("MCPGW_LISTEN", '{"port": "many"}', "environment: MCPGW_LISTEN: `listen.port`: must be"),
        ("MCPGW_LISTEN", "port=9000", "environment: MCPGW_LISTEN: this is not JSON"),
        ("MCPGW_APPROVAL__BUDGET", "soon", "environment: MCPGW_APPROVAL__BUDGET: `approval.budget`: a duration looks like"),
        ("MCPGW_LISTEN", '{"host": "::1"}', "config.toml:3: `listen.max_sessions`: must be"),
    ],
)
def test_a_wrong_value_in_the_environment_names_its_variable_and_not_the_file(
    variable: str, value: str, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    wrong = 'max_sessions = "none"' if "max_sessions" in complaint else "port = 8000"
    with pytest.raises(ConfigError) as refused:
        from_text(f"[listen]\n# a comment\n{wrong}\n", Path("/srv/gateway"))
    assert str(refused.value).startswith(complaint)


@pytest.mark.parametrize("variable", ["MCPGW_LISTN__PORT", "MCPGW_FOLDER"])
def test_a_typo_in_the_environment_is_an_error(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "1")
    with pytest.raises(ConfigError, match=f"environment: {variable}: unknown variable"):
        from_text("", Path())


@pytest.mark.parametrize(("text", "value"), [("250ms", 0.25), ("90s", 90), ("15m", 900), ("1h", 3600), ("2d", 172800)])
def test_durations(text: str, value: float) -> None:
    assert from_text(f'[approval]\ndeadline = "{text}"', Path()).approval.deadline == value


RECIPIENT = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"


def test_recipients_of_the_vault_are_public_keys() -> None:
    text = f'[vault]\nmode = "sealed"\nrecipients = ["{RECIPIENT}"]'
    assert from_text(text, Path()).vault.recipients == [RECIPIENT]


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ('mode = "sealed"', r"config.toml:1: `vault`: mode = \"sealed\" needs recipients"),
        ('recipients = ["age1nobody"]', "config.toml:2: `vault.recipients`: number 1 is no X25519 recipient"),
        (f'recipients = [\n"{RECIPIENT[:-1]}q"]', "number 1 is no X25519 recipient"),
        (f'recipients = ["{RECIPIENT}", "AGE-SECRET-KEY-1QQ"]', "number 2 is a private key"),
    ],
)
def test_what_is_no_public_key_of_age_is_refused_and_not_quoted(table: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as refused:
        from_text(f"[vault]\n{table}", Path())
    assert "SECRET-KEY" not in str(refused.value) and "nobody," not in str(refused.value)


def test_the_template_that_init_writes_is_valid_and_all_its_comments_are_too() -> None:
    text = (ROOT / "mcpgw/cli/templates/config.toml").read_text().replace("@@ORIGIN@@", "example.com/log")
    assert from_text(text, Path()).roles["user"].scopes == ["everything"]
    commented = [line.removeprefix("# ") for line in text.splitlines()]
    opened = "\n".join(line for line in commented if line.startswith(("[", "id =", "effect =", "tools =", "sql =", "when =")))
    rules = from_text(opened[opened.index("[[rules]]") : opened.index("[approval]")], Path()).rules
    assert [rule.id for rule in rules] == ["large-transfers", "no-ddl"]


def test_the_folder_for_development_is_valid() -> None:
    assert load(ROOT).ledger.origin == "mcpgw.local/development"
    assert [*Registry(ROOT / "catalog").servers] == ["bank", "time"]


def test_the_configuration_page_is_what_the_settings_say() -> None:
    page = runpy.run_path(str(ROOT / "scripts/config_docs.py"))["page"]()
    assert (ROOT / "docs/configuration.md").read_text() == page, "run scripts/config_docs.py > docs/configuration.md"


def test_settings_are_frozen() -> None:
    with pytest.raises(Exception, match="frozen"):
        from_text("", Path()).name = "other"  # type: ignore[misc]
    assert "folder" not in Settings(folder=Path()).model_dump()
