"""Back-channel logout: what a good token ends, and what every other token does not."""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jwt
import pytest
from allauth.socialaccount.models import SocialAccount
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.test import Client
from pytest_django import Settings

from oauth import endpoints, jwks
from sessions_kms import services
from sessions_kms.exceptions import TableUnavailable
from sessions_kms.links import LINKS
from tests.oauth.fixtures import Visitor, configure, environment
from tests.oauth.logout_fixtures import FORM, PATH, post
from tests.oauth.logout_provider import ABSENT, EVENT, LogoutProvider, SigningKey, sign
from tests.sessions_kms.stacks import Stack

NOW = int(time.time())
BOB = {"sub": "2002", "email": "bob@example.com", "name": "Bob"}
SMALL_RSA = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - to be refused

# What is wrong -> claims of the token. Each differs from a good one in this only.
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
    "iat as text": {"iat": str(NOW)},
    "iat as a truth": {"iat": True},
    "iat in the future": {"iat": NOW + 3600},
    "iat infinite": {"iat": float("inf")},
    "iat not a number": {"iat": float("nan")},
    "iat long ago": {"iat": NOW - 3600},
    "no exp": {"exp": ABSENT},
    "exp null": {"exp": None},
    "exp in the past": {"exp": NOW - 600},
    "exp as text": {"exp": str(NOW + 120)},
    "exp infinite": {"exp": float("inf")},
    "exp negative": {"exp": -1},
    "nbf in the future": {"nbf": NOW + 3600},
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


def tampered(token: str) -> str:
    head, body, signature = token.split(".")
    return f"{head}.{body}.{signature[:-8]}{'A' * 8}"


def swapped(token: str, idp: LogoutProvider) -> str:
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
    "broken signature": lambda idp, good: tampered(good),
    "no signature": lambda idp, good: good.rpartition(".")[0] + ".",
    "signature of another token": lambda idp, good: swapped(good, idp),
    "algorithm none": lambda idp, good: idp.logout_token({"alg": "none"}),
    "algorithm None": lambda idp, good: idp.logout_token({"alg": "none"}).replace(
        "none", "None", 1
    ),
    "HMAC with the public key": lambda idp, good: confused(idp),
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


def confused(idp: LogoutProvider) -> str:
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


def filled(claims: dict[str, Any], issuer: str) -> dict[str, Any]:
    return {
        name: json.loads(json.dumps(value).replace("{issuer}", issuer))
        if isinstance(value, str | list)
        else value
        for name, value in claims.items()
    }


def assert_refused(response: Any) -> None:
    assert response.status_code == 400, response.content
    assert response["Cache-Control"] == "no-store"
    assert response["Content-Type"] == "application/json"
    answer = response.json()
    assert answer["error"] == "invalid_request"
    assert answer["error_description"]


def test_token_ends_the_session_of_its_sid(idp: LogoutProvider, visitor: Visitor) -> None:
    visitor.sign_in(idp)
    response = post(idp.logout_token())
    assert (response.status_code, response.content) == (200, b"")
    assert response["Cache-Control"] == "no-store"
    assert visitor.user_id is None


def test_sid_ends_its_session_only(idp: LogoutProvider, visitor: Visitor) -> None:
    other = Visitor()
    visitor.sign_in(idp)
    idp.session_id = "another-session"
    other.sign_in(idp)
    assert post(idp.logout_token()).status_code == 200
    assert other.user_id is None
    assert visitor.user_id is not None


def test_sub_alone_ends_all_sessions_of_the_person_and_of_nobody_else(
    idp: LogoutProvider, visitor: Visitor
) -> None:
    second, bob = Visitor(), Visitor()
    visitor.sign_in(idp)
    idp.session_id = "another-session"
    second.sign_in(idp)
    token = idp.logout_token(sid=ABSENT)
    idp.person = BOB
    bob.sign_in(idp)
    assert post(token).status_code == 200
    assert (visitor.user_id, second.user_id) == (None, None)
    assert bob.user_id is not None


def test_provider_without_session_ids_ends_by_sub(idp: LogoutProvider, visitor: Visitor) -> None:
    idp.session_id = None
    visitor.sign_in(idp)
    assert post(idp.logout_token()).status_code == 200
    assert visitor.user_id is None


def test_token_without_a_session_to_end_is_a_success(idp: LogoutProvider) -> None:
    assert post(idp.logout_token()).status_code == 200


def test_session_survives_a_key_change_with_its_link(
    idp: LogoutProvider, visitor: Visitor, store: Stack
) -> None:
    visitor.sign_in(idp)
    session = visitor.client.session
    session.cycle_key()
    session.save()
    visitor.client.cookies["gateway_sessionid"] = session.session_key or ""
    assert visitor.user_id is not None
    assert post(idp.logout_token()).status_code == 200
    assert visitor.user_id is None


def test_other_fields_are_ignored_and_the_type_may_be_missing(
    idp: LogoutProvider, visitor: Visitor
) -> None:
    visitor.sign_in(idp)
    token = idp.logout_token({"typ": ABSENT}, aud=["gateway-client"], nbf=NOW, more={"a": 1})
    body = f"state=s&logout_token={token}&state=t"
    assert Client().post(PATH, body, content_type=FORM).status_code == 200
    assert visitor.user_id is None


@pytest.mark.parametrize("fault", BAD_CLAIMS)
def test_bad_claims_end_nothing(idp: LogoutProvider, visitor: Visitor, fault: str) -> None:
    visitor.sign_in(idp)
    assert_refused(post(idp.logout_token(**filled(BAD_CLAIMS[fault], idp.issuer))))
    assert visitor.user_id is not None


@pytest.mark.parametrize("fault", BAD_HEADERS)
def test_bad_header_ends_nothing(idp: LogoutProvider, visitor: Visitor, fault: str) -> None:
    visitor.sign_in(idp)
    assert_refused(post(idp.logout_token(BAD_HEADERS[fault])))
    assert visitor.user_id is not None


@pytest.mark.parametrize("fault", BAD_TOKENS)
def test_bad_token_ends_nothing(idp: LogoutProvider, visitor: Visitor, fault: str) -> None:
    visitor.sign_in(idp)
    assert_refused(post(BAD_TOKENS[fault](idp, idp.logout_token())))
    assert visitor.user_id is not None


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("", FORM),
        ("logout_token=", FORM),
        ("token={token}", FORM),
        ("logout_token={token}&logout_token={token}", FORM),
        ("logout_token={token}" + "&a=b" * 30, FORM),
        ("logout_token={token}&padding=" + "p" * 40_000, FORM),
        ("logout_token={token}&é=1", FORM),
        ('{"logout_token": "{token}"}', "application/json"),
        ("logout_token={token}", "text/plain"),
    ],
)
def test_bad_request_ends_nothing(
    idp: LogoutProvider, visitor: Visitor, body: str, kind: str
) -> None:
    visitor.sign_in(idp)
    filled_in = body.replace("{token}", idp.logout_token())
    assert_refused(Client().post(PATH, filled_in, content_type=kind))
    assert visitor.user_id is not None


def test_token_of_another_provider_ends_nothing(
    idp: LogoutProvider, second: LogoutProvider, visitor: Visitor
) -> None:
    visitor.sign_in(idp)
    assert_refused(post(second.logout_token()))
    assert_refused(post(idp.logout_token(), "/oauth/backchannel-logout/other"))
    assert visitor.user_id is not None


def test_query_holds_no_token(idp: LogoutProvider, visitor: Visitor) -> None:
    visitor.sign_in(idp)
    url = f"{PATH}?logout_token={idp.logout_token()}"
    assert_refused(Client().post(url, "", content_type=FORM))
    assert Client().get(url).status_code == 405
    assert visitor.user_id is not None


def test_unknown_provider_is_not_found(idp: LogoutProvider) -> None:
    assert post(idp.logout_token(), "/oauth/backchannel-logout/nobody").status_code == 404


def test_provider_that_does_not_announce_it_is_refused(
    idp: LogoutProvider, visitor: Visitor
) -> None:
    idp.announces_backchannel = False
    visitor.sign_in(idp)
    assert LINKS not in visitor.session
    assert_refused(post(idp.logout_token()))


def test_environment_decides_before_the_metadata(
    idp: LogoutProvider, visitor: Visitor, settings: Settings
) -> None:
    idp.announces_backchannel = False
    configure(settings, environment("corp", idp, BACKCHANNEL_LOGOUT="1"))
    visitor.sign_in(idp)
    assert post(idp.logout_token()).status_code == 200
    assert visitor.user_id is None
    configure(settings, environment("corp", idp, BACKCHANNEL_LOGOUT="0"))
    visitor.sign_in(idp)
    assert LINKS not in visitor.session
    assert_refused(post(idp.logout_token()))


# Replay, failures


def test_token_is_good_once(idp: LogoutProvider, visitor: Visitor) -> None:
    token = idp.logout_token(sid=ABSENT)
    assert post(token).status_code == 200
    visitor.sign_in(idp)
    assert_refused(post(token))
    assert visitor.user_id is not None


def test_used_token_is_remembered_until_it_could_not_be_used_anyway(
    idp: LogoutProvider, store: Stack
) -> None:
    post(idp.logout_token(iat=NOW, exp=NOW + 120, jti="the-id-of-a-token"))
    post(idp.logout_token(iat=NOW, exp=NOW + 99_999, jti="of-another"))
    used = [item for name, item in store.items().items() if name.startswith("logout#django#jti#")]
    assert sorted(int(item["ttl"]["N"]) - NOW for item in used) == [180, 660]
    assert all("owner" not in item for item in used)
    assert "the-id-of-a-token" not in repr(used)


def test_store_that_is_down_asks_the_provider_to_try_again(
    idp: LogoutProvider, visitor: Visitor, store: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor.sign_in(idp)
    token = idp.logout_token()

    def down(*args: Any) -> None:
        raise TableUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(store.services.table, "owned", down)
        response = post(token)
        assert (response.status_code, response["Retry-After"]) == (503, "10")
        assert response["Cache-Control"] == "no-store"
    assert visitor.user_id is not None
    assert post(token).status_code == 200
    assert visitor.user_id is None


def test_provider_that_is_down_is_asked_rarely(
    idp: LogoutProvider, visitor: Visitor, store: Stack
) -> None:
    asked: list[int] = []

    def failing() -> tuple[int, str, bytes]:
        asked.append(1)
        return 500, "text/plain", b""

    visitor.sign_in(idp)
    endpoints.forget()
    idp.failing["/.well-known/openid-configuration"] = failing
    assert [post(idp.logout_token()).status_code for _ in range(20)] == [503] * 20
    assert len(asked) == 1
    idp.failing.clear()
    store.clock.advance(11)
    assert post(idp.logout_token()).status_code == 200


# Keys


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "ES384", "EdDSA"])
def test_each_kind_of_key_is_accepted(
    idp: LogoutProvider, visitor: Visitor, algorithm: str
) -> None:
    idp.keys = [SigningKey.new(algorithm)]
    visitor.sign_in(idp)
    assert post(idp.logout_token()).status_code == 200
    assert visitor.user_id is None


def test_new_key_is_fetched_once_it_is_used(
    idp: LogoutProvider, visitor: Visitor, store: Stack
) -> None:
    assert post(idp.logout_token()).status_code == 200
    assert post(idp.logout_token()).status_code == 200
    assert idp.key_fetches == 1
    store.clock.advance(61)
    idp.keys.insert(0, SigningKey.new("RS256"))
    visitor.sign_in(idp)
    assert post(idp.logout_token(iat=NOW + 61)).status_code == 200
    assert visitor.user_id is None
    assert idp.key_fetches == 2


def test_withdrawn_key_is_trusted_for_an_hour_at_most(idp: LogoutProvider, store: Stack) -> None:
    old = idp.keys[0]
    assert post(idp.logout_token()).status_code == 200
    idp.keys = [SigningKey.new()]
    store.clock.advance(3599)
    later = {"iat": NOW + 3599, "exp": NOW + 3700}
    assert post(idp.logout_token({"kid": old.id}, old.private, **later)).status_code == 200
    store.clock.advance(2)
    assert_refused(post(idp.logout_token({"kid": old.id}, old.private, **later)))


def test_flood_of_unknown_keys_asks_the_provider_once_a_minute(
    idp: LogoutProvider, store: Stack
) -> None:
    for _ in range(50):
        assert_refused(post(idp.logout_token({"kid": secrets.token_hex(8)})))
    assert idp.key_fetches == 1
    store.clock.advance(61)
    for _ in range(50):
        post(idp.logout_token({"kid": secrets.token_hex(8)}, iat=NOW + 61))
    assert idp.key_fetches == 2


def test_token_without_key_id_needs_a_single_key(idp: LogoutProvider) -> None:
    assert post(idp.logout_token({"kid": ABSENT})).status_code == 200
    jwks.forget()
    idp.keys.append(SigningKey.new())
    assert_refused(post(idp.logout_token({"kid": ABSENT})))


@pytest.mark.parametrize(
    "change",
    [
        {"use": "enc"},
        {"key_ops": ["sign"]},
        {"alg": "ES384"},
        {"kty": "oct", "k": "AAAA"},
        {"crv": "P-384"},
        {"x": "AAAA"},
        {"x": None},
    ],
)
def test_key_for_something_else_signs_nothing(
    idp: LogoutProvider, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    jwk = idp.keys[0].jwk() | change
    monkeypatch.setattr(SigningKey, "jwk", lambda _: jwk)
    assert_refused(post(idp.logout_token()))


def test_published_private_key_signs_nothing(
    idp: LogoutProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = idp.keys[0]
    private = json.loads(jwt.get_algorithm_by_name(own.algorithm).to_jwk(own.private))
    jwk = own.jwk() | {"d": private["d"]}
    monkeypatch.setattr(SigningKey, "jwk", lambda _: jwk)
    assert_refused(post(idp.logout_token()))


def test_short_rsa_key_signs_nothing(idp: LogoutProvider) -> None:
    idp.keys = [SigningKey("short", SMALL_RSA, "RS256")]
    assert_refused(post(idp.logout_token()))


@pytest.mark.parametrize("body", [b"", b"[]", b'{"keys": {}}', b'{"keys": null}', b"<html>"])
def test_keys_that_cannot_be_read_are_asked_for_again_later(
    idp: LogoutProvider, store: Stack, body: bytes
) -> None:
    idp.failing["/jwks"] = lambda: (200, "application/json", body)
    assert post(idp.logout_token()).status_code == 503
    idp.failing.clear()
    assert post(idp.logout_token()).status_code == 503
    store.clock.advance(6)
    assert post(idp.logout_token(iat=NOW + 6)).status_code == 200


# Links


def test_links_say_nothing_and_depend_on_the_secret_key(
    idp: LogoutProvider, visitor: Visitor, store: Stack, settings: Settings
) -> None:
    visitor.sign_in(idp)
    links = visitor.session[LINKS]
    assert len(links) == 2
    items = [name for name in store.items() if name.startswith("logout#")]
    assert len(items) == 2
    assert "1001" not in repr(items)
    settings.SECRET_KEY = "another-secret-key-0123456789abcdefghijklmnopqrstuvwxyz"
    second = Visitor()
    second.sign_in(idp)
    assert not set(second.session[LINKS]) & set(links)


def test_rotated_secret_key_loses_no_link(
    idp: LogoutProvider, visitor: Visitor, settings: Settings
) -> None:
    visitor.sign_in(idp)
    old, settings.SECRET_KEY = settings.SECRET_KEY, "a-new-key-0123456789abcdefghijklmnopqrstuvwxyz"
    settings.SECRET_KEY_FALLBACKS = [old]
    second = Visitor()
    second.sign_in(idp)
    assert post(idp.logout_token()).status_code == 200
    assert "_auth_user_id" not in visitor.session
    assert second.user_id is None


def test_signing_in_again_replaces_the_links(idp: LogoutProvider, visitor: Visitor) -> None:
    visitor.sign_in(idp)
    first = set(visitor.session[LINKS])
    old = idp.logout_token()
    idp.session_id = "the-next-session"
    visitor.sign_in(idp)
    assert len(first & set(visitor.session[LINKS])) == 1  # that of the subject
    assert post(old).status_code == 200
    assert visitor.user_id is not None
    assert post(idp.logout_token()).status_code == 200
    assert visitor.user_id is None


def test_each_connected_provider_ends_the_session(
    idp: LogoutProvider, second: LogoutProvider
) -> None:
    for provider, path in ((idp, PATH), (second, "/oauth/backchannel-logout/other")):
        visitor = Visitor()
        visitor.sign_in(idp)
        visitor.connect(second)
        assert len(visitor.session[LINKS]) == 4
        assert post(provider.logout_token(), path).status_code == 200
        assert visitor.user_id is None


def test_disconnected_provider_ends_nothing(
    idp: LogoutProvider, second: LogoutProvider, visitor: Visitor
) -> None:
    visitor.sign_in(idp)
    visitor.connect(second)
    account = SocialAccount.objects.get(provider="other")
    visitor.client.post("/accounts/3rdparty/", {"account": account.pk})
    assert len(visitor.session[LINKS]) == 2
    assert post(second.logout_token(), "/oauth/backchannel-logout/other").status_code == 200
    assert visitor.user_id is not None


# What it leaves alone


def test_no_cookie_is_read_and_none_is_set(
    idp: LogoutProvider, visitor: Visitor, store: Stack
) -> None:
    visitor.sign_in(idp)
    response = visitor.client.post(
        PATH, f"logout_token={idp.logout_token(sid='unknown')}", content_type=FORM
    )
    assert response.status_code == 200
    assert not response.cookies
    assert "Cookie" not in response.get("Vary", "")


def test_logs_hold_no_token(
    idp: LogoutProvider, visitor: Visitor, caplog: pytest.LogCaptureFixture
) -> None:
    tokens = [idp.logout_token(), idp.logout_token(nonce="n"), idp.logout_token({"alg": "none"})]
    with caplog.at_level(logging.DEBUG):
        visitor.sign_in(idp)
        answers = [post(token) for token in tokens]
    said = "\n".join([caplog.text, *(repr(vars(record)) for record in caplog.records)])
    said += "".join(answer.content.decode() for answer in answers)
    assert "nonce" in said
    for token in tokens:
        assert all(part not in said for part in token.split(".") if len(part) > 20)
    assert idp.session_id is not None
    assert idp.session_id not in said


def test_host_that_is_not_allowed_is_refused(idp: LogoutProvider) -> None:
    assert post(idp.logout_token(), headers={"host": "evil.example"}).status_code == 400


def test_ending_takes_its_time_on_a_real_index(
    idp: LogoutProvider, visitor: Visitor, store: Stack
) -> None:
    slept: list[float] = []
    services._services = replace(store.services, sleep=slept.append)
    visitor.sign_in(idp)
    assert post(idp.logout_token()).status_code == 200
    assert 0 < sum(slept) < 5
