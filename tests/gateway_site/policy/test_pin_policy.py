"""Tools that are not as pinned are hidden, rejected, and reported once."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway_site.edge import access_log
from gateway_site.edge.access_log import CheckedMessage, LogEntry
from gateway_site.mcp import json_text
from gateway_site.mcp.errors import RPCProblem
from gateway_site.mcp.messages import InvalidMessage, Message, read_message
from gateway_site.mcp.policy import MCPCall, MCPCaller, PassAll, Policy
from gateway_site.policy.call_policy import CallPolicy
from gateway_site.policy.pin_policy import UNPINNED_MAX, VERSIONS_MAX, PinPolicy, SeenTools
from gateway_site.policy.pinned_tools import PinnedTools, compute_digest
from gateway_site.policy.policy_file import read_rules
from gateway_site.rules.problems import Problem

OLD, NEW = "2025-11-25", "2026-07-28"
PASS_ALL = PassAll()


def tool(name: Any, description: str = "as pinned") -> dict[str, Any]:
    return {"name": name, "description": description, "inputSchema": {"maximum": 1.50}}


def parsed(value: Any) -> Any:
    return json_text.parse(json.dumps(value).encode())


def pinned(*tools: dict[str, Any]) -> PinnedTools:
    return PinnedTools(tuple(parsed(each) for each in tools), "f" * 64)


PINNED = pinned(tool("a"), tool("b"))


class Process:
    """What a process has seen of one upstream, and the calls that it handles."""

    def __init__(self, pins: PinnedTools = PINNED, other: Policy = PASS_ALL) -> None:
        self.pins = pins
        self.other = other
        self.seen = SeenTools("notes")

    def call(
        self, method: str, *, version: str = OLD, groups: tuple[str, ...] = (), **params: Any
    ) -> tuple[PinPolicy, MCPCall]:
        sent = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}
        policy = PinPolicy(self.other, self.pins, self.seen)
        call = MCPCall(
            upstream="notes",
            http_method="POST",
            version=version,
            message=read_message(json.dumps(sent).encode()),
            caller=MCPCaller(person="1", groups=groups, is_client=False),
        )
        policy.admit(call)
        return policy, call.without_content()

    def lists(self, *tools: Any, **more: Any) -> Any:
        """Return what passes of a page."""
        policy, call = self.call("tools/list")
        result = {"tools": list(tools), **more}
        changed = policy.rewrite(call, Message(id=7, result=parsed(result)))
        return result if changed is None else json.loads(json_text.write(changed))

    def names(self, *tools: Any) -> list[str]:
        return [each["name"] for each in self.lists(*tools)["tools"]]

    def may_call(self, name: str) -> bool:
        """Try it; a rejection looks like that of an unknown tool."""
        denied: RPCProblem | None = None
        try:
            self.call("tools/call", name=name)
        except RPCProblem as problem:
            denied = problem
        if denied is not None:
            assert (denied.status, denied.rpc_code, denied.code) == (200, -32602, "denied")
            assert (denied.detail, denied.request_id) == ("Unknown tool.", 7)
        return denied is None


def test_only_pinned_definitions_are_listed() -> None:
    process = Process()
    others: tuple[Any, ...] = (
        tool("a", "other"),
        tool("c"),
        {"name": "b"},
        tool(1),
        tool("a b"),
        {},
        1,
        None,
    )
    found = process.lists(*others, tool("b"), nextCursor="2", ttlMs=5)
    assert found == {"tools": [tool("b")], "nextCursor": "2", "ttlMs": 5}


def test_list_as_pinned_passes_byte_for_byte() -> None:
    policy, call = Process().call("tools/list")
    passing: list[dict[str, Any]] = [
        {"tools": [tool("b"), tool("a")]}, {"tools": []}, {"prompts": [{}]}, {},
    ]  # fmt: skip
    for result in passing:
        assert policy.rewrite(call, Message(id=7, result=parsed(result))) is None
    with pytest.raises(InvalidMessage):
        policy.rewrite(call, Message(id=7, result={"tools": {}}))


def test_call_of_a_changed_tool_is_rejected_until_it_is_as_pinned_again() -> None:
    process = Process()
    assert (process.may_call("a"), process.may_call("b"), process.may_call("c")) == (
        True, True, False,
    )  # fmt: skip
    process.lists(tool("a", "other"), tool("c"))
    assert (process.may_call("a"), process.may_call("b"), process.may_call("c")) == (
        False, True, False,
    )  # fmt: skip
    process.lists(tool("b"))
    assert not process.may_call("a")
    process.lists(tool("a"))
    assert process.may_call("a")


def test_definition_on_another_page_or_twice_on_one_replaces_none() -> None:
    process = Process()
    assert process.names(tool("a"), tool("a", "other")) == ["a"]
    assert not process.may_call("a")
    assert process.names(tool("a", "other"), tool("a")) == ["a"]
    assert process.lists(tool("a", "other"), nextCursor="3") == {"tools": [], "nextCursor": "3"}
    assert not process.may_call("a")


def test_each_change_is_reported_once_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    process = Process()
    for _ in range(3):
        process.lists(tool("a", "secret-1"), tool("b"), tool("c", "secret-2"))
        process.lists(tool("a"))
    process.lists(tool("a", "secret-3"))
    old = compute_digest(parsed(tool("a")))
    expected = [
        ("a", compute_digest(parsed(tool("a", "secret-1"))), old),
        ("c", compute_digest(parsed(tool("c", "secret-2"))), "not at all"),
        ("a", compute_digest(parsed(tool("a", "secret-3"))), old),
    ]
    assert len(caplog.messages) == len(expected)
    for line, (name, new, pinned_as) in zip(caplog.messages, expected, strict=True):
        assert line.startswith("A tool of notes is not as pinned")
        assert f": {name}, digest {new}, pinned {pinned_as}. " in line
        assert "secret" not in line


def test_odd_name_is_not_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    Process().lists(tool("a\n2026 ERROR"), tool("\u202ea"), tool("x" * 129))
    assert [line.count("(no plain name)") for line in caplog.messages] == [1, 1, 1]
    assert "ERROR" not in "".join(caplog.messages)


def test_server_with_endless_tools_and_versions_takes_bounded_memory(
    caplog: pytest.LogCaptureFixture,
) -> None:
    process = Process()
    for number in range(3 * UNPINNED_MAX):
        process.lists(tool(f"t{number}"), tool("a", str(number)))
    assert len(caplog.messages) == UNPINNED_MAX + VERSIONS_MAX
    process.lists(tool("b", "other"))
    assert "b, digest" in caplog.messages[-1]
    kept = vars(process.seen)
    assert sum(map(len, kept["_reported"].values())) == UNPINNED_MAX + VERSIONS_MAX + 1
    assert kept["_last"].keys() == {"a", "b"}


def test_tool_may_be_pinned_in_several_definitions() -> None:
    process = Process(pinned(tool("a"), tool("a", "other")))
    for description in ("as pinned", "other"):
        assert process.names(tool("a", description)) == ["a"]
        assert process.may_call("a")
    assert process.names(tool("a", "third")) == []
    assert not process.may_call("a")


def test_new_file_is_compared_with_what_was_seen_before() -> None:
    process = Process()
    process.lists(tool("a", "new"), tool("b", "new"))
    process.pins = pinned(tool("a", "new"), tool("b"))
    process.seen.forget_others(process.pins)
    assert (process.may_call("a"), process.may_call("b")) == (True, False)
    process.pins = pinned(tool("a", "third"))
    process.seen.forget_others(process.pins)
    assert not process.may_call("a")
    assert vars(process.seen)["_last"].keys() == {"a"}


def test_pins_and_rules_must_both_allow_a_call() -> None:
    rules = read_rules(b'[[rule]]\naction = "allow"\ngroups = ["g"]\ntools = ["b", "c"]\n')
    process = Process(other=CallPolicy(rules, frozenset()))

    def may_call(name: str) -> bool:
        try:
            process.call("tools/call", groups=("g",), name=name)
        except Problem:
            return False
        return True

    assert [each for each in "abc" if may_call(each)] == ["b"]
    policy, call = process.call("tools/list", groups=("g",))
    listed = {"tools": [tool("a", "other"), tool("b"), tool("c")], "ttlMs": 10**6}
    changed = policy.rewrite(call, Message(id=7, result=parsed(listed)))
    assert changed is not None
    assert (changed["tools"], changed["ttlMs"]) == ([parsed(tool("b"))], 60_000)
    # What the rules hide from this caller was noticed all the same.
    assert process.seen.note("a", compute_digest(parsed(tool("a"))), PINNED)
    policy.rewrite(call, Message(id=7, result=parsed({"tools": [tool("a", "other")]})))
    assert not process.seen.is_current("a", PINNED)


@pytest.mark.parametrize("version", [OLD, NEW])
def test_other_spelling_of_a_call_is_rejected_and_other_methods_pass(version: str) -> None:
    process = Process()
    for method in ("tools/list", "prompts/get", "tasks/get", "x/new", "notifications/x"):
        process.call(method, version=version, name="z")
    for method in ("Tools/Call", "tools/call/", "tools/ca\u017fl"):
        with pytest.raises(RPCProblem) as denied:
            process.call(method, version=version, name="a")
        assert denied.value.rpc_code == -32601
        assert denied.value.status == (404 if version == NEW else 200)
    stream = MCPCall(
        upstream="notes",
        http_method="GET",
        version=OLD,
        message=None,
        caller=MCPCaller(person="1", groups=(), is_client=False),
    )
    policy = PinPolicy(PASS_ALL, PINNED, process.seen)
    policy.admit(stream)
    resumed = Message(id=7, result=parsed({"tools": [tool("c")]}))
    assert policy.rewrite(stream, resumed) == {"tools": []}
    assert not policy.accepts_old_transport


def test_audit_log_learns_that_pins_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = LogEntry("1", checked=CheckedMessage(method="tools/call", tool="c"))
    monkeypatch.setattr(access_log, "current_entry", lambda: entry)
    assert Process().may_call("a")
    assert entry.checked == CheckedMessage(method="tools/call", tool="c")
    assert not Process().may_call("c")
    expected = CheckedMessage(method="tools/call", tool="c", rule="pins", policy="f" * 64)
    assert entry.checked == expected


def test_threads_report_a_change_once() -> None:
    """Two that look at once would both report it."""
    process = Process()

    class Looking(set[str]):
        def __contains__(self, _: object) -> bool:
            assert vars(process.seen)["_lock"].locked()
            return super().__contains__(_)

    vars(process.seen)["_reported"]["a"] = Looking()
    assert process.names(tool("a", "new"), tool("a", "new")) == []
