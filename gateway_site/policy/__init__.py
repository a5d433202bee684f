"""Who may call what of an MCP server, and how often. No network access.

`policy_file` reads `rules.Rules` from TOML; `subjects` tells what a message is about; `Rules.of`
returns the rules for one caller, which decide about it; `lists` filters what the caller sees.
`call_policy` makes of them the policy of one call, which `gateway_site.mcp` describes. `in_force`
keeps the rules of each upstream. `rates` counts calls; `client_names` names the clients for both.
"""
