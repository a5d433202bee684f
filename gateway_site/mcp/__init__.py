"""MCP's messages: read strictly, decided about, and passed on as they came. No network access.

Only for upstreams with `UPSTREAM_<NAME>_READ_MCP`; nothing is parsed for others. The order for one
call, as `gateway_site.forwarding.calls.mcp.reader` carries it out:

1. `messages.read_message` reads the body, which `json_text.parse` has found to be I-JSON.
2. `version_headers.check_headers` compares the headers with it, and returns the version.
3. `policy.Policy.admit` gets a `policy.MCPCall` with the message, the version and the caller, and
   raises `errors.RPCProblem` to reject it. The token has been loaded by then, so the caller's
   groups are known. It is called once per call, also if the call is repeated with a new token.
4. The body is sent as it came.
5. A response is one JSON message, or `events.EventReader` splits it into events, and leaves out
   what some clients might take for more of them. Each is read by `read_message`, and
   `policy.Policy.rewrite` may return another `result`: then, and only then, the message is written
   again (`json_text.write`), with numbers as they were.

A rejection of a message is `messages.InvalidMessage`; `errors.rejection` makes the response of it.
`messages.find_lookalike` finds misspelled members in objects within a result.
"""
