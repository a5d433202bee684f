"""The file of rules: what is wrong anywhere rejects all of it, and names the line."""

import hashlib
from pathlib import Path

import pytest

from gateway_site.policy.policy_file import FILE_MAX, InvalidPolicy, load_rules, read_rules
from tests.support.cases import each_case

GOOD = b'# All may search.\n\n[[rule]]\naction = "allow"\ntools = ["search_*"]\n'
RULE = '[[rule]]\naction = "allow"\n'


def error_of(text: str | bytes) -> str:
    with pytest.raises(InvalidPolicy) as raised:
        read_rules(text.encode() if isinstance(text, str) else text)
    return str(raised.value)


def test_rules_know_their_lines_and_the_digest_of_the_file(tmp_path: Path) -> None:
    data = GOOD + b'  [[ rule ]] # nobody deletes\r\naction = "deny"\r\ntools = ["delete"]\r\n'
    path = tmp_path / "rules.toml"
    path.write_bytes(data)
    found = load_rules(path, ())
    assert [(rule.line, rule.action) for rule in found.rules] == [(3, "allow"), (6, "deny")]
    assert found.digest == hashlib.sha256(data).hexdigest()


def test_unreadable_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidPolicy, match="file not found"):
        load_rules(tmp_path / "none.toml", ())
    (tmp_path / "long.toml").write_bytes(GOOD + b"#" * FILE_MAX)
    with pytest.raises(InvalidPolicy, match="more than 262,144 bytes"):
        load_rules(tmp_path / "long.toml", ())


@each_case(
    ("line", "message"),
    [
        ('tool = ["a"]', "Line 6: 'tool' is unknown"),
        ('Tools = ["a"]', "Line 6: 'Tools' is unknown"),
        ('tools = "a"', "Line 6: tools must be a list of texts"),
        ("tools = [1]", "Line 6: tools must be a list of texts"),
        ("tools = []", "Line 6: tools is empty"),
        ("groups = []", "Line 6: groups is empty"),
        ('tools = ["a*b"]', "Line 6: tools: 'a*b' is no such name; a * may only be at its end"),
        ('tools = ["a**"]', "Line 6: tools: 'a**'"),
        ('tools = ["*a"]', "Line 6: tools: '*a'"),
        ('tools = [""]', "Line 6: tools: ''"),
        ('tools = ["a b"]', "Line 6: tools: 'a b'"),
        ('tools = ["a\\n"]', "Line 6: tools: 'a\\n'"),
        ('methods = ["tools/c*ll"]', "Line 6: methods: 'tools/c*ll'"),
        ('resources = ["file:///*/a"]', "Line 6: resources: 'file:///*/a'"),
        *(
            (f'resources = ["{address}"]', f"Line 6: resources: '{address}' is no address")
            for address in (
                *("https://Example.com/*", "HTTPS://example.com/*", "https://example.com"),
                *("https://example.com:443/*", "file:///a/../*", "file:/etc/*", "file:///a//b"),
                *("FILE:*", "db:%7b", "notes", "/etc/*"),
            )
        ),
        ('groups = ["sales "]', "Line 6: groups: 'sales ' is not a group"),
        ('groups = ["\u00a0sales"]', "Line 6: groups: '\\xa0sales' is not a group"),
        ('groups = ["sa\u200bles"]', "Line 6: groups: 'sa\\u200bles' is not a group"),
        ('groups = ["sales*"]', "Line 6: groups: 'sales*' is not a group"),
        ('clients = ["*"]', "Line 6: clients: '*' is not a client"),
        ('methods = ["prompts/*"]\ntools = ["a"]', "Line 6: none of its methods is about tools"),
    ],
)
def test_wrong_rule_is_an_error_that_names_its_line(line: str, message: str) -> None:
    assert message in error_of(GOOD.decode() + RULE + line)


@each_case(
    "address",
    [
        *("*", "h*", "https*", "https:*", "https://*", "https://ex*", "https://example.com*"),
        *("https://example.com/", "https://10.0.0.*", "https://a.example:8*", "file:///a/.*"),
        *("file:*", "file:///*", "db:%7*", "db:%7B", "notes://a/*", "urn:isbn:1"),
    ],
)
def test_address_may_begin_in_any_form_that_passes(address: str) -> None:
    for action in ("allow", "deny"):
        read_rules(f'[[rule]]\naction = "{action}"\nresources = ["{address}"]\n'.encode())


def test_wrong_file_is_an_error() -> None:
    for text, message in (
        ("", "must have 1 to 1000 rules"),
        ("rule = []", "must have 1 to 1000 rules"),
        ('rule = "allow"', "Begin each rule with a line"),
        ('rule = [{action = "allow"}]', "Begin each rule with a line"),
        ('[["rule"]]\naction = "allow"', "Begin each rule with a line"),
        ('[[rules]]\naction = "allow"', "'rules' is unknown"),
        ('default = "allow"\n' + RULE, "'default' is unknown"),
        ("[[rule]]\n", 'Line 1: the action must be "allow" or "deny"'),
        ('[[rule]]\naction = "Deny"', "Line 1: the action must be"),
        ('[[rule]]\naction = ["deny"]', "Line 1: the action must be"),
        (RULE + 'action = "deny"', "not valid TOML"),
        (RULE + 'tools = ["a"', "not valid TOML"),
        (b"\xff" + GOOD, "not UTF-8"),
        (b"\xef\xbb\xbf" + GOOD, "not valid TOML"),
        (RULE + "tools = " + "[" * 50_000, "not valid TOML"),
        (RULE * 1001, "must have 1 to 1000 rules"),
    ):
        assert message in error_of(text)
