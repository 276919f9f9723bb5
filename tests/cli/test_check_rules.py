"""What `mcpgw check` says of rules: which decide nothing, which nobody can vote under, which are about no tool, or about
no call."""

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
    assert "1 role, 1 scope, 1 rule (" in told
    assert [warning for warning in (OBSERVED, NOBODY, IDLE) if warning in told] == warnings


LOOKING = """
[roles.searchers]
members = ["group:tellers"]
scopes = ["searching"]

[scopes.searching]
tools = ["bank__*", "mcpgw__find_tools", "mcpgw__call_tool"]

[[rules]]
id = "close-nothing"
effect = "deny"
tools = ["{tool}"]
when = "{when}"
"""


def test_check_warns_of_a_rule_that_looks_for_the_inner_tool_in_the_arguments_of_the_outer_one(tmp_path: Path) -> None:
    outer = folder_at(tmp_path / "outer", more=LOOKING.format(tool="mcpgw__call_tool", when="args.name == 'bank__close'"))
    _, told = run(outer, "check")
    assert "config.toml: rules.close-nothing.when: looks at arguments or time of mcpgw__call_tool itself" in told
    assert "Name the inner tool in its `tools`" in told
    inner = folder_at(tmp_path / "inner", more=LOOKING.format(tool="bank__close", when="args.id == 'x'"))
    assert "call_tool itself" not in run(inner, "check")[1]
