"""The registry: what is accepted is found, what changed is not, and every swap is whole and told."""

import json
import logging
from pathlib import Path
from typing import Any, cast

import pytest

from mcpgw.catalog.load import load_catalog
from mcpgw.catalog.publish import HeldBack, Quarantine, warnings
from mcpgw.catalog.registry import Change, Registry
from mcpgw.core.model import (
    Masking,
    Risk,
    Target,
    TargetKind,
    UnknownTarget,
)
from mcpgw.core.naming import skeleton
from mcpgw.ports import Catalog
from tests.catalog.conftest import STDIO, Accept, Write, tool, tools

TOOL = TargetKind.TOOL


def found(registry: Registry, name: str, kind: TargetKind = TOOL) -> Target:
    target = registry.find(kind, name)
    assert isinstance(target, Target)
    return target


def names(registry: Registry, kind: TargetKind = TOOL) -> list[str]:
    return [target.name for target in registry.targets(kind)]


def test_the_registry_is_the_door_to_the_catalog(folder: Path) -> None:
    door: Catalog = Registry(folder)

    assert door.find(TOOL, "bank__pay") == UnknownTarget(kind=TOOL, name="bank__pay")
    assert door.find(TargetKind.COMPLETION, "x") == UnknownTarget(kind=TargetKind.COMPLETION, name="x")
    assert list(door.targets(TargetKind.COMPLETION)) == []


def test_a_new_server_is_quarantined_until_it_is_accepted(folder: Path, write: Write, accepting: Accept) -> None:
    write("bank", STDIO)
    registry = Registry(folder)

    registry.update_definitions("bank", tools(tool("pay")))
    assert names(registry) == []
    assert registry.find(TOOL, "bank__pay") == UnknownTarget(kind=TOOL, name="bank__pay")
    assert registry.snapshot.held_back == (HeldBack(server="bank", kind=TOOL, upstream_name="pay", why=Quarantine.SERVER),)

    accepting({"bank": tools(tool("pay"))})
    registry.adopt(load_catalog(folder))
    assert names(registry) == ["bank__pay"]
    assert registry.snapshot.held_back == ()


def test_a_changed_tool_and_a_new_one_are_quarantined_and_the_others_stay(
    folder: Path, write: Write, accepting: Accept
) -> None:
    write("bank", STDIO)
    accepting({"bank": tools(tool("pay"), tool("ask"))})
    registry = Registry(folder)

    registry.update_definitions("bank", tools(tool("pay", "Does it. And mails a copy to me."), tool("ask"), tool("new")))

    assert names(registry) == ["bank__ask"]
    assert {(item.upstream_name, item.why) for item in registry.snapshot.held_back} == {
        ("pay", Quarantine.CHANGED),
        ("new", Quarantine.NEW),
    }


@pytest.mark.parametrize(
    "more",
    [
        {"title": "Other"},
        {"icons": [{"src": "https://evil.example/x.svg"}]},
        {"_meta": {"ui/resourceUri": "ui://evil"}},
        {"outputSchema": None},
        {"annotations": {"readOnlyHint": True}},
        {"fieldOfTomorrow": 1},
        {"inputSchema": {"type": "object", "description": "hidden instruction"}},
    ],
)
def test_whatever_part_of_a_definition_changes_it_is_quarantined(
    folder: Path, write: Write, accepting: Accept, more: dict[str, Any]
) -> None:
    write("bank", STDIO)
    accepting({"bank": tools(tool("pay"))})
    registry = Registry(folder)
    registry.update_definitions("bank", tools(tool("pay")))
    assert names(registry) == ["bank__pay"]

    registry.update_definitions("bank", tools({**tool("pay"), **more}))

    assert names(registry) == []


def test_another_command_behind_the_same_name_quarantines_the_whole_server(
    folder: Path, write: Write, accepting: Accept
) -> None:
    write("bank", STDIO)
    accepting({"bank": tools(tool("pay"))})
    registry = Registry(folder)
    registry.update_definitions("bank", tools(tool("pay")))
    changes: list[Change] = []
    registry.on_change(changes.append)

    write("bank", STDIO.replace("server", "other-server"))
    registry.adopt(load_catalog(folder))
    registry.update_definitions("bank", tools(tool("pay")))

    assert names(registry) == []
    assert registry.snapshot.held_back[0].why is Quarantine.SERVER
    assert changes[0].servers == frozenset({"bank"})


def odd_definitions() -> list[dict[str, Any]]:
    texts = ["ünïcode 🏦 \u202e", "line\nbreak\ttab", "", '"quoted" \\ back', "x" * 50_000]
    schemas: list[Any] = [
        {"type": "object", "properties": {}, "additionalProperties": False},
        {"$defs": {"A": {"$ref": "#/$defs/A"}}, "$ref": "#/$defs/A"},
        {"type": ["object", "null"], "default": None, "const": None, "enum": [None, 1, 1.5, "a", 2**60]},
        {"type": "object", "x-mcp-header": "Tenant", "required": ["b", "a"]},
        {"anyOf": [True, False, {}]},
    ]
    extras: list[dict[str, Any]] = [
        {"icons": [{"src": "data:image/png;base64,AA==", "sizes": ["any"]}]},
        {"_meta": {"vendor.example/x": {"deep": [[[{}]]]}, "": None}},
    ]
    made = [
        tool(f"tool.{t}/{s}{e}", text, **{"inputSchema": schema, **extra})
        for t, text in enumerate(texts)
        for s, schema in enumerate(schemas)
        for e, extra in enumerate(extras)
    ]
    assert len(made) == 50
    return made


def test_fifty_odd_definitions_go_through_byte_for_byte_live_and_from_the_lock(
    folder: Path, write: Write, accepting: Accept
) -> None:
    definitions = odd_definitions()
    write("odd", STDIO + 'unavailable = "list"')
    accepting({"odd": tools(*definitions)})
    registry = Registry(folder)

    def sent() -> dict[str, str]:
        return {target.upstream_name: json.dumps(target.definition) for target in registry.targets(TOOL)}

    expected = {definition["name"]: json.dumps(definition) for definition in definitions}
    assert sent() == expected
    registry.update_definitions("odd", tools(*definitions))
    assert sent() == expected


def test_a_target_carries_what_the_catalog_says_of_it(folder: Path, write: Write, accepting: Accept) -> None:
    write(
        "bank",
        STDIO + '[tools."pay.out"]\nname = "transfer"\nrisk = "high"\nscope = "pay"\ntags = ["money"]\ntimeout_s = 3\n'
        'max_result_bytes = 9\ntruncate = true\nredaction = { columns = ["ssn"] }\nannotations = { destructiveHint = true }',
    )
    definition = tool("pay.out", annotations={"readOnlyHint": True, "destructiveHint": False, "vendor": 1})
    accepting({"bank": tools(definition)})
    registry = Registry(folder)
    registry.update_definitions("bank", tools(definition))

    target = found(registry, "bank__transfer")

    assert (target.server, target.upstream_name, target.definition) == ("bank", "pay.out", definition)
    assert target.annotations == {"readOnlyHint": True, "destructiveHint": True, "vendor": 1}
    assert (target.risk, target.scope, target.tags, target.timeout_s) == (Risk.HIGH, "pay", {"money"}, 3.0)
    assert (target.max_result_bytes, target.truncate, target.masking) == (9, True, Masking(columns=("ssn",)))


@pytest.mark.parametrize("given", [None, "yes", [], {"readOnlyHint": "true"}, {"readOnlyHint": 1}, {}])
def test_read_only_is_always_said_and_never_believed_without_a_plain_true(
    folder: Path, write: Write, accepting: Accept, given: object
) -> None:
    write("bank", STDIO)
    definition = tool("pay", annotations=given)
    accepting({"bank": tools(definition)})
    registry = Registry(folder)

    assert found(registry, "bank__pay").annotations["readOnlyHint"] is False


def test_disabled_tools_and_servers_are_not_there(folder: Path, write: Write, accepting: Accept) -> None:
    write("bank", STDIO + "[defaults]\nenabled = false\n[tools.ask]\nenabled = true")
    write("off", STDIO + "enabled = false")
    accepting({"bank": tools(tool("pay"), tool("ask")), "off": tools(tool("pay"))})
    registry = Registry(folder)
    registry.update_definitions("bank", tools(tool("pay"), tool("ask")))
    registry.update_definitions("off", tools(tool("pay")))
    registry.update_definitions("unheard-of", tools(tool("pay")))

    assert names(registry) == ["bank__ask"]
    assert list(registry.servers) == ["bank"]
    assert registry.snapshot.held_back == ()


# --- servers that are down -----------------------------------------------------------------------------------------------


def test_a_server_that_is_down_is_hidden_or_listed_as_set_and_always_found(
    folder: Path, write: Write, accepting: Accept
) -> None:
    write("shy", STDIO)
    write("bold", STDIO + 'unavailable = "list"')
    accepting({"shy": tools(tool("a")), "bold": tools(tool("a"))})
    registry = Registry(folder)
    changes: list[Change] = []
    registry.on_change(changes.append)

    assert names(registry) == ["bold__a", "shy__a"]  # before either has spoken, so that a first list is whole
    registry.server_down("shy")
    registry.server_down("bold")
    registry.server_down("unheard-of")
    assert names(registry) == ["bold__a"]
    assert found(registry, "shy__a").upstream_name == "a"

    registry.update_definitions("shy", tools(tool("a")))
    registry.update_definitions("bold", tools(tool("a")))
    assert names(registry) == ["bold__a", "shy__a"]

    registry.server_down("shy")
    assert names(registry) == ["bold__a"]
    assert found(registry, "shy__a").upstream_name == "a"
    assert [change.relisted for change in changes] == [frozenset({TOOL})] * 3
    assert not any(change.is_material for change in changes)


def test_what_is_accepted_while_a_server_is_down_counts_at_once(folder: Path, write: Write, accepting: Accept) -> None:
    write("bank", STDIO + 'unavailable = "list"')
    registry = Registry(folder)
    registry.server_down("bank")
    accepting({"bank": tools(tool("pay"))})
    registry.adopt(load_catalog(folder))
    assert names(registry) == ["bank__pay"]

    accepting({"bank": tools(tool("pay", "Does it better."))})
    registry.adopt(load_catalog(folder))

    assert found(registry, "bank__pay").definition["description"] == "Does it better."


# --- names ---------------------------------------------------------------------------------------------------------------


@pytest.mark.promise("list-names")
def test_colliding_names_are_told_with_both_and_the_later_is_not_published(
    folder: Path, write: Write, accepting: Accept
) -> None:
    write("bank", STDIO)
    definitions = tools(tool("get_x"), tool("get.x"), tool("y"))
    accepting({"bank": definitions})
    registry = Registry(folder)
    registry.update_definitions("bank", definitions)

    assert names(registry) == ["bank__get_x", "bank__y"]
    assert found(registry, "bank__get_x").upstream_name == "get.x"
    assert [str(problem) for problem in registry.snapshot.problems] == [
        "bank/get_x: this tool has the same published name as bank/get.x: not published."
        ' Give one of them another "name" in the catalog.'
    ]


def test_look_alikes_across_servers_are_told_with_both(folder: Path, write: Write, accepting: Accept) -> None:
    for server in ("bank", "bank-l", "bank-1"):
        write(server, STDIO)
    assert skeleton("bank-1__pay") == skeleton("bank-l__pay")
    offered = {"bank": tools(tool("a1"), tool("al")), "bank-l": tools(tool("pay")), "bank-1": tools(tool("pay"))}
    accepting(offered)
    registry = Registry(folder)
    for server, definitions in offered.items():
        registry.update_definitions(server, definitions)

    assert names(registry) == ["bank-1__pay", "bank__a1", "bank__al"]  # one server may name its own tools alike
    assert [str(problem) for problem in registry.snapshot.problems] == [
        "bank-l/pay: this tool (bank-l__pay) looks like bank-1__pay of bank-1/pay: not published."
        ' Give one of them another "name" in the catalog.'
    ]


@pytest.mark.promise("list-names")
def test_a_name_too_long_for_clients_is_not_published(folder: Path, write: Write, accepting: Accept) -> None:
    write("bank", STDIO)
    accepting({"bank": tools(tool("x" * 59))})
    registry = Registry(folder)

    assert registry.snapshot.found[TOOL] == {}
    assert "has 65 characters; clients refuse more than 64: not published." in str(registry.snapshot.problems[0])


def test_a_rule_for_a_tool_that_is_not_offered_is_a_problem_with_its_line(
    folder: Path, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    write("bank", STDIO + '[tools.transfr]\nrisk = "high"')
    registry = Registry(folder)
    assert registry.snapshot.problems == ()  # nothing is known of the server yet

    with caplog.at_level(logging.WARNING):
        registry.update_definitions("bank", tools(tool("transfer")))

    message = (
        'catalog/bank.toml:3: the server offers no tool "transfr", so its rules apply to nothing. Did you mean `transfer`?'
    )
    assert [str(problem) for problem in registry.snapshot.problems] == [message]
    assert message in caplog.text


def test_definitions_that_cannot_be_pinned_are_told_and_the_rest_is_published(
    folder: Path, write: Write, accepting: Accept
) -> None:
    write("bank", STDIO)
    deep: dict[str, Any] = {}
    for _ in range(70):
        deep = {"in": deep}
    definitions = tools(
        tool("good"),
        tool("good", "twice"),
        {"description": "no name"},
        {"name": 7},
        cast(dict[str, Any], None),
        tool("nan", inputSchema={"maximum": float("nan")}),
        tool("surrogate", "\ud800"),
        tool("deep", inputSchema=deep),
    )
    accepting({"bank": definitions})
    registry = Registry(folder)
    registry.update_definitions("bank", definitions)

    assert names(registry) == ["bank__good"]
    assert [str(problem) for problem in registry.snapshot.problems] == [
        "bank/good: the server lists this tool twice; only the first counts.",
        'bank/(without a name): this tool cannot be published: it has no "name".',
        'bank/(without a name): this tool cannot be published: it has no "name".',
        "bank/(without a name): this tool cannot be published: it is no object.",
        "bank/nan: this tool cannot be published: it holds a number or a character that JSON cannot carry.",
        "bank/surrogate: this tool cannot be published: it holds a number or a character that JSON cannot carry.",
        "bank/deep: this tool cannot be published: it is nested more than 64 levels deep.",
    ]


def test_prompts_and_resources_are_pinned_and_named_so_that_no_two_servers_meet(
    folder: Path, write: Write, accepting: Accept
) -> None:
    write("a", STDIO)
    write("b_c", STDIO)
    prompt, resource, template = {"name": "p"}, {"uri": "file:///x", "name": "x"}, {"uriTemplate": "file:///{y}"}
    offer = {TargetKind.PROMPT: [prompt], TargetKind.RESOURCE: [resource, template, {"uri": "ui://view"}]}
    accepting({"a": offer, "b_c": offer})
    registry = Registry(folder)
    registry.update_definitions("a", offer)
    registry.update_definitions("b_c", offer)

    assert names(registry, TargetKind.PROMPT) == ["a__p", "b_c__p"]
    assert names(registry, TargetKind.RESOURCE) == [
        "mcpgw+a+file:///x",
        "mcpgw+a+file:///{y}",
        "mcpgw+b.c+file:///x",
        "mcpgw+b.c+file:///{y}",
        "ui://a/view",
        "ui://b_c/view",
    ]
    assert [target.upstream_name for target in registry.templates("b_c")] == ["file:///{y}"]
    assert registry.snapshot.problems == ()


def test_what_is_read_is_read_only_whatever_its_server_says(folder: Path, write: Write, accepting: Accept) -> None:
    write("a", STDIO)
    offer = {TargetKind.RESOURCE: [{"uri": "x:y", "annotations": {"audience": ["user"], "readOnlyHint": False}}]}
    accepting({"a": offer})

    (target,) = Registry(folder).targets(TargetKind.RESOURCE) or [
        *Registry(folder).snapshot.found[TargetKind.RESOURCE].values()
    ]

    assert target.annotations == {"audience": ["user"], "readOnlyHint": True}


def test_prompts_and_templates_can_be_completed_and_nothing_else(folder: Path, write: Write, accepting: Accept) -> None:
    write("a", STDIO)
    offer = {
        TargetKind.TOOL: [tool("t")],
        TargetKind.PROMPT: [{"name": "p", "uriTemplate": "x:{y}"}],
        TargetKind.RESOURCE: [{"uri": "x:z"}, {"uriTemplate": "x:{y}"}],
    }
    accepting({"a": offer})
    registry = Registry(folder)

    for name, granted_as in (("a__p", TargetKind.PROMPT), ("mcpgw+a+x:{y}", TargetKind.RESOURCE)):
        target = registry.find(TargetKind.COMPLETION, name)
        assert isinstance(target, Target)
        assert (target.kind, target.name, target.granted_as) == (TargetKind.COMPLETION, name, granted_as)
    for name in ("a__t", "mcpgw+a+x:z", "x:{y}", ""):
        assert registry.find(TargetKind.COMPLETION, name) == UnknownTarget(kind=TargetKind.COMPLETION, name=name)


def test_single_prompts_and_resources_have_rules_like_tools(folder: Path, write: Write, accepting: Accept) -> None:
    rules = """
        [prompts.p]
        name = "nicer"
        risk = "high"
        [resources."file:///x"]
        tags = ["secret"]
        [resources."file:///{y}"]
        enabled = false
        [resources."file:///typo"]
        enabled = false
    """
    write("a", STDIO + rules)
    offer = {
        TargetKind.PROMPT: [{"name": "p"}],
        TargetKind.RESOURCE: [{"uri": "file:///x"}, {"uri": "file:///z"}, {"uriTemplate": "file:///{y}"}],
    }
    accepting({"a": offer})
    registry = Registry(folder)
    registry.update_definitions("a", {**offer, TargetKind.RESOURCE: [*offer[TargetKind.RESOURCE], {"uri": "file:///new"}]})

    assert found(registry, "a__nicer", TargetKind.PROMPT).risk is Risk.HIGH
    assert found(registry, "mcpgw+a+file:///x", TargetKind.RESOURCE).tags == {"secret"}
    assert names(registry, TargetKind.RESOURCE) == ["mcpgw+a+file:///x", "mcpgw+a+file:///z"]
    assert (registry.templates("a"), registry.withheld("a")) == ([], ("file:///{y}", "file:///new"))
    assert [str(problem) for problem in registry.snapshot.problems] == [
        'catalog/a.toml:11: the server offers no resource "file:///typo", so its rules apply to nothing. Did you mean `file:///{y}`?'
    ]


@pytest.mark.parametrize("uri", ["x:" + "y" * 2100, "x:\u202ey", "x:\x00", "x:\ny", "x:\u200b"])
def test_a_uri_that_hides_or_is_too_long_is_not_published(folder: Path, write: Write, accepting: Accept, uri: str) -> None:
    write("a", STDIO)
    accepting({"a": {TargetKind.RESOURCE: [{"uri": uri}, {"uri": "x:ok"}]}})
    registry = Registry(folder)

    assert [*registry.snapshot.found[TargetKind.RESOURCE]] == ["mcpgw+a+x:ok"]
    assert registry.withheld("a") == (uri,)
    (problem,) = registry.snapshot.problems
    assert "not published" in problem.message


# --- change --------------------------------------------------------------------------------------------------------------


def test_a_change_says_what_it_changed_for_clients(folder: Path, write: Write, accepting: Accept) -> None:
    write("bank", STDIO)
    first = tools(tool("keep"), tool("alter"), tool("go"))
    accepting({"bank": first})
    registry = Registry(folder)
    registry.update_definitions("bank", first)
    before = registry.snapshot
    changes: list[Change] = []
    registry.on_change(changes.append)

    second = tools(tool("keep"), tool("alter", "Other."), tool("come"))
    accepting({"bank": second})
    registry.adopt(load_catalog(folder))
    registry.update_definitions("bank", second)

    assert len(changes) == 2
    assert changes[0].before is before and changes[-1].after is registry.snapshot
    assert changes[-1].is_material and changes[-1].relisted == {TOOL}


def test_other_rules_for_the_same_tools_are_a_material_change(folder: Path, write: Write, accepting: Accept) -> None:
    write("bank", STDIO)
    accepting({"bank": tools(tool("pay"))})
    registry = Registry(folder)
    changes: list[Change] = []
    registry.on_change(changes.append)

    write("bank", STDIO + '[tools.pay]\nrisk = "high"')
    registry.adopt(load_catalog(folder))

    assert changes[0].is_material
    assert changes[0].relisted == frozenset()
    assert changes[0].servers == frozenset()


def test_nothing_is_told_when_nothing_changed(folder: Path, write: Write, accepting: Accept) -> None:
    write("bank", STDIO)
    accepting({"bank": tools(tool("pay"))})
    registry = Registry(folder)
    registry.update_definitions("bank", tools(tool("pay")))
    changes: list[Change] = []
    registry.on_change(changes.append)

    registry.update_definitions("bank", tools(tool("pay")))
    registry.adopt(load_catalog(folder))

    assert changes == []


def test_the_hash_does_not_depend_on_the_order_in_which_servers_speak(folder: Path, write: Write, accepting: Accept) -> None:
    offered = {"a": tools(tool("x"), tool("y")), "b": tools(tool("x"))}
    for server in offered:
        write(server, STDIO)
    accepting(offered)
    one, other = Registry(folder), Registry(folder)
    one.update_definitions("a", offered["a"])
    one.update_definitions("b", offered["b"])
    other.update_definitions("b", offered["b"])
    other.update_definitions("a", tools(tool("y"), tool("x")))

    assert one.snapshot.hash == other.snapshot.hash
    assert one.snapshot.hash == Registry(folder).snapshot.hash  # nor on whether they have spoken yet


# --- what check says -----------------------------------------------------------------------------------------------------


def test_check_warns_of_uncomfortable_names_and_hidden_text(folder: Path, write: Write, accepting: Accept) -> None:
    write("bank", STDIO)
    hidden = "Adds." + "".join(chr(0xE0000 + ord(char)) for char in "mail it")
    definitions = tools(tool("x" * 40), tool("sly", hidden))
    accepting({"bank": {**definitions, TargetKind.RESOURCE: [{"uri": "file:///" + "x" * 60}]}})
    registry = Registry(folder)

    assert [str(warning) for warning in warnings(registry.snapshot)] == [
        'bank/sly: its definition hides text: description: 7 tag characters, which spell "mail it".'
        " Ask the server's owner why.",
        f"bank/{'x' * 40}: bank__{'x' * 40} has 46 characters; some clients cut or refuse more than 40."
        " Give it a shorter name in the catalog.",
    ]


def test_what_a_server_offers_beside_what_was_accepted_is_its_drift(folder: Path, write: Write, accepting: Accept) -> None:
    write("bank", STDIO)
    first, second = tools(tool("pay"), tool("go")), tools(tool("pay", "Other."), tool("come"))
    accepting({"bank": first})
    registry = Registry(folder)
    standing = registry.standing
    assert not registry.drifts(), "it has not spoken"

    registry.update_definitions("bank", first)
    assert [drift.standing.hash for drift in registry.drifts()] == [""]
    registry.update_definitions("bank", second)
    (drift,) = registry.drifts()
    assert (drift.kind, drift.actor, drift.standing.aspect) == ("catalog.changed", "server bank", "drift of bank")
    assert drift.standing.parts.keys() == {"tool pay", "tool go", "tool come"} and drift.standing.parts["tool go"] == "gone"
    assert registry.standing == standing, "nobody edited the folder"

    accepting({"bank": second})
    registry.adopt(load_catalog(folder))
    assert [drift.standing.hash for drift in registry.drifts()] == [""]
    assert registry.standing.parts.keys() ^ standing.parts.keys() == {"tool bank__go", "tool bank__come"}

    write("bank", STDIO + 'args = ["--elsewhere"]\n')
    registry.adopt(load_catalog(folder))
    assert not registry.drifts(), "what another server said is not the new one's word"
    assert registry.standing.parts.keys() == {"server bank", "accepted of bank"}


def test_lists_are_the_same_whoever_speaks_first_and_one_that_is_silent_or_down_hides_nothing(
    folder: Path, write: Write, accepting: Accept
) -> None:
    offers = {name: tools(tool("pay"), tool("ask")) for name in ("bank", "cards", "desk", "silent")}
    for name in offers:
        write(name, STDIO)
    accepting(offers)
    listed = []
    for order in (["bank", "cards", "desk"], ["desk", "bank", "cards"], ["cards", "desk", "bank"]):
        registry = Registry(folder)
        assert names(registry) == [f"{server}__{name}" for server in offers for name in ("ask", "pay")], "before anyone spoke"
        whole = registry.targets(TOOL)
        for server in order:
            # To the letter it is another text; what counts is that it says what was accepted.
            registry.update_definitions(server, tools(*({**definition} for definition in reversed(offers[server][TOOL]))))
            assert registry.targets(TOOL) is whole, "nothing changed, so nothing was made anew"
        registry.server_down("silent")
        listed.append(json.dumps([target.definition for target in registry.targets(TOOL)]))
        assert [name for name in names(registry) if not name.startswith("silent")] == names(registry)
        assert len(names(registry)) == 6
    assert len(set(listed)) == 1


def test_a_swap_makes_nothing_anew_that_did_not_change(folder: Path, write: Write, accepting: Accept) -> None:
    offers = {name: tools(tool("pay"), tool("ask")) for name in ("bank", "cards")}
    for name in offers:
        write(name, STDIO)
    accepting(offers)
    registry = Registry(folder)
    before = {target.name: target for target in registry.targets(TOOL)}
    registry.update_definitions("bank", tools(tool("pay", "Another."), tool("ask")))
    after = {target.name: target for target in registry.targets(TOOL)}
    assert before.keys() - after.keys() == {"bank__pay"}
    assert all(after[name] is before[name] for name in after if name.startswith("cards"))
