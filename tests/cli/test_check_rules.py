"""What `mcpgw check` says of rules: which decide nothing, which nobody can vote under, which are about no tool."""

from pathlib import Path

import pytest

from tests.cli.test_start import folder_at, run

RULE = """
[roles.tellers]
members = ["group:tellers"]
scopes = ["all"]

[scopes.all]
tools = ["*"]

[[rules]]
id = "people-look"
effect = "hold"
tools = ["bank__look*"]
approvers = ["group:leads"]
"""
OBSERVED = "Rules that are tried out and decide nothing: people-look."
NOBODY = "Nobody can vote under people-look: a recent sign-in is asked for, and there is no identity provider."
IDLE = "The rule people-look is about nothing that is published."


@pytest.mark.parametrize(
    ("more", "warnings"),
    [
        ("", [IDLE]),
        ('mode = "observe"\n', [OBSERVED, IDLE]),
        ('max_auth_age = "15m"\n', [NOBODY, IDLE]),
        ('amr = ["mfa"]\nmode = "observe"\n', [OBSERVED, NOBODY, IDLE]),
        (
            'amr = ["mfa"]\n\n[[identity.issuers]]\nissuer = "https://idp.example"\naudience = ["https://gateway.example/mcp"]\n',
            [IDLE],
        ),
    ],
    ids=["plain", "observed", "fresh", "both", "with a provider"],
)
def test_check_warns_of_a_rule_that_does_not_do_what_it_seems_to(more: str, warnings: list[str], tmp_path: Path) -> None:
    _, told = run(folder_at(tmp_path / "g", more=RULE + more), "check")
    assert "1 roles, 1 scopes, 1 rules" in told
    assert [warning for warning in (OBSERVED, NOBODY, IDLE) if warning in told] == warnings
