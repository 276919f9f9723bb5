"""What `--help` says: whole sentences, the field's words and no type of Python, and examples that can be typed."""

import shlex
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from mcpgw.cli.main import VERBS, build

EXAMPLES = [example for verb in VERBS for example in verb.examples]


def told(*words: str) -> str:
    return CliRunner(env={"COLUMNS": "100"}).invoke(build(words), [*words, "--help"]).output


@pytest.mark.parametrize("verb", [verb.name for verb in VERBS])
def test_help_has_no_type_of_python_and_cuts_nothing_off(verb: str) -> None:
    said = told(verb)
    assert said.startswith("Usage: ")
    assert "list[" not in said
    assert "..." not in said.replace("[ARGS]...", "")


@pytest.mark.parametrize("example", EXAMPLES)
def test_each_example_can_be_typed(example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("evidence.zip", "ledger.pub", "kept.checkpoint"):
        Path(name).touch()
    verb, *rest = words = shlex.split(example)
    command = typer.main.get_command(build(words)).commands[verb]  # type: ignore[attr-defined]  # it is a group
    if family := getattr(command, "commands", None):
        name, *rest = rest
        command = family[name]
    command.make_context(verb, rest)
    assert f"mcpgw {example}" in told(verb)
