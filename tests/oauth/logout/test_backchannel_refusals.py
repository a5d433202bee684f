"""Back-channel logout: every token and request but a good one ends nothing."""

import json
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.test import Client

from oauth.provider import jwks
from tests.oauth.support.fixtures import Visitor
from tests.oauth.support.logout_fixtures import FORM, PATH, assert_refused, post
from tests.oauth.support.logout_provider import ABSENT, EVENT, LogoutProvider, SigningKey, sign

# What is wrong -> claims of the token, some of them by the time of the test. Each differs from a
# good one in this only.
BAD_CLAIMS: dict[str, dict[str, Any]] = {
    "no issuer": {"iss": ABSENT},
    "another issuer": {"iss": "https://evil.example"},
    "issuer with a slash more": {"iss": "{issuer}/"},
    "issuer in a list": {"iss": ["{issuer}"]},
    "no audience": {"aud": ABSENT},
    "another audience": {"aud": "another-client"},
    "no audience in the list": {"aud": []},
    "another audience besides": {"aud": ["gateway-client", "another-client"]},
    "audience as an object": {"aud": {"gateway-client": 1}},
    "no iat": {"iat": ABSENT},
    "iat as text": {"iat": str},
    "iat as a truth": {"iat": True},
    "iat in the future": {"iat": lambda now: now + 3600},
    "iat infinite": {"iat": float("inf")},
    "iat not a number": {"iat": float("nan")},
    "iat long ago": {"iat": lambda now: now - 3600},
    "no exp": {"exp": ABSENT},
    "exp null": {"exp": None},
    "exp in the past": {"exp": lambda now: now - 600},
    "exp as text": {"exp": lambda now: str(now + 120)},
    "exp infinite": {"exp": float("inf")},
    "exp negative": {"exp": -1},
    "nbf in the future": {"nbf": lambda now: now + 3600},
    "nbf as text": {"nbf": "now"},
    "nbf as a truth": {"nbf": True},
    "a nonce": {"nonce": "n"},
    "a nonce that is null": {"nonce": None},
    "no events": {"events": ABSENT},
    "events as a list": {"events": [EVENT]},
    "events as text": {"events": EVENT},
    "another event": {"events": {"http://schemas.openid.net/event/another": {}}},
    "event without an object": {"events": {EVENT: True}},
    "event null": {"events": {EVENT: None}},
    "neither sub nor sid": {"sub": ABSENT, "sid": ABSENT},
    "sub null": {"sub": None},
    "sub empty": {"sub": "", "sid": ABSENT},
    "sub a number": {"sub": 1001, "sid": ABSENT},
    "sub too long": {"sub": "s" * 256},
    "sid empty": {"sid": ""},
    "sid a list": {"sid": ["the-session-at-the-provider"]},
    "sid too long": {"sid": "s" * 1025},
    "no jti": {"jti": ABSENT},
    "jti empty": {"jti": ""},
    "jti a number": {"jti": 7},
    "jti too long": {"jti": "j" * 1025},
}

# What is wrong -> header of the token.
BAD_HEADERS: dict[str, dict[str, Any]] = {
    "type of an access token": {"typ": "at+jwt"},
    "type of a security event": {"typ": "secevent+jwt"},
    "type a number": {"typ": 7},
    "unknown extension": {"crit": ["exp"], "exp": 1},
    "unencoded payload": {"b64": False, "crit": ["b64"]},
    "unknown key": {"kid": "no-such-key"},
    "key id a number": {"kid": 7},
    "key id a path": {"kid": "../../etc/passwd"},
}


# Bodies and their types, each with a fault.
BAD_REQUESTS = [
    ("", FORM),
    ("logout_token=", FORM),
    ("token={token}", FORM),
    ("logout_token={token}&logout_token={token}", FORM),
    ("logout_token={token}" + "&a=b" * 30, FORM),
    ("logout_token={token}&padding=" + "p" * 40_000, FORM),
    ("logout_token={token}&é=1", FORM),
    ('{"logout_token": "{token}"}', "application/json"),
    ("logout_token={token}", "text/plain"),
]


def tamper(token: str) -> str:
    head, body, signature = token.split(".")
    return f"{head}.{body}.{signature[:-8]}{'A' * 8}"


def swap_signature(token: str, idp: LogoutProvider) -> str:
    other = idp.logout_token(sub="2002").split(".")
    return ".".join([*other[:2], token.split(".")[2]])


# What is wrong -> how it is made of the provider and a good token.
BAD_TOKENS: dict[str, Callable[[LogoutProvider, str], str]] = {
    "empty": lambda idp, good: "",
    "no token": lambda idp, good: "nonsense",
    "two parts": lambda idp, good: good.rpartition(".")[0],
    "five parts": lambda idp, good: good + ".a.b",
    "not base64": lambda idp, good: "!!!.???.###",
    "not JSON": lambda idp, good: "AAAA.AAAA.AAAA",
    "deep JSON": lambda idp, good: f"{jwt.utils.base64url_encode(b'[' * 9000).decode()}.e30.AAAA",
    "too long": lambda idp, good: idp.logout_token(more="m" * 16_384),
    "broken signature": lambda idp, good: tamper(good),
    "no signature": lambda idp, good: good.rpartition(".")[0] + ".",
    "signature of another token": lambda idp, good: swap_signature(good, idp),
    "algorithm none": lambda idp, good: idp.logout_token({"alg": "none"}),
    "algorithm None": lambda idp, good: idp.logout_token({"alg": "none"}).replace(
        "none", "None", 1
    ),
    "HMAC with the public key": lambda idp, good: confuse_algorithms(idp),
    "HMAC with the client's secret": lambda idp, good: idp.logout_token(
        {"alg": "HS256"}, key=b"gateway-secret-canary".ljust(32)
    ),
    "signed by somebody else": lambda idp, good: idp.logout_token(
        key=ec.generate_private_key(ec.SECP256R1())
    ),
    "another algorithm than the key's": lambda idp, good: idp.logout_token(
        {"alg": "ES384"}, key=ec.generate_private_key(ec.SECP384R1())
    ),
    "key in the header": lambda idp, good: with_own_key(idp),
    "claims a list": lambda idp, good: sign(
        ["iss"],  # type: ignore[arg-type]  # no claims at all
        idp.keys[0].private,
        "ES256",
        {"kid": idp.keys[0].id},
    ),
    "an id token": lambda idp, good: idp._id_token(),
}


def confuse_algorithms(idp: LogoutProvider) -> str:
    public = idp.keys[0].private.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    fields = {"alg": "HS256", "kid": idp.keys[0].id}
    head, body, _ = idp.logout_token(fields, key=b"k" * 32).split(".")
    maker = jwt.get_algorithm_by_name("HS256")
    signature = maker.sign(f"{head}.{body}".encode(), pem)
    return f"{head}.{body}.{jwt.utils.base64url_encode(signature).decode()}"


def with_own_key(idp: LogoutProvider) -> str:
    mine = SigningKey.new()
    return idp.logout_token({"kid": mine.id, "jwk": mine.jwk()}, key=mine.private)


def fill_claims(claims: dict[str, Any], idp: LogoutProvider) -> dict[str, Any]:
    """Return claims with the issuer in its place, and times told by the provider's clock."""
    times = {name: each(int(idp.clock())) for name, each in claims.items() if callable(each)}
    texts = {
        name: json.loads(json.dumps(each).replace("{issuer}", idp.issuer))
        for name, each in claims.items()
        if isinstance(each, str | list)
    }
    return claims | times | texts


def test_bad_claims_end_nothing(
    idp: LogoutProvider, at_idp: Visitor, subtests: pytest.Subtests
) -> None:
    for fault, claims in BAD_CLAIMS.items():
        with subtests.test(fault):
            assert_refused(post(idp.logout_token(**fill_claims(claims, idp))))
            assert at_idp.user_id is not None
    assert post(idp.logout_token()).status_code == 200  # a good one ends the session
    assert at_idp.user_id is None


def test_bad_header_or_token_ends_nothing(
    idp: LogoutProvider, at_idp: Visitor, subtests: pytest.Subtests
) -> None:
    bad = {fault: idp.logout_token(header) for fault, header in BAD_HEADERS.items()}
    bad |= {fault: damaged(idp, idp.logout_token()) for fault, damaged in BAD_TOKENS.items()}
    assert len(bad) == len(BAD_HEADERS) + len(BAD_TOKENS)
    for fault, token in bad.items():
        with subtests.test(fault):
            jwks._key_sets.clear()  # Keys are fetched once a minute at most.
            assert_refused(post(token))
            assert at_idp.user_id is not None


def test_bad_request_ends_nothing(
    idp: LogoutProvider, at_idp: Visitor, subtests: pytest.Subtests
) -> None:
    for body, kind in BAD_REQUESTS:
        with subtests.test(body=body[:80], kind=kind):
            filled_in = body.replace("{token}", idp.logout_token())
            assert_refused(Client().post(PATH, filled_in, content_type=kind))
            assert at_idp.user_id is not None


def test_token_of_another_provider_ends_nothing(
    idp: LogoutProvider, second: LogoutProvider, at_idp: Visitor
) -> None:
    assert_refused(post(second.logout_token()))
    assert_refused(post(idp.logout_token(), "/oauth/backchannel-logout/other"))
    assert at_idp.user_id is not None


def test_query_holds_no_token(idp: LogoutProvider, at_idp: Visitor) -> None:
    url = f"{PATH}?logout_token={idp.logout_token()}"
    assert_refused(Client().post(url, "", content_type=FORM))
    assert Client().get(url).status_code == 405
    assert at_idp.user_id is not None


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({"iat": 60}, 200),
        ({"iat": 61}, 400),
        ({"exp": -59}, 200),
        ({"exp": -60}, 400),
        ({"nbf": 60}, 200),
        ({"nbf": 61}, 400),
    ],
)
def test_clocks_may_differ_by_a_minute(
    idp: LogoutProvider, claims: dict[str, int], status: int
) -> None:
    now = int(idp.clock())
    moved: dict[str, Any] = {name: now + seconds for name, seconds in claims.items()}
    assert post(idp.logout_token(**moved)).status_code == status
