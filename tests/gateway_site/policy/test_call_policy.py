"""One call under rules: denied ones look like unknown ones, and lists are filtered."""

import json
from typing import Any

import pytest

from gateway_site.edge import access_log
from gateway_site.edge.access_log import CheckedMessage, LogEntry
from gateway_site.mcp import json_text
from gateway_site.mcp.errors import RPCProblem
from gateway_site.mcp.messages import Message, read_message
from gateway_site.mcp.policy import MCPCall, MCPCaller, Policy
from gateway_site.policy.call_policy import CallPolicy
from gateway_site.policy.policy_file import read_rules
from gateway_site.rules.problems import Problem

OLD, NEW = "2025-11-25", "2026-07-28"
RULES = read_rules(
    b'[[rule]]\naction = "allow"\ngroups = ["sales"]\ntools = ["a"]\n'
    b'[[rule]]\naction = "allow"\nclients = ["own"]\n'
)


def message(method: str | None, **params: Any) -> Message:
    content = {"result": {}} if method is None else {"method": method, "params": params}
    sent = {"jsonrpc": "2.0", "id": 7, **content}
    if method is not None and method.startswith("notifications/"):
        del sent["id"]
    return read_message(json.dumps(sent).encode())


def admit(
    sent: Message | None, *, group: str = "sales", version: str = OLD, client: str = ""
) -> tuple[Policy, MCPCall]:
    policy: Policy = CallPolicy(RULES, frozenset({client}))
    call = MCPCall(
        upstream="notes",
        http_method="GET" if sent is None else "POST",
        version=version,
        message=sent,
        caller=MCPCaller(person="1", groups=(group,), is_client=False),
    )
    policy.admit(call)
    return policy, call.without_content()


def deny(sent: Message | None, **who: Any) -> tuple[Any, ...]:
    """Return status, code of JSON-RPC and text."""
    with pytest.raises(Problem) as raised:
        admit(sent, **who)
    found = raised.value
    assert found.code == "denied"
    if not isinstance(found, RPCProblem):
        return found.status, None, found.detail
    assert found.request_id == 7
    return found.status, found.rpc_code, found.detail


@pytest.mark.parametrize("version", [OLD, NEW])
def test_denied_call_looks_like_one_of_something_unknown(version: str) -> None:
    unknown = {"tools/call": "tool", "prompts/get": "prompt", "resources/read": "resource"}
    for method, kind in unknown.items():
        sent = message(method, name="b", uri="db:b")
        assert deny(sent, version=version) == (200, -32602, f"Unknown {kind}.")
    status = 404 if version == NEW else 200
    for method in ("tasks/get", "new/method", "completion/complete"):
        assert deny(message(method), version=version) == (status, -32601, "Unknown method.")
    assert deny(message("notifications/new"), version=version)[:2] == (403, None)


def test_caller_without_a_rule_gets_no_stream_and_answers_no_server() -> None:
    for sent in (None, message(None)):
        admit(sent)
        admit(sent, group="other", client="own")
        assert deny(sent, group="other")[:2] == (403, None)


def test_response_is_filtered_for_the_caller_of_the_call() -> None:
    listed = {"tools": [{"name": "a"}, {"name": "b"}]}
    response = Message(id=7, result=json_text.parse(json.dumps(listed).encode()))
    for sent in (message("tools/list"), None):
        policy, call = admit(sent)
        assert policy.rewrite(call, response) == {"tools": [{"name": "a"}]}
        policy, call = admit(sent, client="own")
        assert policy.rewrite(call, response) is None
    assert not policy.accepts_old_transport


def test_log_and_audit_learn_the_line_that_decided(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = LogEntry("1", checked=CheckedMessage(method="tools/call", tool="a"))
    monkeypatch.setattr(access_log, "current_entry", lambda: entry)
    admit(message("tools/call", name="a"))
    expected = CheckedMessage(method="tools/call", tool="a", rule="line 1", policy=RULES.digest)
    assert entry.checked == expected
    caplog.set_level("INFO", logger="gateway_site.policy.call_policy")
    deny(message("tools/call", name="b\u00e9"))
    assert (entry.checked.rule, entry.checked.policy) == (None, RULES.digest)
    assert caplog.messages == ["A call of notes was denied: no rule allows it ('tools/call')."]
    deny(message("\u20ac" * 100_000))
    assert len(caplog.messages[1]) < 200
