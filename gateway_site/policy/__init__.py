"""Who may call what of an MCP server, and how often. No network access.

`policy_file` reads `rules.Rules` from TOML; `subjects` tells what a message is about; `Rules.of`
returns the rules for one caller, which decide about it;
`lists` filters what it sees. `rates` counts calls.
"""
