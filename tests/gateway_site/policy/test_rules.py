"""Rules: deny wins, what no rule allows is denied, and nothing passes by an odd spelling."""

import json
from random import Random
from typing import Any

import pytest

from gateway_site.mcp.messages import read_message
from gateway_site.policy import rules as evaluation
from gateway_site.policy.names import Names
from gateway_site.policy.policy_file import read_rules
from gateway_site.policy.rules import Caller, Rules
from gateway_site.policy.spellings import is_plain_method, is_plain_uri
from gateway_site.policy.subjects import (
    KINDS_OF_METHODS,
    SUBSCRIPTIONS_MAX,
    TOOLS,
    URI_MAX,
    Subject,
    subjects_of,
)

ALL = '[[rule]]\naction = "allow"\n'
SEARCH = '[[rule]]\naction = "allow"\ngroups = ["sales"]\ntools = ["search_*", "read"]\n'


def rules(*texts: str) -> Rules:
    return read_rules("".join(texts).encode())


def decide(
    found: Rules,
    method: str,
    *,
    groups: tuple[str, ...] = ("sales",),
    clients: tuple[str, ...] = (),
    **params: Any,
) -> tuple[bool, int | None]:
    """Return whether a call passes, and the line of the rule that decides."""
    sent = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    message = read_message(json.dumps(sent).encode())
    caller = Caller(groups=frozenset(groups), clients=frozenset(clients))
    decision = found.of(caller).decide(method, subjects_of(message))
    return decision.is_allowed, None if decision.rule is None else decision.rule.line


def test_only_what_a_rule_allows_passes() -> None:
    found = rules(SEARCH)
    assert decide(found, "tools/call", name="search_") == (True, 1)
    assert decide(found, "tools/call", name="read") == (True, 1)
    for denied in ("Search_x", "search", "reads", "search_\u00e9", "search_" + "x" * 122, "", " "):
        assert decide(found, "tools/call", name=denied) == (False, None), denied
    others: list[tuple[str, dict[str, Any]]] = [
        ("prompts/get", {"name": "read"}),
        ("resources/read", {"uri": "read"}),
        ("tasks/get", {"taskId": "read"}),
        ("tasks/result", {}),
        ("logging/setLevel", {}),
        ("tools/new", {}),
        ("notifications/new", {}),
    ]
    for method, params in others:
        assert decide(found, method, **params) == (False, None), method


def test_caller_whom_no_rule_allows_anything_cannot_even_begin() -> None:
    found = rules(SEARCH)
    for method in ("initialize", "server/discover", "tools/list", "ping"):
        assert decide(found, method) == (True, 1)
        assert decide(found, method, groups=("other",)) == (False, None)
    assert found.of(Caller(groups=frozenset({"sales"}))).decide_basic().is_allowed
    assert not found.of(Caller(groups=frozenset())).decide_basic().is_allowed


def test_deny_wins_in_any_order() -> None:
    no_delete = '[[rule]]\naction = "deny"\ntools = ["delete_*"]\n'
    for found, line in ((rules(ALL, no_delete), 3), (rules(no_delete, ALL), 1)):
        assert decide(found, "tools/call", name="delete_all") == (False, line)
        assert decide(found, "tools/call", name="delet")[0]
        assert decide(found, "prompts/get", name="delete_all")[0]
        assert decide(found, "anything/new")[0]


def test_denied_caller_cannot_begin() -> None:
    found = rules(ALL, '[[rule]]\naction = "deny"\nclients = ["unverified"]\n')
    unverified = Caller(groups=frozenset(), clients=frozenset({"unverified"}))
    assert decide(found, "initialize", clients=("unverified",)) == (False, 3)
    assert not found.of(unverified).decide_basic().is_allowed
    assert decide(found, "initialize") == (True, 1)


def test_rule_for_clients_does_not_concern_people_without_one() -> None:
    found = rules(ALL + 'clients = ["claude.ai", "own"]\n')
    assert not decide(found, "tools/call", name="a")[0]
    assert not decide(found, "tools/call", name="a", clients=("unverified",))[0]
    assert decide(found, "tools/call", name="a", clients=("claude.ai",))[0]


def test_methods_and_names_of_a_rule_must_both_match() -> None:
    found = rules(ALL + 'methods = ["resources/read"]\nresources = ["file:///a/*"]\n')
    assert decide(found, "resources/read", uri="file:///a/x")[0]
    assert not decide(found, "resources/read", uri="file:///b/x")[0]
    assert not decide(found, "resources/subscribe", uri="file:///a/x")[0]
    only_tasks = rules(SEARCH, ALL + 'methods = ["tasks/*"]\n')
    assert decide(only_tasks, "tasks/get", taskId="1") == (True, 5)
    assert not decide(only_tasks, "tools/call", name="write")[0]


@pytest.mark.parametrize("method", ["tools/call", "prompts/get"])
def test_retry_with_inputs_is_decided_like_a_first_call(method: str) -> None:
    found = rules('[[rule]]\naction = "allow"\ntools = ["a"]\nprompts = ["a"]\n')
    inputs: dict[str, Any] = {"inputResponses": {"x": {}}, "requestState": "s"}
    assert decide(found, method, name="a", **inputs)[0]
    assert not decide(found, method, name="b", **inputs)[0]


def test_names_within_an_object_count() -> None:
    found = rules(
        ALL, '[[rule]]\naction = "deny"\nprompts = ["secret"]\nresources = ["db:secret"]\n'
    )
    complete, listen = "completion/complete", "subscriptions/listen"
    assert decide(found, complete, ref={"type": "ref/prompt", "name": "open"})[0]
    assert decide(found, listen, notifications={"resourceSubscriptions": ["db:open"]})[0]
    assert decide(found, listen, notifications={"toolsListChanged": True})[0]
    assert decide(
        found, listen, notifications={"resourceSubscriptions": ["db:a", "db:secret"]}
    ) == (
        False,
        3,
    )
    assert decide(found, complete, ref={"type": "ref/prompt", "name": "secret"}) == (False, 3)
    assert decide(found, complete, ref={"type": "ref/resource", "uri": "db:secret"}) == (False, 3)
    for unclear in (
        None,
        "secret",
        {"type": "ref/prompt", "Name": "secret"},
        {"type": "ref/prompt", "name": "open", "Name": "secret"},
        {"type": "ref/prompt", "name": "open", "uri": "db:secret"},
        {"type": "ref/tool", "name": "secret"},
        {"type": ["ref/prompt"], "name": "open"},
        {"name": "open"},
    ):
        assert not decide(found, complete, ref=unclear)[0], unclear
    others: list[Any] = [
        [],
        {"ResourceSubscriptions": ["db:secret"]},
        {"resourceSubscriptions": "db:secret"},
        {"resourceSubscriptions": [["db:secret"]]},
    ]
    for other in others:
        assert not decide(found, listen, notifications=other)[0], other


def test_other_spelling_of_a_known_method_is_no_way_around_a_rule() -> None:
    found = rules(ALL, '[[rule]]\naction = "deny"\ntools = ["secret"]\n')
    for method in (
        "Tools/Call",
        "tools/call/",
        "/tools/call",
        "TOOLS/CALL",
        "tools/call ",
        "töols",
    ):
        assert not decide(found, method, name="secret")[0], method
        assert not is_plain_method(method), method
    assert decide(found, "tools/callback", name="secret")[0]


def test_address_that_servers_may_shorten_or_decode_is_not_plain() -> None:
    plain = (
        *(
            "file:///a/b.txt",
            "file:///a%20b",
            "db:users",
            "https://x.example/a?b=c//d#e",
            "a+b://c/d",
        ),
        *("https://x.example:8443/", "note://n-1/", "file:///a..b/.c", "urn:isbn:1"),
        *("http://127.0.0.1:9000/a", "note://1", "file:///100%25", "https://1.example/"),
    )
    odd = (
        *("file:///a/../b", "file:///a/./b", "file:///a/..", "file:///a/%2E%2E/b", "file:///%61"),
        *(
            "file:///a%2Fb",
            "file:///a%2fb",
            "file:///a\\b",
            "file:///a%5Cb",
            "file:///a%00",
            "File:///a",
        ),
        *("file:///a//b", "file://localhost/a", "file:/a", "file:a", "file:///a b", "file:///é"),
        *("https://X.example/", "https://x.example./", "https://x.example:443/", "https://u@x/"),
        *("https://x.example:/", "https://%78/", "file:///a/..;b/c", "file:///a%", "/a", "", "..:"),
        *("db:../a", "db:a/..#b", "file:///a%252E", "https:/x.example/a", "https:x.example/a"),
        *(
            "https:///x.example/a",
            "https://x.example",
            "https://x.example?a",
            "ftp://x.example:21/",
        ),
        *("http://127.1/a", "http://0x7f.0.0.1/", "http://2130706433/", "http://127.0.0.01/"),
        *("http://[::1]/", "http://1.2.3.4.5/", "http://1.2.3.4.:80/"),
    )
    assert [each for each in plain if not is_plain_uri(each)] == []
    assert [each for each in odd if is_plain_uri(each)] == []


def test_odd_address_is_denied_where_rules_name_resources() -> None:
    found = rules(ALL, '[[rule]]\naction = "deny"\nresources = ["file:///secret/*"]\n')
    assert decide(found, "resources/read", uri="file:///open/x")[0]
    assert decide(found, "resources/read", uri="file:///secret/x") == (False, 3)
    for uri in ("file:///open/../secret/x", "file:///%73ecret/x", "FILE:///secret/x"):
        assert decide(found, "resources/read", uri=uri) == (False, None)
    assert decide(rules(ALL), "resources/read", uri="My Notes/../1")[0]


def test_denied_method_is_denied_in_every_spelling() -> None:
    found = rules(ALL, '[[rule]]\naction = "deny"\nmethods = ["tasks/*", "logging/setLevel"]\n')
    for method in ("Tasks/Get", "/tasks/get", "tasks/get/", "LOGGING/setlevel"):
        assert decide(found, method) == (False, 3), method
    assert decide(found, "logging/getLevel")[0]
    allowed = rules('[[rule]]\naction = "allow"\nmethods = ["tasks/*"]\n')
    assert decide(allowed, "tasks/get")[0]
    assert not decide(allowed, "Tasks/Get")[0]


def test_denied_address_is_denied_in_every_spelling_and_without_what_servers_ignore() -> None:
    found = rules(ALL, '[[rule]]\naction = "deny"\nresources = ["file:///s/a:b", "db:%7B*"]\n')
    for uri in (
        *("file:///s/a:b", "file:///s/a%3Ab", "file:///s/a:b#c", "file:///s/a:b?c#d"),
        *("file:///s/a:b/", "file:///s/a:b/?c", "db:%7Bx%7D", "db:{x"),
    ):
        assert not decide(found, "resources/read", uri=uri)[0], uri
    assert decide(found, "resources/read", uri="file:///s/a:b/c")[0]
    allowed = rules('[[rule]]\naction = "allow"\nresources = ["file:///s/a:b"]\n')
    assert decide(allowed, "resources/read", uri="file:///s/a:b")[0]
    for uri in ("file:///s/a%3Ab", "file:///s/a:b#c", "file:///s/a:b/"):
        assert not decide(allowed, "resources/read", uri=uri)[0], uri


def test_what_is_denied_is_denied_in_any_case_and_with_any_last_slash() -> None:
    """Some servers and file systems ignore case; what is allowed is allowed as it is written."""
    found = rules(
        ALL,
        '[[rule]]\naction = "deny"\ntools = ["delete", "Drop_*"]\nprompts = ["Secret"]\n'
        'resources = ["file:///Secret/*", "file:///etc/"]\n',
    )
    for name in ("Delete", "DELETE", "drop_all", "DROP_"):
        assert decide(found, "tools/call", name=name) == (False, 3), name
    assert decide(found, "tools/call", name="deleted")[0]
    assert decide(found, "prompts/get", name="secret") == (False, 3)
    for uri in ("file:///secret/x", "file:///SECRET/x", "file:///Etc", "file:///etc/"):
        assert decide(found, "resources/read", uri=uri) == (False, 3), uri
    allowed = rules('[[rule]]\naction = "allow"\ntools = ["delete"]\n')
    assert not decide(allowed, "tools/call", name="Delete")[0]


def test_call_about_very_much_is_denied_at_once() -> None:
    """A megabyte of addresses took seconds, in which the process served nobody else."""
    found = rules(ALL, '[[rule]]\naction = "deny"\nresources = ["db:secret"]\n')
    uris = [f"db:{number}" for number in range(SUBSCRIPTIONS_MAX + 1)]
    listen = "subscriptions/listen"
    assert decide(found, listen, notifications={"resourceSubscriptions": uris[1:]})[0]
    assert not decide(found, listen, notifications={"resourceSubscriptions": uris})[0]
    assert decide(found, "resources/read", uri="db:" + "a" * (URI_MAX - 3))[0]


def test_addresses_of_more_than_8_kb_or_64_kb_together_are_denied_before_any_rule(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Evaluating rules about a megabyte of addresses took 0.2 s in the event loop."""
    compared = list[str]()
    for name in ("is_plain_uri", "readings_of"):
        monkeypatch.setattr(evaluation, name, compared.append)
    largest, longer = "db:" + "a" * (URI_MAX - 3), "db:" + "a" * (URI_MAX - 2)
    calls: list[tuple[str, dict[str, Any]]]
    calls = [(method, {"uri": longer}) for method in KINDS_OF_METHODS if "resources" in method]
    calls += [("completion/complete", {"ref": {"type": "ref/resource", "uri": longer}})]
    calls += [("resources/read", {"uri": "db:" + "é" * (URI_MAX // 2 - 1)})]
    listed = [[longer], [largest] * 8 + ["d"], [largest[:512]] * 129]
    listen = "subscriptions/listen"
    calls += [(listen, {"notifications": {"resourceSubscriptions": each}}) for each in listed]
    for text in ("", '[[rule]]\naction = "deny"\nresources = ["db:secret"]\n'):
        for method, params in calls:
            assert not decide(rules(ALL, text), method, **params)[0], method
    assert not compared
    monkeypatch.undo()
    allowed = {"resourceSubscriptions": [largest] * 8}
    assert decide(rules(ALL), listen, notifications=allowed)[0]
    assert decide(rules(ALL), "resources/read", uri="db:" + "é" * (URI_MAX // 2 - 2))[0]


def test_first_rule_decides_that_a_search_through_all_of_them_finds() -> None:
    random = Random(8)  # noqa: S311 - the same each time
    names = ["a", "ab", "abc", "b", "ba"]
    patterns = [*names, "*", "a*", "ab*", "b*"]
    for _ in range(100):
        texts, matching, line = list[str](), list[tuple[bool, int, set[str]]](), 1
        for _ in range(4):
            action = random.choice(["allow", "deny"])
            group = random.choice(["sales", "other"])
            tools = random.sample(patterns, random.choice([0, 1, 3]))
            methods = random.choice(
                [[], ["tools/call", "x"], ["tools/*"], *([] if tools else [["x"]])]
            )
            text = f'[[rule]]\naction = "{action}"\ngroups = ["{group}"]\n'
            text += f"tools = {json.dumps(tools)}\n" if tools else ""
            text += f"methods = {json.dumps(methods)}\n" if methods else ""
            found = {name for name in names if any(fits(name, each) for each in tools or ["*"])}
            if group == "sales" and methods != ["x"]:
                matching.append((action == "allow", line, found))
            texts.append(text)
            line += text.count("\n")
        for name in names:
            about = [(allows, at) for allows, at, found in matching if name in found]
            expected = min(about, default=(False, None))
            assert decide(rules(*texts), "tools/call", name=name) == expected, texts


def fits(name: str, pattern: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def test_tool_is_not_compared_with_each_of_many_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of a thousand tools, and a thousand rules, took two seconds in the event loop."""
    compared, matches = [0], Names.matches

    def count(names: Names, name: str) -> bool:
        compared[0] += 1
        return matches(names, name)

    monkeypatch.setattr(Names, "matches", count)
    texts = [
        f'[[rule]]\naction = "deny"\nmethods = ["tools/*"]\ntools = ["{n}*", "x{n}"]\n'
        f'[[rule]]\naction = "deny"\nmethods = ["x/{n}"]\n'
        for n in range(300)
    ]
    of_caller = rules(ALL, *texts).of(Caller(groups=frozenset()))
    compared[0] = 0
    for number in range(100):
        assert of_caller.decide("tools/call", (Subject(TOOLS, f"y{number}"),)).is_allowed
    assert compared[0] <= 300
