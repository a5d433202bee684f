"""Connects MCP servers that have their own authorization server (OAuth 2.1, MCP Authorization).

A signed-in person connects a server; nobody signs in with it, and nothing is written to the SQL
database. Start reading at `flow`.
"""
