"""Permit → RawReply: every upstream server, over stdio, Streamable HTTP of both eras, and HTTP+SSE."""

from mcpgw.upstream.config import HttpServer, Limits, ServerConfig, SseServer, StdioServer
from mcpgw.upstream.pool import UpstreamPool

__all__ = ["HttpServer", "Limits", "ServerConfig", "SseServer", "StdioServer", "UpstreamPool"]
