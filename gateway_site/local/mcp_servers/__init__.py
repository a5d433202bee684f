"""The MCP servers of the local stack, one program with two modes: the upstreams `demo` and `notes`.

`demo` accepts the provider's tokens. `notes` has its own authorization server, where nobody
registered the gateway: people connect it, as they connect servers on the Internet.
"""
