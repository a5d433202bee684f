"""Tools that are not as pinned are hidden, rejected, and reported once."""

from typing import Any

import pytest

from gateway_site.edge import access_log
from gateway_site.edge.access_log import CheckedMessage, LogEntry
from gateway_site.mcp.errors import RPCProblem
from gateway_site.mcp.messages import InvalidMessage, Message
from gateway_site.mcp.policy import MCPCall, MCPCaller
from gateway_site.policy.call_policy import CallPolicy
from gateway_site.policy.pin_policy import UNPINNED_MAX, VERSIONS_MAX, PinPolicy
from gateway_site.policy.pinned_tools import compute_digest
from gateway_site.policy.policy_file import read_rules
from gateway_site.rules.problems import Problem
from tests.gateway_site.support.pinned_process import (
    NEW,
    OLD,
    PASS_ALL,
    PINNED,
    Process,
    parse,
    pin_tools,
    pinned_tool,
)


def test_only_pinned_definitions_are_listed() -> None:
    process = Process()
    others: tuple[Any, ...] = (
        pinned_tool("a", "other"),
        pinned_tool("c"),
        {"name": "b"},
        pinned_tool(1),
        pinned_tool("a b"),
        {},
        1,
        None,
    )
    found = process.lists(*others, pinned_tool("b"), nextCursor="2", ttlMs=5)
    assert found == {"tools": [pinned_tool("b")], "nextCursor": "2", "ttlMs": 5}


def test_list_as_pinned_passes_byte_for_byte() -> None:
    policy, call = Process().call("tools/list")
    passing: list[dict[str, Any]] = [
        {"tools": [pinned_tool("b"), pinned_tool("a")]}, {"tools": []}, {"prompts": [{}]}, {},
    ]  # fmt: skip
    for result in passing:
        assert policy.rewrite(call, Message(id=7, result=parse(result))) is None
    with pytest.raises(InvalidMessage):
        policy.rewrite(call, Message(id=7, result={"tools": {}}))


def test_call_of_a_changed_tool_is_rejected_until_it_is_as_pinned_again() -> None:
    process = Process()
    assert (process.may_call("a"), process.may_call("b"), process.may_call("c")) == (
        True, True, False,
    )  # fmt: skip
    process.lists(pinned_tool("a", "other"), pinned_tool("c"))
    assert (process.may_call("a"), process.may_call("b"), process.may_call("c")) == (
        False, True, False,
    )  # fmt: skip
    process.lists(pinned_tool("b"))
    assert not process.may_call("a")
    process.lists(pinned_tool("a"))
    assert process.may_call("a")


def test_definition_on_another_page_or_twice_on_one_replaces_none() -> None:
    process = Process()
    assert process.names(pinned_tool("a"), pinned_tool("a", "other")) == ["a"]
    assert not process.may_call("a")
    assert process.names(pinned_tool("a", "other"), pinned_tool("a")) == ["a"]
    assert process.lists(pinned_tool("a", "other"), nextCursor="3") == {
        "tools": [],
        "nextCursor": "3",
    }
    assert not process.may_call("a")


def test_each_change_is_reported_once_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    process = Process()
    for _ in range(3):
        process.lists(pinned_tool("a", "secret-1"), pinned_tool("b"), pinned_tool("c", "secret-2"))
        process.lists(pinned_tool("a"))
    process.lists(pinned_tool("a", "secret-3"))
    old = compute_digest(parse(pinned_tool("a")))
    expected = [
        ("a", compute_digest(parse(pinned_tool("a", "secret-1"))), old),
        ("c", compute_digest(parse(pinned_tool("c", "secret-2"))), "not at all"),
        ("a", compute_digest(parse(pinned_tool("a", "secret-3"))), old),
    ]
    assert len(caplog.messages) == len(expected)
    for line, (name, new, pinned_as) in zip(caplog.messages, expected, strict=True):
        assert line.startswith("A tool of notes is not as pinned")
        assert f": {name}, digest {new}, pinned {pinned_as}. " in line
        assert "secret" not in line


def test_odd_name_is_not_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    Process().lists(pinned_tool("a\n2026 ERROR"), pinned_tool("\u202ea"), pinned_tool("x" * 129))
    assert [line.count("(no plain name)") for line in caplog.messages] == [1, 1, 1]
    assert "ERROR" not in "".join(caplog.messages)


def test_server_with_endless_tools_and_versions_takes_bounded_memory(
    caplog: pytest.LogCaptureFixture,
) -> None:
    process = Process()
    for number in range(3 * UNPINNED_MAX):
        process.lists(pinned_tool(f"t{number}"), pinned_tool("a", str(number)))
    assert len(caplog.messages) == UNPINNED_MAX + VERSIONS_MAX
    process.lists(pinned_tool("b", "other"))
    assert "b, digest" in caplog.messages[-1]
    kept = vars(process.seen)
    assert sum(map(len, kept["_reported"].values())) == UNPINNED_MAX + VERSIONS_MAX + 1
    assert kept["_last"].keys() == {"a", "b"}


def test_tool_may_be_pinned_in_several_definitions() -> None:
    process = Process(pin_tools(pinned_tool("a"), pinned_tool("a", "other")))
    for description in ("as pinned", "other"):
        assert process.names(pinned_tool("a", description)) == ["a"]
        assert process.may_call("a")
    assert process.names(pinned_tool("a", "third")) == []
    assert not process.may_call("a")


def test_new_file_is_compared_with_what_was_seen_before() -> None:
    process = Process()
    process.lists(pinned_tool("a", "new"), pinned_tool("b", "new"))
    process.pins = pin_tools(pinned_tool("a", "new"), pinned_tool("b"))
    process.seen.forget_others(process.pins)
    assert (process.may_call("a"), process.may_call("b")) == (True, False)
    process.pins = pin_tools(pinned_tool("a", "third"))
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
    listed = {
        "tools": [pinned_tool("a", "other"), pinned_tool("b"), pinned_tool("c")],
        "ttlMs": 10**6,
    }
    changed = policy.rewrite(call, Message(id=7, result=parse(listed)))
    assert changed is not None
    assert (changed["tools"], changed["ttlMs"]) == ([parse(pinned_tool("b"))], 60_000)
    # What the rules hide from this caller was noticed all the same.
    assert process.seen.note("a", compute_digest(parse(pinned_tool("a"))), PINNED)
    policy.rewrite(call, Message(id=7, result=parse({"tools": [pinned_tool("a", "other")]})))
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
    resumed = Message(id=7, result=parse({"tools": [pinned_tool("c")]}))
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
    assert process.names(pinned_tool("a", "new"), pinned_tool("a", "new")) == []
