"""The scope of a token response: what is stored of a long or malformed one."""

import pytest

from oauth.provider.granted_scope import SCOPE_MAX, parse_scope, split_scope
from tests.support.cases import each_case

REQUESTED = ("openid", "orders.read")
LONG = "x" * (SCOPE_MAX - 1)
ONE_CHARACTER = " ".join(map(chr, range(0x4E00, 0x4E00 + 16_383)))  # as a hostile server sends


def test_scope_is_split_once() -> None:
    assert split_scope(" openid,email  openid, ") == ("openid", "email")


@each_case(
    ("scope", "stored", "dropped"),
    [
        ("a b", ("a", "b"), 0),
        (None, REQUESTED, 0),
        ("a orders.read", ("orders.read", "a"), 0),
        (ONE_CHARACTER + " openid", ("openid",), 16_383),
        ('a"b a\\b \x7f \ud800 a\xa0\u2028b :/+é a', ("a", "b"), 5),
        (["openid", 7, None, "a"], ("openid", "a"), 2),
        (LONG, (LONG,), 0),
        (LONG + "x", (), 1),
        (LONG + " a", (LONG,), 1),
        (LONG + " openid", ("openid",), 1),
    ],
)
def test_requested_names_are_stored_first_and_the_rest_is_dropped_and_counted(
    scope: object, stored: tuple[str, ...], dropped: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.clear()
    assert parse_scope(scope, REQUESTED, source="corp") == stored
    counted = f"corp granted {dropped} scopes that are not stored" if dropped else ""
    assert counted in caplog.text
    assert bool(caplog.text) is bool(dropped)


def test_many_short_names_fit_into_the_limit() -> None:
    granted = " ".join(f"{number:x}" for number in range(0x1000, 0x1000 + 16_383))
    stored = parse_scope(f"{granted} openid", REQUESTED, source="corp")
    assert stored[0] == "openid"
    assert SCOPE_MAX - 5 < len(" ".join(stored)) <= SCOPE_MAX


def test_previous_scope_that_remains_granted_is_limited_too() -> None:
    assert parse_scope(None, ONE_CHARACTER.split(), source="corp") == ()
    assert parse_scope(None, ["a,b"], source="corp") == ("a,b",)
