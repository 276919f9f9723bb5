"""`python -m mcpgw` is `mcpgw`."""

from mcpgw.cli.main import run

run()
