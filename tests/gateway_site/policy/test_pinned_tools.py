"""The file of pinned tools, and the digests of their definitions."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from gateway_site.mcp import json_text
from gateway_site.policy.pinned_tools import (
    FILE_MAX,
    TOOLS_MAX,
    InvalidPins,
    compute_digest,
    format_file,
    load_pins,
)
from tests.support.cases import each_case

TOOL: dict[str, Any] = {
    "name": "search",
    "title": "Search",
    "description": "Searches.\nB\u00e9low \u202e\x7f",
    "inputSchema": {"type": "object", "properties": {"a": {"maximum": 1}}, "required": ["a"]},
    "outputSchema": {"type": "object"},
    "annotations": {"readOnlyHint": True},
    "icons": [{"src": "https://a.example/b.png"}],
    "_meta": {"a": None},
}


def digest(text: str) -> str:
    return compute_digest(json_text.parse(text.encode()))


def test_digest_is_one_that_other_programs_compute() -> None:
    canonical = json.dumps(TOOL, sort_keys=True, separators=(",", ":"))
    assert digest(json.dumps(TOOL)) == hashlib.sha256(canonical.encode()).hexdigest()


def test_digest_ignores_how_members_are_ordered_and_texts_escaped() -> None:
    reordered = json.dumps(dict(reversed(TOOL.items())), indent=3, ensure_ascii=False)
    assert digest(reordered) == digest(json.dumps(TOOL))


OTHERS: dict[str, list[Any]] = {
    "name": ["Search", "search "],
    "title": ["search", None],
    "description": ["Searches.\nB\u00e9low", "Searches.\nBe\u0301low \u202e\x7f"],
    "inputSchema": [{}, {**TOOL["inputSchema"], "properties": {"a": {"maximum": 2}}}],
    "outputSchema": [None, {"type": "object", "x": {}}],
    "annotations": [{"readOnlyHint": False}, {}],
    "icons": [[], [{"src": "https://a.example/c.png"}]],
    "_meta": [{}, {"a": False}],
}


@each_case("member", TOOL)
def test_each_member_counts(member: str) -> None:
    expected = digest(json.dumps(TOOL))
    for other in OTHERS[member]:
        assert digest(json.dumps({**TOOL, member: other})) != expected
    rest = {name: value for name, value in TOOL.items() if name != member}
    assert digest(json.dumps(rest)) != expected
    assert digest(json.dumps({**TOOL, "more": None})) != expected


def test_numbers_count_as_they_were_written() -> None:
    texts = ["1", "1.0", "1e0", "10e-1", "true", '"1"', "12345678901234567890.1"]
    assert len({digest(f'{{"a": {each}}}') for each in texts}) == len(texts)


def test_file_is_sorted_and_shows_each_character(tmp_path: Path) -> None:
    tools = [{"name": "b", "inputSchema": {}}, TOOL, {"name": "a", "n": [], "m": [1, {"x": 2}]}]
    text = format_file([*tools, dict(reversed(TOOL.items()))])
    assert text == format_file(reversed(tools))
    assert [each["name"] for each in json.loads(text)["tools"]] == ["a", "b", "search"]
    assert all(" " <= each <= "~" or each == "\n" for each in text)
    assert '\n      "description": "Searches.\\nB\\u00e9low \\u202e\\u007f",\n' in text
    path = tmp_path / "pins.json"
    path.write_text(text)
    loaded = load_pins(path)
    assert loaded.digests["search"] == {digest(json.dumps(TOOL))}
    assert loaded.digest == hashlib.sha256(text.encode()).hexdigest()


def test_number_stays_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "pins.json"
    path.write_text('{"tools": [{"name": "a", "b": [1.50, -0, 1E400]}]}')
    loaded = load_pins(path)
    path.write_text(format_file(loaded.definitions))
    assert "1.50" in path.read_text()
    assert load_pins(path).digests == loaded.digests


def test_tool_may_have_several_definitions(tmp_path: Path) -> None:
    path = tmp_path / "pins.json"
    path.write_text(format_file([{"name": "a", "x": 1}, {"name": "a", "x": 2}]))
    assert load_pins(path).digests == {
        "a": {digest('{"name":"a","x":1}'), digest('{"name":"a","x":2}')}
    }


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not valid JSON"),
        ("[]", 'one member, "tools"'),
        ('{"tools": {}}', 'one member, "tools"'),
        ('{"tools": [1]}', 'one member, "tools"'),
        ('{"tools": [], "more": 1}', 'one member, "tools"'),
        ('{"tools": [], "tools": []}', "member twice"),
        ('{"tools": [{"name": "a"}, {}]}', "Tool 2 has no name"),
        ('{"tools": [{"name": "a b"}]}', "Tool 1 has no name"),
        ('{"tools": [{"name": "a", "Name": "b"}]}', "Tool 1 has no name"),
        ('{"tools": [' + ",".join(['{"name": "a"}'] * (TOOLS_MAX + 1)) + "]}", "more than"),
        (" " * FILE_MAX + "{}", "has more than"),
    ],
)
def test_file_that_is_unclear_is_rejected_as_a_whole(
    tmp_path: Path, content: str, words: str
) -> None:
    path = tmp_path / "pins.json"
    path.write_text(content)
    with pytest.raises(InvalidPins, match=words):
        load_pins(path)


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(InvalidPins, match=r"(?i)file not found"):
            load_pins(path)
