"""Resources, templates, prompts and completions through the whole gateway, with real servers and real clients of both eras."""

import base64
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import (
    BlobResourceContents,
    EmbeddedResource,
    PromptReference,
    ResourceLink,
    ResourceTemplateReference,
    TextContent,
    TextResourceContents,
)

from tests.flows.gateway import BOUND_S, CONFIG, DOWNSTREAMS, Folder, Gateway, lines_of, make_folder, serving, until
from tests.flows.test_clients import inspected
from tests.real_servers import everything_server, library_server

MORE = """
resources = ["*"]
prompts = ["*"]

[roles.guests]
members = ["group:guests"]
scopes = ["rules"]

[scopes.rules]
resources = ["mcpgw+library+library://rules"]
prompts = ["library__recommend"]

[[rules]]
id = "restricted-shelf"
effect = "deny"
resources = ["mcpgw+library+library://books/*"]
when = "tool.kind == 'resource' && args.variables.shelf == 'restricted'"
reason = "That shelf is closed."

[[rules]]
id = "rare-books"
effect = "hold"
resources = ["mcpgw+library+library://books/*"]
when = "tool.kind == 'resource' && args.variables.shelf == 'rare'"

[[rules]]
id = "fines"
effect = "hold"
prompts = ["library__fine"]
"""
RULES = "mcpgw+library+library://rules"
SSN = "078-05-1120"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    path = tmp_path_factory.mktemp("library")
    folder = make_folder(path / "gateway", MORE)
    folder.key("alice", "all")
    folder.key("bob", "guests")
    folder.key("carol", "leads")
    folder.spawned("library", library_server(path / "log"))
    folder.spawned("everything", everything_server())
    folder.accept()
    with serving(folder) as gateway:
        yield gateway


@pytest.fixture
def folder(library: Gateway) -> Folder:
    return library.folder


@pytest.fixture
def log(folder: Folder) -> Path:
    return folder.path.parent / "log"


@pytest.fixture(scope="module", params=DOWNSTREAMS)
async def client(request: pytest.FixtureRequest, library: Gateway) -> AsyncIterator[Client]:
    async with library.client(request.param, library.folder.keys["alice"]) as client:
        with anyio.fail_after(BOUND_S):
            await until_offered(client, "library", "everything")
        yield client


async def until_offered(client: Client, *servers: str) -> None:
    """Wait until prompts of these are listed: over stdio the upstreams of the client's own gateway are starting."""
    listed: set[str] = set()
    while not set(servers) <= listed:
        await anyio.sleep(0.05 if listed else 0)
        listed = {one.name.partition("__")[0] for one in (await client.list_prompts()).prompts} | {""}


@pytest.mark.promise("resource-read")
async def test_everything_is_listed_and_every_listed_resource_can_be_read(client: Client) -> None:
    with anyio.fail_after(BOUND_S):
        resources = (await client.list_resources()).resources
        templates = [one.uri_template for one in (await client.list_resource_templates()).resource_templates]
        prompts = [one.name for one in (await client.list_prompts()).prompts]
        assert {"mcpgw+library+library://rules", "ui://library/library/desk.html"} <= {one.uri for one in resources}
        assert any(one.uri.startswith("mcpgw+everything+demo://") for one in resources)
        assert "mcpgw+library+library://books/{shelf}/{book}" in templates
        assert "mcpgw+everything+demo://resource/dynamic/text/{resourceId}" in templates
        assert {"library__recommend", "library__fine", "everything__simple-prompt"} <= set(prompts)
        for resource in resources:
            read = await client.read_resource(resource.uri)
            assert {contents.uri for contents in read.contents} == {resource.uri}


async def test_a_read_is_redacted_and_recorded_like_a_call(client: Client, folder: Folder) -> None:
    with anyio.fail_after(BOUND_S):
        (text,) = (await client.read_resource("mcpgw+library+library://readers.csv")).contents
        (packed,) = (await client.read_resource("mcpgw+library+library://packed")).contents
        (cover,) = (await client.read_resource("mcpgw+library+library://cover")).contents
    assert isinstance(text, TextResourceContents) and SSN not in text.text and "Jane" not in text.text
    assert text.text.startswith("name,ssn\n")
    assert isinstance(packed, BlobResourceContents)
    assert base64.b64decode(packed.blob).decode() == "A reader's number: <US_SSN>, and nothing else."
    assert isinstance(cover, TextResourceContents) and "withheld" in cover.text
    intent, outcome = [one for one in folder.records("call.*") if "readers" in one["target"]["name"]][-2:]
    assert (intent["target"]["kind"], intent["target"]["upstream"]) == ("resource", "library://readers.csv")
    assert outcome["outcome"]["class"] == "completed"


@pytest.mark.promise("resource-template")
async def test_what_a_template_covers_is_read_under_its_rules(client: Client, log: Path) -> None:
    before = len(lines_of(log))
    with anyio.fail_after(BOUND_S):
        (book,) = (await client.read_resource("mcpgw+library+library://books/a/Emma%20II")).contents
        assert isinstance(book, TextResourceContents) and book.text == "Emma II stands on shelf a."
        assert book.uri == "mcpgw+library+library://books/a/Emma%20II"
        with pytest.raises(MCPError, match="That shelf is closed"):
            await client.read_resource("mcpgw+library+library://books/restricted/Emma")
        with pytest.raises(MCPError, match="Unknown resource"):
            await client.read_resource("mcpgw+library+library://books/%72estricted/Emma")
        (text,) = (await client.read_resource("mcpgw+everything+demo://resource/dynamic/text/7")).contents
        assert isinstance(text, TextResourceContents) and "Resource 7" in text.text
    assert lines_of(log)[before:] == ["read a/Emma II"]


async def test_prompts_are_got_and_arguments_completed(client: Client) -> None:
    with anyio.fail_after(BOUND_S):
        got = await client.get_prompt("library__recommend", {"reader": "Ann"})
        (message,) = got.messages
        assert isinstance(message.content, TextContent)
        assert message.content.text == "Recommend a book to Ann, whose number is <US_SSN>."
        told = await client.get_prompt("everything__args-prompt", {"city": "Rome"})
        assert "Rome" in str(told.messages)
        embedded = await client.get_prompt("everything__resource-prompt", {"resourceType": "Text", "resourceId": "3"})
        (resource,) = [m.content for m in embedded.messages if isinstance(m.content, EmbeddedResource)]
        assert resource.resource.uri == "mcpgw+everything+demo://resource/dynamic/text/3"
        reread = await client.read_resource(str(resource.resource.uri))
        assert reread.contents[0].uri == resource.resource.uri

        uri = "mcpgw+library+library://books/{shelf}/{book}"
        of_template = await client.complete(
            ResourceTemplateReference(type="ref/resource", uri=uri), {"name": "book", "value": "Em"}, {"shelf": "a"}
        )
        assert of_template.completion.values == ["Em-a"]
        of_prompt = await client.complete(
            PromptReference(type="ref/prompt", name="everything__completable-prompt"), {"name": "department", "value": "S"}
        )
        assert of_prompt.completion.values == ["Sales", "Support"]


@pytest.mark.promise("tool-links")
async def test_a_link_that_a_tool_gave_out_is_good_for_reading_and_as_an_argument(client: Client) -> None:
    with anyio.fail_after(BOUND_S):
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        meta: Any = tools["library__find"].meta
        page = meta["ui"]["resourceUri"]
        assert page == "ui://library/library/desk.html"
        assert (await client.read_resource(page)).contents[0].uri == page
        link, embedded, said = (await client.call_tool("library__find", {"uri": RULES})).content
        assert isinstance(link, ResourceLink) and link.uri == "mcpgw+library+library://books/a/Emma"
        assert isinstance(embedded, EmbeddedResource) and embedded.resource.uri == RULES
        assert isinstance(said, TextContent) and said.text == "asked for library://rules"
        assert (await client.read_resource(link.uri)).contents


async def test_two_identities_see_different_lists(library: Gateway) -> None:
    for downstream in ("http 2026", "http 2025"):
        async with library.client(downstream, library.folder.keys["bob"]) as bob:
            with anyio.fail_after(BOUND_S):
                assert [one.uri for one in (await bob.list_resources()).resources] == [RULES]
                assert (await bob.list_resource_templates()).resource_templates == []
                assert [one.name for one in (await bob.list_prompts()).prompts] == ["library__recommend"]
                (rules,) = (await bob.read_resource(RULES)).contents
                assert isinstance(rules, TextResourceContents) and "<EMAIL>" in rules.text
                for hidden in ("mcpgw+library+library://readers.csv", "mcpgw+library+library://books/a/Emma"):
                    with pytest.raises(MCPError, match=r"^Unknown resource$"):
                        await bob.read_resource(hidden)
                with pytest.raises(MCPError, match="Unknown prompt: library__fine"):
                    await bob.get_prompt("library__fine", {"reader": "Ann"})


@pytest.mark.parametrize("downstream", ["http 2026", "http 2025"])
async def test_what_is_held_says_so_and_runs_once_it_is_approved(library: Gateway, log: Path, downstream: str) -> None:
    folder, shelf = library.folder, "mcpgw+library+library://books/rare"
    uri = f"{shelf}/{downstream.replace(' ', '')}"
    async with library.client(downstream, folder.keys["alice"]) as client:
        with anyio.fail_after(BOUND_S):
            with pytest.raises(MCPError, match="Held for approval apr_") as caught:
                await client.read_resource(uri)
            approval = caught.value.data["mcpgw/approval"]["id"]
            assert caught.value.code == -32010
            await folder.acli("approvals", "approve", approval, "--yes", key=folder.keys["carol"])
            assert (await client.read_resource(uri)).contents[0].uri == uri
            assert (await client.read_resource(uri)).contents[0].uri == uri  # the same result again, without another read
            with pytest.raises(MCPError, match="Held for approval"):
                await client.get_prompt("library__fine", {"reader": downstream})
            with pytest.raises(MCPError, match="not asked about completions"):
                await client.complete(PromptReference(type="ref/prompt", name="library__fine"), {"name": "reader", "value": ""})
    assert lines_of(log).count(f"read rare/{downstream.replace(' ', '')}") == 1


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_the_inspector_lists_reads_and_gets(library: Gateway, era: str) -> None:
    key = library.folder.keys["bob"]
    listed = await inspected(library, key, era, "mcp", "--method", "resources/list")
    assert [one["uri"] for one in listed["resources"]] == [RULES]
    read = await inspected(library, key, era, "mcp", "--method", "resources/read", "--uri", RULES)
    assert read["contents"][0]["uri"] == RULES
    ask = ("--prompt-name", "library__recommend", "--prompt-args", "reader=Ann")
    got = await inspected(library, key, era, "mcp", "--method", "prompts/get", *ask)
    assert "Recommend a book to Ann" in json.dumps(got)


async def test_the_log_and_explain_know_them(library: Gateway) -> None:
    folder = library.folder
    async with library.client("http 2026", folder.keys["bob"]) as bob:
        await bob.read_resource(RULES)
    assert RULES in await folder.acli("log", "--who", "bob")
    allowed = await folder.acli("explain", "--as", "bob", "--group", "guests", "--method", "api_key", "--resource", RULES)
    assert "ALLOW" in allowed
    uri = "mcpgw+library+library://books/restricted/Emma"
    denied = await folder.acli("explain", "--as", "a", "--group", "all", "--method", "api_key", "--resource", uri, expect=4)
    assert "restricted-shelf" in denied
    unknown = await folder.acli("explain", "--as", "a", "--group", "all", "--resource", "x:y", expect=4)
    assert "no resource" in unknown
    prompt = await folder.acli("explain", "--as", "a", "--group", "all", "--prompt", "library__fine", expect=3)
    assert "HOLD" in prompt
    everything = await folder.acli("explain", "--as", "bob", "--group", "guests")
    assert RULES in everything and "library__recommend" in everything


@pytest.mark.parametrize("downstream", ["http 2026", "stdio 2025"])
async def test_a_client_is_told_when_its_resources_or_prompts_change(tmp_path: Path, downstream: str) -> None:
    """What is new is quarantined first; what a person accepts is told, and only to whom it is listed."""
    folder = make_folder(tmp_path / "gateway", 'resources = ["*"]\nprompts = ["*"]\n', CONFIG)
    folder.key("alice", "all")
    folder.spawned("library", library_server(tmp_path / "log"))
    folder.accept()
    told: list[str] = []

    async def hear(message: Any) -> None:
        told.append(getattr(message, "method", ""))

    with serving(folder) as gateway:
        more = {"message_handler": hear} if "2025" in downstream else {}
        async with gateway.client(downstream, folder.keys["alice"], **more) as client:
            with anyio.fail_after(BOUND_S):
                await until_offered(client, "library")
                if more:
                    disable(folder)
                    await until(lambda: {*LISTS} <= set(told), "both lists were told of")
                else:
                    await heard(client, folder, told)
            assert {one.name for one in (await client.list_prompts()).prompts} == {"library__fine"}
            assert RULES not in {one.uri for one in (await client.list_resources()).resources}


LISTS = ("notifications/resources/list_changed", "notifications/prompts/list_changed")


def disable(folder: Folder) -> None:
    file = folder.path / "catalog" / "library.toml"
    more = '[prompts.recommend]\nenabled = false\n[resources."library://rules"]\nenabled = false\n'
    file.write_text(f"{file.read_text()}\n{more}")


async def heard(client: Client, folder: Folder, told: list[str]) -> None:
    """Listen as a client of 2026-07-28 does."""
    async with client.listen(resources_list_changed=True, prompts_list_changed=True) as subscription:
        disable(folder)
        async for event in subscription:
            told.append(type(event).__name__)
            if {"ResourcesListChanged", "PromptsListChanged"} <= set(told):
                return
