"""The token set: reading a response, and keeping it in a session."""

import json
from dataclasses import replace
from typing import Any

import pytest

from oauth.provider.token_set import (
    CONNECTION_SIZE_MAX,
    MAX_LIFETIME,
    MAX_TOKEN_LENGTH,
    SIZE_MAX,
    TokenSet,
)
from oauth.tokens import vault
from sessions_kms.backend import SessionStore
from tests.support.cases import each_case

FULL = TokenSet(
    access_token="access",
    refresh_token="refresh",
    id_token="id",
    token_type="Bearer",
    scope=("openid", "email"),
    subject="1001",
    client_id="gateway",
    expires_at=2_000,
    refresh_expires_at=9_000,
)
BARE = replace(FULL, refresh_token=None, refresh_expires_at=None)


def read(**response: Any) -> TokenSet:
    return TokenSet.from_response(
        {"access_token": "access", **response},
        subject="1001",
        client_id="gateway",
        requested_scope=("openid",),
        now=1_000,
        source="corp",
    )


@each_case(
    ("response", "field", "value"),
    [
        ({"expires_in": 3600}, "expires_at", 4_600),
        ({"expires_in": "3600"}, "expires_at", 4_600),
        ({"expires_in": 3599.9}, "expires_at", 4_599),
        ({"expires_in": 0}, "expires_at", 1_000),
        ({"expires_in": -5}, "expires_at", 1_000),
        ({"expires_in": 10**30}, "expires_at", 1_000 + MAX_LIFETIME),
        ({"expires_in": None}, "expires_at", None),
        ({}, "expires_at", None),
        ({"refresh_expires_in": 60}, "refresh_expires_at", 1_060),
        ({"refresh_token_expires_in": "60"}, "refresh_expires_at", 1_060),
        ({}, "refresh_expires_at", None),
        ({"scope": "a b"}, "scope", ("a", "b")),
        ({"scope": "a,b"}, "scope", ("a", "b")),
        ({"scope": ""}, "scope", ()),
        ({"scope": ["a", "b c"]}, "scope", ("a", "b", "c")),
        ({"scope": []}, "scope", ()),
        ({"expires_in": "3599.9"}, "expires_at", 4_599),
        ({"refresh_expires_in": 0}, "refresh_expires_at", None),
        ({"refresh_expires_in": "0", "refresh_token_expires_in": 60}, "refresh_expires_at", 1_060),
        ({}, "scope", ("openid",)),
        ({}, "token_type", "Bearer"),
        ({"token_type": "bearer"}, "token_type", "bearer"),
        ({"refresh_token": ""}, "refresh_token", None),
    ],
)
def test_valid_token_response_is_parsed(
    response: dict[str, Any], field: str, value: object
) -> None:
    assert getattr(read(**response), field) == value


@each_case(
    "response",
    [
        {"access_token": ""},
        {"access_token": None},
        {"access_token": ["a"]},
        {"refresh_token": 7},
        {"id_token": {}},
        {"access_token": "a b"},
        {"access_token": "caf\xe9"},
        {"refresh_token": "a\nb"},
        {"id_token": "a\x7f"},
        {"access_token": "a" * (MAX_TOKEN_LENGTH + 1)},
        {"scope": {}},
        {"scope": 7},
        {"token_type": []},
        {"refresh_expires_in": []},
        {"token_type": 7},
        {"expires_in": True},
        {"expires_in": "soon"},
        {"expires_in": float("inf")},
        {"expires_in": float("nan")},
        {"expires_in": []},
    ],
)
def test_malformed_response_is_refused(response: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\.$"):
        read(**response)


def test_session_form_round_trips() -> None:
    assert TokenSet.from_session(FULL.to_session()) == FULL
    assert TokenSet.from_session(BARE.to_session()) == BARE
    bound = replace(FULL, dpop_key="a" * 43)
    assert TokenSet.from_session(bound.to_session()) == bound


@pytest.mark.parametrize("issuer", [None, "https://as.example"])
def test_new_token_set_is_limited_in_size_and_a_stored_one_is_not(issuer: str | None) -> None:
    limit = SIZE_MAX if issuer is None else CONNECTION_SIZE_MAX
    base = replace(FULL, issuer=issuer, groups=("g" * 9999,) * 9)
    room = limit - len(json.dumps(replace(base, groups=()).to_session(), separators=(",", ":")))
    half = "a" * (room // 2)
    rest = "a" * (room - len(half))
    fitting = replace(base, access_token=f"access{half}", id_token=f"id{rest}")
    assert not fitting.is_too_large
    larger = replace(fitting, refresh_token="a" * len("refresh") + "a")
    assert larger.is_too_large
    assert TokenSet.from_session(larger.to_session()) == larger


def test_stored_tokens_with_other_characters_stay_readable() -> None:
    old = replace(FULL, access_token="caf\xe9 \u2028", scope=tuple(map(chr, range(0x4E00, 0x8DFF))))
    assert TokenSet.from_session(old.to_session()) == old


def test_refresh_token_with_which_the_set_would_be_too_large_is_not_kept() -> None:
    new = replace(BARE, access_token="a" * 32_000, id_token="b" * 32_000)
    assert new.keeping_refresh_token(FULL).refresh_token == "refresh"
    previous = replace(FULL, refresh_token="c" * 2_000)
    assert new.keeping_refresh_token(previous) == new


def test_only_a_bound_token_set_stores_what_it_is_bound_to() -> None:
    assert not {"issuer", "resource", "account"} & FULL.to_session().keys()
    bound = replace(FULL, issuer="https://as.example", resource="https://mcp.example/mcp")
    assert bound.to_session().keys() - FULL.to_session().keys() == {"issuer", "resource"}
    assert TokenSet.from_session(bound.to_session()) == bound
    other = replace(bound, resource="https://mcp.example", refresh_token=None)
    assert other.keeping_refresh_token(bound).refresh_token is None


def test_unknown_fields_of_a_later_release_are_ignored() -> None:
    assert TokenSet.from_session({**FULL.to_session(), "of_tomorrow": "x"}) == FULL


@each_case(
    "change",
    [
        {"version": 2},
        {"version": None},
        {"access_token": None},
        {"scope": "openid"},
        {"scope": [7]},
        {"subject": None},
        {"expires_at": "soon"},
        {"expires_at": True},
        {"requested_scope": None},
        {"grant_secret": None},
        {"grant_secret": "short"},
        {"grant_secret": "A" * 32},
        {"dpop_key": "short"},
        {"dpop_key": 7},
    ],
)
def test_other_session_data_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\.$"):
        TokenSet.from_session({**FULL.to_session(), **change})
    with pytest.raises(ValueError, match=r"\.$"):
        TokenSet.from_session("text")


def test_unreadable_session_data_counts_as_none(caplog: pytest.LogCaptureFixture) -> None:
    store = SessionStore()
    store._session_cache = {"oauth:corp": {"version": 9, "access_token": "canary"}}
    assert vault.load_token_set(store, "corp") is None
    assert "unreadable token set for corp" in caplog.text
    assert "canary" not in caplog.text


def test_refresh_token_is_kept_for_the_same_account() -> None:
    kept = BARE.keeping_refresh_token(FULL)
    assert (kept.refresh_token, kept.refresh_expires_at) == ("refresh", 9_000)


@each_case(
    ("new", "previous"),
    [
        (BARE, None),
        (BARE, replace(FULL, subject="2002")),
        (BARE, replace(FULL, client_id="another")),
        (BARE, replace(FULL, dpop_key="a" * 43)),
        (replace(BARE, dpop_key="b" * 43), replace(FULL, dpop_key="a" * 43)),
        (BARE, replace(FULL, scope=("openid", "email", "calendar"))),
    ],
)
def test_refresh_token_of_another_grant_is_not_kept(
    new: TokenSet, previous: TokenSet | None
) -> None:
    assert new.keeping_refresh_token(previous) == new


def test_new_refresh_token_wins() -> None:
    new = replace(FULL, refresh_token="new", refresh_expires_at=None)
    assert new.keeping_refresh_token(FULL) == new


def test_every_token_set_has_a_grant_secret_of_its_own() -> None:
    assert read().grant_secret != read().grant_secret
    assert replace(FULL, access_token="b").grant_secret == FULL.grant_secret


def test_successor_keeps_account_and_requested_scope() -> None:
    old = replace(FULL, requested_scope=("openid", "email", "calendar"))
    new = old.refreshed({"access_token": "b", "expires_in": 60}, now=5_000, source="corp")
    assert (new.access_token, new.refresh_token, new.id_token) == ("b", "refresh", "id")
    assert (new.subject, new.client_id) == ("1001", "gateway")
    assert (new.scope, new.requested_scope) == (old.scope, old.requested_scope)
    assert (new.issued_at, new.expires_at, new.refresh_expires_at) == (5_000, 5_060, 9_000)
    assert new.grant_secret != old.grant_secret


def test_new_refresh_token_has_its_own_expiry() -> None:
    new = FULL.refreshed({"access_token": "b", "refresh_token": "c"}, now=5_000, source="corp")
    assert (new.refresh_token, new.refresh_expires_at) == ("c", None)
