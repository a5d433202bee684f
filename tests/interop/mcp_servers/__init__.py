"""MCP servers of other projects, each with its authorization server, in processes on loopback."""
