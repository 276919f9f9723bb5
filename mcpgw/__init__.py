"""mcpgw: one MCP endpoint in front of an institution's MCP servers, with proof of what happened behind it."""

__version__ = "0.1.0"
