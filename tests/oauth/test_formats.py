"""Untrusted JSON: only texts that all parsers read alike are accepted."""

import pytest

from oauth import formats
from oauth.formats import InvalidJSON
from tests.support.cases import each_case

AMBIGUOUS = [
    '{"a": 1, "a": 2}',
    '{"a": {"b": 1, "c": 2, "b": 1}}',
    '[{"a": 1, "\\u0061": 2}]',
    '{"a": NaN}',
    "[Infinity]",
    "-Infinity",
    '{"a": 1,}',
    "{'a': 1}",
    "[" * 100_000,
    "",
    '{"a": 1} {}',
    '"\t"',
]


@each_case("text", AMBIGUOUS)
def test_what_two_parsers_read_differently_is_rejected(text: str) -> None:
    for given in (text, text.encode()):
        with pytest.raises(InvalidJSON):
            formats.parse_json(given)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1"])
def test_other_encoding_than_utf_8_is_rejected(encoding: str) -> None:
    with pytest.raises(InvalidJSON):
        formats.parse_json('{"a": "\u00e9"}'.encode(encoding))


def test_value_is_parsed_as_written() -> None:
    text = '{"a": [1, 2.5, null, true, "\u00e9"], "b": {"a": 1}}'
    expected = {"a": [1, 2.5, None, True, "\u00e9"], "b": {"a": 1}}
    for given in (text, text.encode(), text.encode("utf-8-sig")):
        assert formats.parse_json(given) == expected
