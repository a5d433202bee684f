"""An id token of a sign-in or a refresh is believed only if all that it says fits."""

import base64
import hashlib
from typing import Any

import pytest

import oauth
from oauth.provider import id_token as id_tokens
from oauth.provider.id_token import InvalidIdToken, UnreadableIdToken
from tests.oauth.support.fixtures import Visitor
from tests.oauth.support.hostile import CLIENT_ID, HostileProvider
from tests.oauth.support.hostile_fixtures import come_back, hostile, internet
from tests.oauth.support.logout_provider import sign
from tests.oauth.support.requests import assert_no_token, get_token, stored_tokens
from tests.sessions_kms.support.stacks import Stack
from tests.support.cases import each_case

__all__ = ["hostile", "internet"]
ABSENT: Any = object()
ISSUER = "https://login.example.com"
NOW = 1_800_000_000
DAY = 24 * 3600
ACCESS_TOKEN = "the-access-token"


def at_hash(access_token: str, digest: Any = hashlib.sha256) -> str:
    whole = digest(access_token.encode()).digest()
    return base64.urlsafe_b64encode(whole[: len(whole) // 2]).rstrip(b"=").decode()


def token(algorithm: str = "HS256", **claims: Any) -> str:
    content = {"iss": ISSUER, "aud": CLIENT_ID, "sub": "1001", "iat": NOW, "exp": NOW + 300}
    content = {name: value for name, value in (content | claims).items() if value is not ABSENT}
    return sign(content, b"", "none", {"alg": algorithm}) + "AA"


def read(id_token: object) -> dict[str, Any]:
    return id_tokens.verify_id_token(
        id_token, issuer=ISSUER, client_id=CLIENT_ID, access_token=ACCESS_TOKEN, now=NOW
    )


# What differs from a good one, that is no reason to refuse it.
GOOD: dict[str, dict[str, Any]] = {
    "nothing": {},
    "one audience in a list": {"aud": [CLIENT_ID]},
    "several audiences, for us to present": {"aud": ["b", CLIENT_ID], "azp": CLIENT_ID},
    "one audience and its presenter": {"azp": CLIENT_ID},
    "issued a minute ahead": {"iat": NOW + 60},
    "issued this day": {"iat": NOW - DAY},
    "issued in fractions": {"iat": NOW + 0.5},
    "ended less than a minute ago": {"exp": NOW - 59},
    "valid in a minute": {"nbf": NOW + 60},
    "longest subject": {"sub": "s" * 255},
    "hash of its access token": {"at_hash": at_hash(ACCESS_TOKEN)},
    "no hash": {"at_hash": None},
}

# What is wrong with it.
BAD: dict[str, dict[str, Any]] = {
    "no issuer": {"iss": ABSENT},
    "another issuer": {"iss": "https://evil.example"},
    "issuer with a slash more": {"iss": f"{ISSUER}/"},
    "no audience": {"aud": ABSENT},
    "another audience": {"aud": "another-client"},
    "empty list of audiences": {"aud": []},
    "audience as an object": {"aud": {CLIENT_ID: 1}},
    "audience that begins like ours": {"aud": f"{CLIENT_ID}-2"},
    "several audiences without azp": {"aud": [CLIENT_ID, "another-client"]},
    "several audiences for another to present": {"aud": [CLIENT_ID, "b"], "azp": "b"},
    "one audience for another to present": {"azp": "another-client"},
    "azp a list": {"azp": [CLIENT_ID]},
    "no iat": {"iat": ABSENT},
    "iat as text": {"iat": str(NOW)},
    "iat true": {"iat": True},
    "iat not a number": {"iat": float("nan")},
    "iat infinite": {"iat": float("inf")},
    "iat in the future": {"iat": NOW + 61},
    "iat absurdly old": {"iat": NOW - DAY - 1},
    "iat zero": {"iat": 0},
    "no exp": {"exp": ABSENT},
    "exp a minute ago": {"exp": NOW - 60},
    "exp in milliseconds as text": {"exp": f"{NOW}000"},
    "nbf in the future": {"nbf": NOW + 61},
    "nbf null": {"nbf": None},
    "nbf as text": {"nbf": "now"},
    "no sub": {"sub": ABSENT},
    "sub empty": {"sub": ""},
    "sub a number": {"sub": 1001},
    "sub too long": {"sub": "s" * 256},
    "sub not ASCII": {"sub": "ш"},
    "hash of another access token": {"at_hash": at_hash("another")},
    "hash of another length": {"at_hash": at_hash(ACCESS_TOKEN)[:-1]},
    "hash by another digest": {"at_hash": at_hash(ACCESS_TOKEN, hashlib.sha512)},
    "hash empty": {"at_hash": ""},
    "hash a number": {"at_hash": 7},
    "hash not ASCII": {"at_hash": "ы"},
    "hash of half a character": {"at_hash": "\ud800"},
}


@each_case("what", GOOD)
def test_valid_id_token_is_accepted(what: str) -> None:
    assert read(token(**GOOD[what]))["iss"] == ISSUER


@each_case("what", BAD)
def test_id_token_with_one_fault_is_rejected(what: str) -> None:
    with pytest.raises(InvalidIdToken):
        read(token(**BAD[what]))


@each_case(
    ("algorithm", "digest"),
    [
        ("RS256", hashlib.sha256),
        ("PS384", hashlib.sha384),
        ("ES512", hashlib.sha512),
        ("ES256K", hashlib.sha256),
        ("EdDSA", hashlib.sha512),
        ("Ed25519", hashlib.sha512),
    ],
)
def test_at_hash_uses_the_hash_of_the_signature(algorithm: str, digest: Any) -> None:
    read(token(algorithm, at_hash=at_hash(ACCESS_TOKEN, digest)))
    with pytest.raises(InvalidIdToken):
        read(token(algorithm, at_hash=at_hash(ACCESS_TOKEN, hashlib.sha224)))


@pytest.mark.parametrize("algorithm", ["none", "", "Ed448"])
def test_at_hash_of_unknown_algorithm_is_rejected(algorithm: str) -> None:
    with pytest.raises(InvalidIdToken):
        read(token(algorithm, at_hash=at_hash(ACCESS_TOKEN)))


def test_access_token_with_lone_surrogate_matches_no_hash() -> None:
    with pytest.raises(InvalidIdToken):
        id_tokens.verify_id_token(
            token(at_hash=at_hash(ACCESS_TOKEN)),
            issuer=ISSUER,
            client_id=CLIENT_ID,
            access_token="\ud800",
            now=NOW,
        )


def nest(levels: int) -> Any:
    found: Any = "x"
    for _ in range(levels):
        found = [found]
    return found


@each_case(
    "id_token",
    [
        None,
        7,
        "",
        "a.b.c",
        "a.b",
        token(x="y" * 32 * 1024),
        token(x=nest(25)),
        "e30." + base64.urlsafe_b64encode(b"[" * 20_000).decode() + ".AA",
        "e30.W10.AA",
    ],
)
def test_malformed_id_token_is_unreadable(id_token: object) -> None:
    with pytest.raises(UnreadableIdToken):
        read(id_token)


# At the doors: a sign-in, and a refresh.


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": [CLIENT_ID, "another-client"]},
        {"azp": "another-client"},
        {"iat": 0},
        {"nbf": 2**40},
        {"sub": "s" * 256},
        {"at_hash": at_hash("another")},
        {"at_hash": "\ud800"},
        {"nonce": "of another request"},
        {"nonce": None},
    ],
)
def test_sign_in_with_an_invalid_id_token_fails_before_further_requests(
    hostile: HostileProvider, visitor: Visitor, claims: dict[str, Any]
) -> None:
    hostile.claims = claims
    assert come_back(visitor, hostile).status_code == 401
    assert visitor.user_id is None
    assert "/userinfo" not in hostile.asked


def test_clock_of_a_provider_that_is_a_little_ahead_signs_in(
    hostile: HostileProvider, visitor: Visitor, store: Stack
) -> None:
    hostile.now = lambda: store.clock() + 30
    come_back(visitor, hostile)
    assert visitor.user_id is not None


@pytest.fixture
def expired(hostile: HostileProvider, visitor: Visitor, store: Stack) -> Visitor:
    come_back(visitor, hostile)
    store.clock.advance(4000)
    return visitor


@pytest.mark.parametrize("nonce", [None, "the same"])
def test_id_token_of_a_refresh_may_lack_the_nonce(
    hostile: HostileProvider, expired: Visitor, nonce: str | None
) -> None:
    before = stored_tokens(expired)
    if nonce is None:
        hostile.nonce = None
    assert get_token(expired).id_token != before.id_token


@pytest.mark.parametrize(
    "claims", [{"nonce": "of another request"}, {"azp": "another-client"}, {"sub": "1002"}]
)
def test_id_token_of_another_grant_ends_this_one(
    hostile: HostileProvider, expired: Visitor, claims: dict[str, Any]
) -> None:
    before = stored_tokens(expired)
    hostile.claims = claims
    assert_no_token(expired, oauth.ReauthenticationRequired)
    assert stored_tokens(expired) == before


@pytest.mark.parametrize(
    "claims",
    [
        {"iat": 0},
        {"exp": 1},
        {"nbf": 2**40},
        {"at_hash": at_hash("another")},
        {"at_hash": "\ud800"},
        {"aud": [CLIENT_ID, "another-client"]},
    ],
)
def test_other_faults_of_a_refresh_keep_the_old_id_token(
    hostile: HostileProvider,
    expired: Visitor,
    claims: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = stored_tokens(expired)
    hostile.claims = claims
    new = get_token(expired)
    assert new.access_token != before.access_token
    assert new.id_token == before.id_token
    assert "An id token of corp was left out of a refresh: The id token" in caplog.text
