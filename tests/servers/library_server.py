"""A server on the SDK with more than tools, on stdio and both eras: resources, templates, prompts, completions, links, a page.

`library_server.py SHELF`: resources and prompts that a folder's files name come and go with the tool `acquire`.
"""

import sys
from pathlib import Path
from typing import Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.resources import TextResource
from mcp_types import Completion, EmbeddedResource, ResourceLink, TextResourceContents

server = MCPServer("library", version="1.0.0", log_level="ERROR")
LOG = Path(sys.argv[1])


@server.resource("library://rules", name="rules", mime_type="text/plain", description="The house rules.")
def rules() -> str:
    return "Whoever reads aloud leaves. Ask jane.doe@mail.example."


@server.resource("library://readers.csv", name="readers", mime_type="text/csv")
def readers() -> str:
    return "name,ssn\nJane Doe,078-05-1120\n"


@server.resource("library://packed", name="packed", mime_type="application/octet-stream")
def packed() -> bytes:
    """Bytes, which are text all the same."""
    return b"A reader's number: 078-05-1120, and nothing else."


@server.resource("library://cover", name="cover", mime_type="image/png")
def cover() -> bytes:
    return b"\x89PNG\r\n\x1a\n\x00\x01\x02\xff"


@server.resource("ui://library/desk.html", name="desk", mime_type="text/html;profile=mcp-app")
def desk() -> str:
    return "<p>The desk</p>"


@server.resource("library://books/{shelf}/{book}", name="books")
def books(shelf: str, book: str) -> str:
    with LOG.open("a") as log:
        log.write(f"read {shelf}/{book}\n")
    return f"{book} stands on shelf {shelf}."


@server.prompt()
def recommend(reader: str) -> str:
    """Recommend a book."""
    return f"Recommend a book to {reader}, whose number is 078-05-1120."


@server.prompt()
def fine(reader: str) -> str:
    """Fine a reader."""
    return f"Write to {reader}."


@server.completion()
async def complete(ref: Any, argument: Any, context: Any) -> Any:
    chosen = context.arguments if context is not None and context.arguments else {}
    return Completion(values=[f"{argument.value}-{chosen.get('shelf', 'any')}"], total=1, has_more=False)


@server.tool(meta={"ui": {"resourceUri": "ui://library/desk.html"}})
def find(uri: str = "") -> list[Any]:
    """Find a book, as a link and embedded; say which URI was asked for."""
    contents = TextResourceContents(uri="library://rules", text="read me")
    return [
        ResourceLink(type="resource_link", uri="library://books/a/Emma", name="Emma"),
        EmbeddedResource(type="resource", resource=contents),
        f"asked for {uri}",
    ]


@server.tool()
async def acquire(name: str, ctx: Context[Any, Any]) -> str:
    """Offer one more resource and one more prompt, and say so."""
    server.add_resource(TextResource(uri=f"library://{name}", name=name, text=f"{name} is new"))
    server.prompt(name=name)(lambda: f"Read {name}.")
    if ctx.protocol_version == "2026-07-28":
        await ctx.notify_resources_changed()
        await ctx.notify_prompts_changed()
    else:
        await ctx.session.send_resource_list_changed()
        await ctx.session.send_prompt_list_changed()
    return "acquired"


if __name__ == "__main__":
    server.run("stdio")
