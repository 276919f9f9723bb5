"""A list that nobody has to make: pages as a gateway said them, from memory. `python -m bench.said_again PORT FILE`."""

import base64
import json
import sys
from pathlib import Path
from typing import Any

import uvicorn

SAID_AGAIN = "bench.said_again"


class SaidAgain:
    """An ASGI app that answers a request for a list with the body that a gateway sent to one of that era and cursor."""

    def __init__(self, pages: dict[str, dict[str, str]]) -> None:
        self._pages = {era: {cursor: base64.b64decode(page) for cursor, page in said.items()} for era, said in pages.items()}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        message = await receive()
        asked = json.loads(message["body"] or b"{}")
        era = dict(scope["headers"]).get(b"mcp-protocol-version", b"").decode()
        status, body = 202, b""
        if asked.get("method") == "tools/list":
            status, body = 200, self._pages[era][asked["params"].get("cursor", "")]
        elif "id" in asked:
            status, body = 200, json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": {}}).encode()
        kind = b"text/event-stream" if body.startswith((b"event:", b"id:", b"data:", b":")) else b"application/json"
        headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def main() -> None:
    port, pages = int(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())
    app: Any = SaidAgain(pages)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", loop="uvloop", http="httptools", lifespan="off")


if __name__ == "__main__":
    main()
