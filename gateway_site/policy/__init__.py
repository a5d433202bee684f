"""Who may call what of an MCP server, and how often. No network access.

`policy_file` reads `rules.Rules` from TOML; `subjects` tells what a message is about, and
`spellings` whether all servers read that alike; `Rules.of` returns the rules for one caller, which
decide about it; `names` finds those of a name; `lists` filters what the caller sees.
`call_policy` makes of them the policy of one call, which `gateway_site.mcp` describes, and
`pin_policy` adds the tools of a file, which `pinned_tools` reads. `in_force` keeps rules and pins
of each upstream. `rates` counts calls; `client_names` names the clients for rules and rates.
"""
