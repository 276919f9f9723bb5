"""`mcpgw init`: a folder that works, made from what a client had, with every secret out of sight and nothing overwritten."""

import json
import shlex
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mcpgw.catalog.load import load_catalog
from mcpgw.cli.common import open_folder
from mcpgw.cli.init import Made, initialise
from mcpgw.cli.main import build
from mcpgw.core.errors import ConfigError
from mcpgw.core.model import IdentityKind
from mcpgw.identity.api_keys import ApiKeys
from mcpgw.ledger.keys import load_signer

CLIENT = """{"mcpServers": {
  "Bank": {"command": "uvx", "args": ["mcp-bank", "--api-key", "s3cret-1"], "env": {"BANK_TOKEN": "s3cret-2", "REGION": "eu"}},
  "Docs": {"type": "http", "url": "https://docs.example/mcp", "headers": {"Authorization": "Bearer s3cret-3"}}
}}"""


@pytest.fixture
def client(tmp_path: Path) -> Path:
    path = tmp_path / "claude_desktop_config.json"
    path.write_text(CLIENT)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "gate way"


def made(folder: Path, *imports: Path, force: bool = False, origin: str = "", api_key: str = "") -> Made:
    return initialise(
        folder, imports, origin=origin, force=force, make_keys=lambda _: ["keys/x"], create_api_key=lambda _: api_key
    )


def run(*arguments: str, home: Path, typed: str = "") -> Result:
    words = ["init", *arguments]
    return CliRunner().invoke(build(words), words, env={"HOME": str(home), "USER": "sam", "LOGNAME": "sam"})


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# --- the folder ----------------------------------------------------------------------------------------------------------


def test_the_folder_works_and_its_secrets_are_private(folder: Path, client: Path, tmp_path: Path) -> None:
    result = run(str(folder), "--import", str(client), "--origin", "mcp.bank.example/log", home=tmp_path)

    assert result.exit_code == 0, result.output
    settings = open_folder(folder)
    assert (
        settings.ledger.origin == load_signer(settings.keys_dir, settings.ledger.origin).verifier.name == "mcp.bank.example/log"
    )
    entries = load_catalog(settings.catalog_dir).entries
    assert entries["bank"].resolve(folder, {}).env == {"BANK_TOKEN": "s3cret-2", "REGION": "eu"}
    assert entries["bank"].resolve(folder, {}).args == ("mcp-bank", "--api-key", "s3cret-1")
    assert entries["docs"].resolve(folder, {}).headers == {"Authorization": "Bearer s3cret-3"}
    private = [*(folder / "secrets").iterdir(), *(path for path in (folder / "keys").iterdir() if path.suffix != ".pub")]
    assert len(private) >= 6
    assert all(path.stat().st_mode & 0o077 == 0 for path in private)
    assert (folder / "secrets").stat().st_mode & 0o077 == 0
    assert (folder / ".gitignore").read_text().splitlines() == ["/data/", "/secrets/", "/keys/*", "!/keys/ledger.pub"]


def test_secrets_of_the_client_are_in_no_output_and_in_no_file_but_their_own(
    folder: Path, client: Path, tmp_path: Path
) -> None:
    result = run(str(folder), "--import", str(client), home=tmp_path)

    assert "s3cret" not in result.output
    holders = {name for name, content in contents(folder).items() if b"s3cret" in content}
    assert holders == {"secrets/bank.api-key", "secrets/bank.BANK_TOKEN", "secrets/docs.Authorization"}


def test_the_first_key_is_an_agents_that_acts_for_the_person_and_is_shown_in_the_blocks(folder: Path, tmp_path: Path) -> None:
    result = run(str(folder), home=tmp_path)

    (record,) = ApiKeys(folder / "keys" / "api_keys.json").records()
    assert (record.subject, record.acts_for, record.kind, record.groups) == ("sam-agent", "sam", IdentityKind.AGENT, ("users",))
    block = json.loads(result.output.split("claude_desktop_config.json ---\n")[1].split("\n---")[0])
    server = block["mcpServers"]["mcpgw"]
    assert server["args"] == ["stdio", "-C", str(folder)]
    assert server["env"]["MCPGW_API_KEY"].split("_")[1] == record.id


def test_running_it_again_changes_nothing_and_says_so(folder: Path, client: Path, tmp_path: Path) -> None:
    run(str(folder), "--import", str(client), home=tmp_path)
    (folder / "config.toml").write_text((folder / "config.toml").read_text() + "\n# mine\n")
    (folder / "catalog" / "bank.toml").write_text('transport = "stdio"\ncommand = "mine"\n')
    before = contents(folder)

    again = run(str(folder), "--import", str(client), home=tmp_path)

    assert contents(folder) == before
    assert again.exit_code == 0
    kept = [line for line in again.output.splitlines() if line.startswith("kept")]
    assert kept == [
        "kept      config.toml, as it was",
        "kept      catalog/bank.toml, as it was",
        "kept      catalog/docs.toml, as it was",
        "kept      the API keys that are there; make another with `mcpgw keys create`",
    ]
    assert "YOUR_API_KEY" in again.output and "mcpgw catalog accept --all" not in again.output


def test_force_replaces_what_was_imported_and_keeps_settings_and_keys(folder: Path, client: Path, tmp_path: Path) -> None:
    run(str(folder), "--import", str(client), home=tmp_path)
    before = contents(folder)
    client.write_text(CLIENT.replace("s3cret-2", "s3cret-4"))

    forced = run(str(folder), "--import", str(client), "--force", home=tmp_path)

    assert "replaced  catalog/bank.toml" in forced.output
    after = contents(folder)
    assert {name for name in after if after[name] != before.get(name)} == {"secrets/bank.BANK_TOKEN"}


def test_the_folder_may_be_the_one_we_are_in(client: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)

    result = run("--import", str(client), home=tmp_path)

    assert (here / "config.toml").exists()
    assert "  mcpgw catalog diff      what the imported servers offer" in result.output


def test_lines_of_an_existing_gitignore_stay(folder: Path) -> None:
    folder.mkdir()
    (folder / ".gitignore").write_text("*.tmp\n/data/")

    assert "extended  .gitignore" in made(folder).lines
    assert (folder / ".gitignore").read_text() == "*.tmp\n/data/\n/secrets/\n/keys/*\n!/keys/ledger.pub\n"
    assert not any(".gitignore" in line for line in made(folder).lines)


def test_every_folder_gets_an_origin_of_its_own(folder: Path, tmp_path: Path) -> None:
    made(folder)
    made(tmp_path / "other")
    made(tmp_path / "日本")

    origins = [open_folder(tmp_path / name).ledger.origin for name in ("gate way", "other", "日本")]
    assert [origin.rpartition("-")[0] for origin in origins] == [
        "mcpgw.local/gate-way",
        "mcpgw.local/other",
        "mcpgw.local/gateway",
    ]


def test_an_origin_that_cannot_name_a_log_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="--origin: the origin cannot name a log"):
        made(folder, origin='x"\nname = "y')

    assert not (folder / "config.toml").exists()


# --- import --------------------------------------------------------------------------------------------------------------


def test_files_that_cannot_be_read_are_told_and_the_others_imported(folder: Path, client: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_bytes(b"\xff")
    (tmp_path / "odd.json").write_text("{}")

    result = made(folder, tmp_path / "none.json", tmp_path / "bad.json", tmp_path / "odd.json", client)

    assert [line for line in result.lines if line.startswith("FAILED")] == [
        f"FAILED    {tmp_path}/none.json cannot be read: No such file or directory",
        f"FAILED    {tmp_path}/bad.json cannot be read: it is not UTF-8 text",
        f"FAILED    {tmp_path}/odd.json: holds none of mcpServers, servers, mcp or mcp_servers."
        " Name a client's configuration file.",
    ]
    assert result.failures == 3
    assert result.imported == ["bank", "docs"]


def test_a_failed_import_fails_the_command(folder: Path, tmp_path: Path) -> None:
    result = run(str(folder), "--import", str(tmp_path / "none.json"), home=tmp_path)

    assert result.exit_code == 1
    assert (folder / "config.toml").exists()


def test_a_server_that_makes_no_valid_entry_is_told_and_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"mcpServers": {"x": {"url": "ftp://h.example", "headers": {"X-Key": "s3cret"}}}}')

    result = made(folder, tmp_path / "a.json")

    assert "FAILED    x was not imported: `url` must be an address that begins with https:// or http://." in result.lines
    assert list((folder / "catalog").iterdir()) == []
    assert not (folder / "secrets").exists()


def test_the_same_server_of_two_clients_is_imported_once_and_another_of_its_name_gets_a_number(
    folder: Path, client: Path, tmp_path: Path
) -> None:
    (tmp_path / "same.json").write_text(CLIENT)
    (tmp_path / "other.json").write_text('{"mcpServers": {"bank": {"command": "other"}}}')

    result = made(folder, client, tmp_path / "same.json", tmp_path / "other.json")

    assert result.imported == ["bank", "docs", "bank-2"]
    assert "skipped   Bank of same.json: it is the same as one imported before" in result.lines


def test_a_secret_that_is_in_the_way_is_not_overwritten(folder: Path, client: Path) -> None:
    (folder / "secrets").mkdir(parents=True)
    (folder / "secrets" / "bank.BANK_TOKEN").write_text("rotated\n")

    result = made(folder, client)

    assert result.imported == ["docs"]
    assert any("secrets/bank.BANK_TOKEN is there with another content" in line for line in result.lines)
    assert (folder / "secrets" / "bank.BANK_TOKEN").read_text() == "rotated\n"


def test_what_an_admin_should_look_at_is_said(folder: Path, client: Path) -> None:
    assert (
        "look      bank: mcp-bank has no version: pin one, or an update changes what was accepted."
        in made(folder, client).lines
    )


def test_clients_that_are_there_are_mentioned_and_nothing_of_them_is_taken(folder: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / ".cursor").mkdir(parents=True)
    (home / ".cursor" / "mcp.json").write_text(CLIENT)
    (home / ".claude.json").write_text('{"mcpServers": {}}')
    (home / ".gemini").mkdir()
    (home / ".gemini" / "settings.json").write_text("not JSON")

    result = run(str(folder), home=home)
    command = shlex.join(["mcpgw", "init", str(folder), "--import", f"{home}/.cursor/mcp.json"])
    assert f"found     Cursor has 2 servers: {command}\n" in result.output
    assert f"  mcpgw serve -C {shlex.quote(str(folder))}\n" in result.output
    assert result.output.count("found ") == 1
    assert list((folder / "catalog").iterdir()) == []

    imported = run(str(folder), "--import", str(home / ".cursor" / "mcp.json"), home=home)
    assert "found " not in imported.output


def test_the_block_names_the_command_in_full(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = tmp_path / "bin" / "mcpgw"
    command.parent.mkdir()
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(command)])

    assert f'"command": {json.dumps(str(command))}' in run(str(folder), home=tmp_path).output
