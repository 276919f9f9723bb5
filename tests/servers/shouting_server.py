"""No MCP server at all: it prints its arguments and its environment on both of its outputs, and ends."""

import os
import sys

for stream in (sys.stderr, sys.stdout):
    print(sys.argv, dict(os.environ), file=stream, flush=True)
sys.exit(f"fatal: cannot log in with {sys.argv[1:]} {os.environ['BANK_TOKEN']}")
