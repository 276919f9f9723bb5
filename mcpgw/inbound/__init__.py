"""MCP on the wire, both eras, three transports, one corridor.

    bytes -> gate (who, from where, well formed) -> SDK kernel (era, session, framing) -> lists | calls -> corridor -> bytes

Nothing here decides about a call: this room turns bytes into a `Request`, walks it, and turns the `Answer` into bytes.
`server.GatewayServer` is the MCP server, `http` its routes, `serving` the listener, `stdio` the same server over a pipe.
"""
