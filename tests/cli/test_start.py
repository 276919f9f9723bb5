"""What stops a gateway at its start is told in one sentence, with what to do, by `serve` and, where it can be, by `check`."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mcpgw.cli.init import make_keys

BOUND_S = 60

CONFIG = """\
[listen]
host = "{host}"
port = {port}
{more}
[ledger]
origin = "start.example/ledger"

[redaction]
model = "none"
"""


def folder_at(path: Path, *, host: str = "127.0.0.1", port: int = 0, more: str = "") -> Path:
    (path / "catalog").mkdir(parents=True)
    (path / "config.toml").write_text(CONFIG.format(host=host, port=port, more=more), encoding="utf-8")
    make_keys(path)
    return path


def run(folder: Path, *verbs: str) -> tuple[int, str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MCPGW_")}
    command = [sys.executable, "-m", "mcpgw", *verbs]
    done = subprocess.run(
        command, cwd=folder, env={**environ, "COLUMNS": "240"}, capture_output=True, text=True, timeout=BOUND_S
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done.returncode, done.stdout + done.stderr


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        code, told = run(folder_at(tmp_path / "g", port=port), "serve")
    assert code == 2
    assert f"mcpgw: 127.0.0.1:{port}: cannot be listened on" in told
    assert "Is a gateway running already?" in told


def test_a_host_that_is_not_ours_is_named(tmp_path: Path) -> None:
    code, told = run(folder_at(tmp_path / "g", host="nosuch.invalid"), "serve")
    assert code == 2
    assert "mcpgw: nosuch.invalid:0: cannot be listened on" in told


@pytest.mark.parametrize("verb", ["serve", "check"])
def test_a_desk_key_that_is_lost_or_damaged_is_named(tmp_path: Path, verb: str) -> None:
    folder = folder_at(tmp_path / "g")
    (folder / "keys/desk.key").write_bytes(b"short")
    code, told = run(folder, verb)
    assert code in (1, 2)
    assert "the desk's key has 5 bytes; it must have 32" in told
    (folder / "keys/desk.key").unlink()
    code, told = run(folder, verb)
    assert code in (1, 2)
    assert "keys/desk.key: the key cannot be read: No such file or directory" in told


@pytest.mark.parametrize("verb", ["serve", "check"])
def test_a_certificate_that_cannot_be_used_is_named(tmp_path: Path, verb: str) -> None:
    folder = folder_at(tmp_path / "g", more='tls_certificate = "server.pem"')
    code, told = run(folder, verb)
    assert code in (1, 2)
    assert "server.pem: certificate or key cannot be used: No such file or directory" in told
    assert "listen.tls_key" in told


@pytest.mark.parametrize("verb", ["serve", "check"])
def test_callers_without_a_credential_are_refused_beyond_loopback(tmp_path: Path, verb: str) -> None:
    folder = folder_at(tmp_path / "g", host="0.0.0.0", more="[identity]\nunsafe_allow_anonymous = true")
    code, told = run(folder, verb)
    assert code in (1, 2)
    assert "unsafe_allow_anonymous is for loopback, and this listens on '0.0.0.0'" in told


def test_a_file_where_the_data_folder_should_be_is_named(tmp_path: Path) -> None:
    folder = folder_at(tmp_path / "g")
    (folder / "data").write_text("not a folder")
    hint = "       Set `data` in config.toml to a folder that whoever runs the gateway may write to.\n"
    assert run(folder, "serve") == (2, f"mcpgw: data: this cannot be the data folder: File exists\n{hint}")


def test_a_person_without_a_credential_is_told_what_people_do(tmp_path: Path) -> None:
    code, told = run(folder_at(tmp_path / "g"), "approvals", "list")
    assert code == 1
    assert "--kind human" in told and "--key-file" in told and "client" not in told


def test_help_is_plain_whole_and_the_same_however_the_program_is_started() -> None:
    script = Path(sys.executable).with_name("mcpgw")
    told = []
    for command in ([str(script)], [sys.executable, "-X", "importtime", "-m", "mcpgw"]):
        for arguments in (["--help"], ["no-such-verb"]):
            environ = {**os.environ, "COLUMNS": "80"}
            done = subprocess.run([*command, *arguments], env=environ, capture_output=True, text=True, timeout=BOUND_S)
            said = "\n".join(line for line in done.stderr.splitlines() if not line.startswith("import time:"))
            told.append((done.returncode, done.stdout, said.strip()))
            if "importtime" in command:
                assert not re.search(r"\| +rich$", done.stderr, re.MULTILINE), "rich takes as long as all the rest of help"
    assert told[:2] == told[2:]
    assert "Usage: mcpgw [OPTIONS] COMMAND" in told[0][1] and "..." not in told[0][1].partition("Commands:")[2]
    assert told[1][0] == 2 and "mcpgw --help" in told[1][2]


def test_that_nothing_differs_is_said(tmp_path: Path) -> None:
    told = "The catalog has no servers, so there is nothing to compare.\n"
    assert run(folder_at(tmp_path / "g"), "catalog", "diff") == (0, told)


def test_a_damaged_key_file_is_found_by_check(tmp_path: Path) -> None:
    folder = folder_at(tmp_path / "g")
    (folder / "keys/api_keys.json").write_text("{bad")
    (folder / "keys/api_keys.json").chmod(0o600)
    code, told = run(folder, "check")
    assert code == 1
    assert "keys/api_keys.json: the key file is damaged" in told


def test_what_serve_needs_before_its_redactor_loads_is_little() -> None:
    heavy = {"mcp", "starlette", "apsw", "cel_expr_python", "joserfc", "jinja2", "spacy"}
    code = f"import mcpgw.cli.serve, sys; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=BOUND_S, check=True)
    assert done.stdout.strip() == "[]"
