"""The local stack's second MCP server, the upstream `notes`, with its own authorization server.

Nobody registered the gateway there: people connect it, as they connect servers on the Internet. It
has its own two accounts, without passwords: it listens on loopback and protects nothing.
"""

ACCOUNTS = ("ada@notes.example", "grace@notes.example")
SCOPE = "notes"
