"""Print the description of the HTTP API: `scripts/openapi.py > docs/openapi.json`. A test compares it with the program."""

import json

from mcpgw.console.api import ROUTES, document


def page() -> str:
    return json.dumps(document(ROUTES), indent=2) + "\n"


if __name__ == "__main__":
    print(page(), end="")
