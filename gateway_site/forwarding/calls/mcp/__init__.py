"""Calls of upstreams whose MCP messages are read (`gateway_site.mcp`)."""
