"""Lists show what a caller may call, and nothing that a client could take for something else."""

import json
from typing import Any

import pytest

from gateway_site.mcp import json_text
from gateway_site.mcp.messages import InvalidMessage, read_message
from gateway_site.policy.lists import filter_result
from gateway_site.policy.policy_file import read_rules
from gateway_site.policy.rules import Caller, CallerRules
from gateway_site.policy.subjects import URI_MAX
from tests.support.cases import each_case

OLD, NEW = "2025-11-25", "2026-07-28"
SEARCH = '[[rule]]\naction = "allow"\ntools = ["search_*", "read"]\nprompts = ["p"]\n'
ALL = '[[rule]]\naction = "allow"\n'


def rules(*texts: str, groups: tuple[str, ...] = ()) -> CallerRules:
    return read_rules("".join(texts).encode()).of(Caller(groups=frozenset(groups)))


def tools(*names: Any) -> list[dict[str, Any]]:
    return [{"name": each, "inputSchema": {"maximum": 1}} for each in names]


def filter_list(found: CallerRules, version: str | None = OLD, **result: Any) -> Any:
    """Return a result as it passes, read from the text of a message as the gateway does."""
    text = json.dumps({"jsonrpc": "2.0", "id": 1, "result": result}).encode()
    message = read_message(text)
    changed = filter_result(found, message.result, version)
    return "as it came" if changed is None else json.loads(json_text.write(changed))


def test_each_list_shows_what_may_be_called() -> None:
    shown = filter_list(
        rules(SEARCH),
        tools=tools("search_a", "write", "read"),
        prompts=[{"name": "p"}, {"name": "q"}],
        resources=[{"uri": "db:a", "name": "read"}],
        resourceTemplates=[{"uriTemplate": "db:{a}", "name": "read"}],
        nextCursor="2",
        _meta={"a": 1.50},
    )
    assert shown == {
        "tools": tools("search_a", "read"),
        "prompts": [{"name": "p"}],
        "resources": [],
        "resourceTemplates": [],
        "nextCursor": "2",
        "_meta": {"a": 1.5},
    }


def test_later_page_is_filtered_like_the_first_and_keeps_its_cursor() -> None:
    assert filter_list(rules(SEARCH), tools=tools("write"), nextCursor="3") == {
        "tools": [],
        "nextCursor": "3",
    }


def test_list_of_which_all_may_be_seen_passes_as_it_came() -> None:
    assert filter_list(rules(SEARCH), tools=tools("read"), nextCursor="2") == "as it came"
    assert filter_list(rules(ALL), tools=tools("read"), ttlMs=60_000, cacheScope="private") == (
        "as it came"
    )
    assert filter_list(rules(SEARCH), content=[{"type": "text", "text": "write"}]) == "as it came"
    assert filter_list(rules(SEARCH), capabilities={"tools": {"listChanged": True}}) == "as it came"


def test_caller_without_a_rule_sees_nothing() -> None:
    found = rules('[[rule]]\naction = "allow"\ngroups = ["sales"]\n', groups=("other",))
    assert filter_list(found, tools=tools("read")) == {"tools": []}
    assert filter_list(found, resourceTemplates=[{"uriTemplate": "db:{a}"}]) == {
        "resourceTemplates": []
    }


def test_odd_names_duplicates_and_unclear_entries_are_left_out() -> None:
    odd: list[Any] = ["", " ", "a b", "caf\u00e9", "a\u0000", "x" * 129, None, 1, ["read"]]
    entries: list[Any] = [
        *tools(*odd, "twice", "good", "x" * 128, "twice"),
        *("read", None, ["read"], {"title": "read"}, {"Name": "good2"}),
        *({"name": "clear", "Name": "other"}, {"name": "clear2", "na\u006de\u200b": "other"}),
        {"name": "clear3", "__proto__": {"name": "other"}},
    ]
    assert filter_list(rules(ALL), tools=entries) == {"tools": tools("good", "x" * 128)}
    pairs = [{"name": "twice"}, {"name": "once"}, {"name": "twice", "title": "b"}]
    assert filter_list(rules(ALL), prompts=pairs) == {"prompts": [{"name": "once"}]}
    unclear = [
        {"uriTemplate": "db:{a}", other: "db:{b}"}
        for other in ("uritemplate", "uriTemplate\u200b", "\uff55riTemplate")
    ]
    assert filter_list(rules(ALL), resourceTemplates=unclear) == {"resourceTemplates": []}


def test_address_that_is_too_long_to_be_called_is_left_out() -> None:
    longest, longer = "db:" + "a" * (URI_MAX - 3), "db:" + "a" * (URI_MAX - 2)
    for text in ("", '[[rule]]\naction = "deny"\nresources = ["db:secret"]\n'):
        listed = [longer, longest, "db:" + "é" * (URI_MAX // 2 - 1)]
        found = filter_list(rules(ALL, text), resources=[{"uri": each} for each in listed])
        assert found == {"resources": [{"uri": longest}]}
        templates = [{"uriTemplate": longer + "{a}"}, {"uriTemplate": "db:{a}"}]
        found = filter_list(rules(ALL, text), resourceTemplates=templates)
        assert found == {"resourceTemplates": templates[1:]}


def test_templates_are_shown_if_a_resource_of_theirs_may_be_read() -> None:
    found = rules(
        '[[rule]]\naction = "allow"\nresources = ["file:///a/*", "db:one"]\n',
        '[[rule]]\naction = "deny"\nresources = ["file:///a/secret/*"]\n',
    )
    templates = (
        *("file:///{+path}", "file:///a/{b}", "file:///a/secret/{b}", "file:///b/{c}", "db:{a}"),
        *("db:t{a}", "{+uri}", "file:///a/../{b}"),
    )
    shown = filter_list(found, resourceTemplates=[{"uriTemplate": each} for each in templates])
    assert [each["uriTemplate"] for each in shown["resourceTemplates"]] == [
        *("file:///{+path}", "file:///a/{b}", "db:{a}"),
    ]


@each_case("ttl", [60_001, 1e9, -1, True, "60000", None])
def test_no_shared_cache_keeps_a_list_and_none_keeps_it_long(ttl: Any) -> None:
    private = {"cacheScope": "private", "ttlMs": 60_000}
    for scope in ("public", "Private", None):
        sent = {"tools": tools("read"), "ttlMs": ttl, "cacheScope": scope}
        assert filter_list(rules(SEARCH), NEW, **sent) == {"tools": tools("read")} | private


def test_number_that_is_infinite_is_not_short() -> None:
    changed = filter_result(rules(ALL), json_text.parse(b'{"tools":[],"ttlMs":1e999}'), OLD)
    assert changed == {"tools": [], "ttlMs": 60_000}


def test_new_list_without_a_scope_gets_one_on_every_page() -> None:
    for cursor in ({}, {"nextCursor": "2"}):
        assert filter_list(rules(ALL), NEW, tools=[], **cursor)["cacheScope"] == "private"
        assert filter_list(rules(ALL), OLD, tools=[], **cursor) == "as it came"
    assert filter_list(rules(ALL), NEW, contents=[], cacheScope="public", ttlMs=5) == {
        "contents": [],
        "cacheScope": "private",
        "ttlMs": 5,
    }
    assert filter_list(rules(ALL), NEW, content=[]) == "as it came"


@pytest.mark.parametrize("entries", [None, {}, "read", 1, {"name": "read"}])
def test_list_that_is_none_does_not_pass(entries: Any) -> None:
    with pytest.raises(InvalidMessage):
        filter_list(rules(ALL), tools=entries)
