# ruff: noqa: RUF001 - letters that look alike
"""One message of JSON-RPC, in which no server finds another one."""

import json
import sys
import unicodedata
from functools import cache
from random import Random
from typing import Any

import pytest

from gateway_site.mcp import messages
from gateway_site.mcp.messages import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    MEMBERS,
    PARSE_ERROR,
    PROTOCOL_VERSION,
    InvalidMessage,
    read_message,
)
from tests.support.cases import each_case

DECIDING = (
    *("jsonrpc", "id", "method", "params", "name", "uri", "arguments", "_meta"),
    *("result", "error", "tools", "cursor", "ref", "notifications"),
)


def call(**more: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "a"}} | more


def code_of(message: Any) -> int | None:
    """Return the code that a message is rejected with; None for an accepted one."""
    try:
        read_message(json.dumps(message).encode())
    except InvalidMessage as invalid:
        return invalid.code
    return None


def place_member(member: str) -> list[dict[str, Any]]:
    """Return calls that have a member in the envelope, and in `params`."""
    return [call(**{member: "x"}), call(params={"name": "a", member: "x"})]


def in_meta(member: str) -> dict[str, Any]:
    return call(params={"name": "a", "_meta": {member: "x"}})


def lookalikes(member: str) -> set[str]:
    """Return names that some parser may take for a member's, each with one odd character."""
    found = {member.upper(), member.capitalize(), member + "\x00", "\u200b" + member}
    for at, letter in enumerate(member):
        before, after = member[:at], member[at + 1 :]
        found |= {before + odd + after for odd in characters_alike().get(letter, [])}
        found |= {before + odd + letter + after for odd in ("\x00", "\x1f", "\x7f", "\x80")}
    return found - {member}


@cache
def characters_alike() -> dict[str, list[str]]:
    """Return all characters that are an ASCII one in another case, width or font."""
    found: dict[str, list[str]] = {}
    for code in range(sys.maxunicode + 1):
        plain = unicodedata.normalize("NFKC", chr(code)).casefold()
        if plain.isascii() and len(plain) == 1 and plain != chr(code):
            found.setdefault(plain, []).append(chr(code))
    return found


@each_case("member", DECIDING)
def test_member_that_only_looks_like_another_is_rejected_everywhere(member: str) -> None:
    for name in lookalikes(member):
        assert [code_of(each) for each in place_member(name)] == [INVALID_REQUEST] * 2, ascii(name)
        assert code_of(in_meta(name)) is None


def test_only_the_version_of_the_protocol_is_protected_in_meta() -> None:
    for name in lookalikes(PROTOCOL_VERSION):
        assert code_of(in_meta(name)) == INVALID_REQUEST, ascii(name)


def prototypes(value: Any) -> list[Any]:
    """Return a value with a member `__proto__` in each of its objects, one at a time."""
    if isinstance(value, list):
        (item,) = value
        return [[each] for each in prototypes(item)]
    if not isinstance(value, dict):
        return []
    inner = [value | {name: each} for name, v in value.items() for each in prototypes(v)]
    return [value | {"__proto__": {"tools": []}}, *inner]


def test_prototype_is_rejected_where_members_are_read_and_nowhere_else() -> None:
    meta, free = {"a": 1}, {"a": {"b": [dict[str, Any]()]}}
    asked = {"name": "a", "_meta": meta, "arguments": free, "notifications": {"c": {}}}
    result = {"_meta": meta, "content": [free], "structuredContent": free}
    tools = [{"name": "a", "inputSchema": free}]  # of which `lists` leaves out entries
    for message, rejected in [
        (call(params=asked), 4),
        ({"jsonrpc": "2.0", "id": 1, "result": result | {"tools": tools}}, 3),
        ({"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "data": {}}}, 1),
    ]:
        assert code_of(message) is None
        codes = [code_of(each) for each in prototypes(message)]
        assert codes.count(INVALID_REQUEST) == rejected
        assert codes.count(None) == len(codes) - rejected > 0
    assert code_of(call(constructor={}, prototype={})) is None
    escaped = b'{"jsonrpc":"2.0","id":1,"result":{"\\u005f_proto__":{"tools":[]}}}'
    with pytest.raises(InvalidMessage):
        read_message(escaped)


def test_lookalikes_hold_what_go_takes_for_a_letter() -> None:
    assert {"tool\u017f", "Tools", "tools\x00"} <= lookalikes("tools")
    assert "\u212a" in characters_alike()["k"]
    assert {*DECIDING} == MEMBERS


@each_case("name", ["names", "Title", "x-name", "größe", "nаme", "İd", "", "progressToken"])
def test_other_members_pass(name: str) -> None:
    assert [code_of(each) for each in (*place_member(name), in_meta(name))] == [None] * 3


def test_long_member_is_not_normalized(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a megabyte of marks that takes Python 3.11 minutes, in which nothing else can run."""
    normalize, sizes = unicodedata.normalize, []

    def note(form: Any, text: str) -> str:
        sizes.append(len(text))
        return normalize(form, text)

    monkeypatch.setattr(unicodedata, "normalize", note)
    messages._find_ascii_form.cache_clear()
    marks = "a" + "\u0345\u0301\u0323\u0334" * 1000
    assert [code_of(each) for each in place_member(marks)] == [None] * 2
    assert code_of({"jsonrpc": "2.0", "id": 1, "result": {marks: []}}) is None
    hidden = "\u200b" * 1000 + "\uff4eame" + "\u200b" * 1000
    assert [code_of(each) for each in place_member(hidden)] == [INVALID_REQUEST] * 2
    assert set(sizes) == {1}
    assert messages.fold("\uff4e" * 1000) == ""


def fold_whole(name: str) -> str:
    """Fold a name at once, as servers do."""
    seen = "".join(each for each in name if unicodedata.category(each) not in messages.IGNORED)
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", seen).casefold())


def test_characters_that_are_folded_one_by_one_give_what_the_whole_name_gives() -> None:
    """Also beside marks, which combine with the character before them."""
    random = Random(4)  # noqa: S311 - the same each time
    alike = [each for found in characters_alike().values() for each in found]
    marks = ["\u0301", "\u0307", "\u0345", "\u0338", "\u200b", "\x01", "\u3099", "\u1161"]
    names = [a + b for a in alike for b in marks] + [b + a for a in alike for b in marks]
    for pool in ([*alike, *marks], [*alike, "\u200b"]):
        names += ["".join(random.choices(pool, k=9)) for _ in range(999)]
    for name in names:
        whole = fold_whole(name)
        assert messages.fold(name) == (whole if whole.isascii() else ""), ascii(name)


def test_no_character_that_is_shown_folds_to_nothing() -> None:
    """Otherwise a long name could look like a short one."""
    shown = (
        each
        for each in map(chr, range(sys.maxunicode + 1))
        if unicodedata.category(each) not in messages.IGNORED
    )
    assert not [ascii(each) for each in shown if not unicodedata.normalize("NFKC", each).casefold()]


@pytest.mark.parametrize("listed", ["Tools", "toolſ", "ResourceTemplates", "PROMPTS", "tools\x00"])
def test_result_with_a_list_that_only_looks_like_one_is_rejected(listed: str) -> None:
    assert code_of({"jsonrpc": "2.0", "id": 1, "result": {listed: []}}) == INVALID_REQUEST


REJECTED: dict[str, tuple[Any, int]] = {
    "a batch": ([call()], INVALID_REQUEST),
    "an empty batch": ([], INVALID_REQUEST),
    "a text": ("x", INVALID_REQUEST),
    "no version of JSON-RPC": ({"id": 1, "method": "ping"}, INVALID_REQUEST),
    "version 1": (call(jsonrpc="1.0"), INVALID_REQUEST),
    "an id that is null": (call(id=None), INVALID_REQUEST),
    "an id that is a boolean": (call(id=True), INVALID_REQUEST),
    "an id that is a fraction": (call(id=1.5), INVALID_REQUEST),
    "a method that is a number": (call(method=1), INVALID_REQUEST),
    "a method with a NUL": (call(method="tools/list\0"), INVALID_REQUEST),
    "params in an array": (call(params=["a"]), INVALID_REQUEST),
    "_meta as a text": (call(params={"name": "a", "_meta": "x"}), INVALID_REQUEST),
    "a version that is a number": (
        call(params={"name": "a", "_meta": {PROTOCOL_VERSION: 1}}),
        INVALID_REQUEST,
    ),
    "a call and a result": (call(result={}), INVALID_REQUEST),
    "a call and an error": (call(error={}), INVALID_REQUEST),
    "a result and an error": ({"jsonrpc": "2.0", "id": 1, "result": {}, "error": {}}, -32600),
    "a result with params": ({"jsonrpc": "2.0", "id": 1, "result": {}, "params": {}}, -32600),
    "a result without an id": ({"jsonrpc": "2.0", "result": {}}, INVALID_REQUEST),
    "a result that is an array": ({"jsonrpc": "2.0", "id": 1, "result": []}, INVALID_REQUEST),
    "nothing at all": ({"jsonrpc": "2.0", "id": 1}, INVALID_REQUEST),
    "no name": (call(params={}), INVALID_PARAMS),
    "no params": (call(params=None), INVALID_PARAMS),
    "a name that is a number": (call(params={"name": 1}), INVALID_PARAMS),
    "a name with a NUL": (call(params={"name": "a\0b"}), INVALID_PARAMS),
    "a resource without an address": (call(method="resources/read"), INVALID_PARAMS),
}


@each_case(("message", "code"), REJECTED.values(), ids=REJECTED)
def test_what_is_no_single_message_is_rejected(message: Any, code: int) -> None:
    assert code_of(message) == code


def test_rejection_has_the_id_if_there_is_one() -> None:
    for data, found in [
        (json.dumps(call(Method="x")).encode(), 1),
        (json.dumps(call(id="x", params=[])).encode(), "x"),
        (json.dumps(call(id=None)).encode(), None),
        (b"{", None),
    ]:
        with pytest.raises(InvalidMessage) as rejected:
            read_message(data)
        assert rejected.value.request_id == found
    assert rejected.value.code == PARSE_ERROR


def test_request_tells_what_it_is_about() -> None:
    params = {"name": "a", "uri": "b", "_meta": {PROTOCOL_VERSION: "2026-07-28"}}
    for method, name in [
        *[("tools/call", "a"), ("prompts/get", "a"), ("resources/read", "b")],
        *[("resources/subscribe", "b"), ("resources/unsubscribe", "b"), ("tools/list", None)],
    ]:
        found = read_message(json.dumps(call(method=method, params=params)).encode())
        assert (found.method, found.name, found.version) == (method, name, "2026-07-28")
        assert found.is_request
        assert not found.without_content().params
    assert "'a'" not in repr(found)


def test_other_kinds_are_told_apart() -> None:
    note = read_message(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')
    assert not note.is_request
    assert not note.is_response
    result = read_message(b'{"jsonrpc":"2.0","id":"x","result":{"tools":[]}}')
    assert result.is_result
    assert (result.id, result.result) == ("x", {"tools": []})
    for data in (b'{"jsonrpc":"2.0","id":null,"error":{}}', b'{"jsonrpc":"2.0","error":{}}'):
        error = read_message(data)
        assert error.is_response
        assert not error.is_result
