"""MCP servers that have their own authorization server, which people connect.

Nobody registered the gateway there: it finds the authorization server, and registers by itself.
"""
