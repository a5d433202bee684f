"""`WWW-Authenticate` as strangers write it."""

import time

from oauth.mcp.challenge import HEADER_MAX, Challenge, bearer_parameters, parse_challenges
from tests.support.cases import each_case

TEN = {
    "realm": 'notes, and "more"',
    "resource_metadata": "https://mcp.example/x",
    "scope": "a b",
    "error": "invalid_token",
    "error_description": 'resource_metadata="https://evil.example", Bearer x="y"',
    "error_uri": "https://mcp.example/e",
    "as_uri": "",
    "algs": "ES256",
    "max_age": "5",
    "acr_values": "\\ \t",
}


def quote(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def test_ten_parameters_are_read_as_they_are_quoted() -> None:
    header = "Bearer " + ", ".join(f"{name}={quote(value)}" for name, value in TEN.items())
    assert parse_challenges(header) == [Challenge("bearer", TEN)]


@each_case(
    ("header", "expected"),
    [
        ("", []),
        (" , ,", []),
        ("Bearer", [("bearer", {})]),
        ("Bearer,", [("bearer", {})]),
        ('BEARER Realm="x"', [("bearer", {"realm": "x"})]),
        ("Bearer a=b,, c = d ,", [("bearer", {"a": "b", "c": "d"})]),
        ("Basic, Bearer a=b, DPoP", [("basic", {}), ("bearer", {"a": "b"}), ("dpop", {})]),
        ("Negotiate YWJj==, Bearer a=b", [("negotiate", {}), ("bearer", {"a": "b"})]),
        ("Bearer abc, Bearer a=b", [("bearer", {}), ("bearer", {"a": "b"})]),
        ('Bearer a="b\\"c"', [("bearer", {"a": 'b"c'})]),
    ],
)  # fmt: skip
def test_lists_of_challenges_follow_the_grammar(
    header: str, expected: list[tuple[str, dict[str, str]]]
) -> None:
    assert parse_challenges(header) == [Challenge(*each) for each in expected]


@each_case(
    "header",
    [
        'Bearer a="b',
        'Bearer a="b\\"',
        "Bearer a=b a=c",
        "Bearer a=b, A=c",
        'Bearer a="b"c="d"',
        "Bearer a=, b=c",
        'Bearer a="\x00"',
        'Bearer a="b\r\nX: y"',
        "Bearer a=b; c=d",
        "=b",
        "Bearer @",
        "Bearer " + ", ".join(f"p{n}=v" for n in range(33)),
        "Bearer a=" + "b" * HEADER_MAX,
        ", ".join(f"Scheme{n}" for n in range(33)),
    ],
)
def test_malformed_header_has_no_challenge(header: str) -> None:
    assert parse_challenges(header) == []


def test_parameters_of_another_scheme_are_not_those_of_bearer() -> None:
    assert bearer_parameters('Basic scope="a", Bearer realm="b"') == {"realm": "b"}
    assert bearer_parameters('Basic scope="a"') == {}


@each_case(
    "unit", ["a", " ", ",", '"', "\\", "=", "a=", 'a="', "a ", "a,", 'a="\\', "a=b,", "Bearer "]
)
def test_time_is_bounded_for_every_repeated_text(unit: str) -> None:
    began = time.process_time()
    for prefix in ("", "Bearer ", 'Bearer a="'):
        parse_challenges((prefix + unit * HEADER_MAX)[:HEADER_MAX])
    assert time.process_time() - began < 1  # linear: milliseconds; quadratic: many seconds
