"""Back-channel logout: which sessions a valid token ends, once."""

import logging
from dataclasses import replace

import pytest
from django.test import Client
from pytest_django import Settings

from oauth.provider import metadata
from sessions_kms import services
from sessions_kms.session.links import LINKS
from tests.oauth.support.fixtures import BOB, Visitor, configure, environment
from tests.oauth.support.logout_fixtures import (
    FORM,
    PATH,
    assert_ends_session,
    assert_refused,
    post,
)
from tests.oauth.support.logout_provider import ABSENT, LogoutProvider
from tests.sessions_kms.support.memory_dynamodb import refuse_write
from tests.sessions_kms.support.stacks import Stack


def test_token_ends_the_session_of_its_sid(idp: LogoutProvider, at_idp: Visitor) -> None:
    response = post(idp.logout_token())
    assert (response.status_code, response.content) == (200, b"")
    assert response["Cache-Control"] == "no-store"
    assert at_idp.user_id is None


def test_sid_ends_its_session_only(idp: LogoutProvider, visitor: Visitor) -> None:
    other = Visitor()
    visitor.sign_in(idp)
    idp.session_id = "another-session"
    other.sign_in(idp)
    assert_ends_session(other, idp.logout_token())
    assert visitor.user_id is not None


def test_sub_alone_ends_all_sessions_of_only_that_person(
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
    assert_ends_session(visitor, idp.logout_token())


def test_token_without_a_session_to_end_is_a_success(idp: LogoutProvider) -> None:
    assert post(idp.logout_token()).status_code == 200


def test_session_survives_a_key_change_with_its_link(idp: LogoutProvider, at_idp: Visitor) -> None:
    session = at_idp.client.session
    session.cycle_key()
    session.save()
    at_idp.client.cookies["gateway_sessionid"] = session.session_key or ""
    assert at_idp.user_id is not None
    assert_ends_session(at_idp, idp.logout_token())


def test_other_fields_are_ignored_and_the_type_may_be_missing(
    idp: LogoutProvider, at_idp: Visitor, store: Stack
) -> None:
    now = int(store.clock())
    token = idp.logout_token({"typ": ABSENT}, aud=["gateway-client"], nbf=now, more={"a": 1})
    body = f"state=s&logout_token={token}&state=t"
    assert Client().post(PATH, body, content_type=FORM).status_code == 200
    assert at_idp.user_id is None


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
    assert_ends_session(visitor, idp.logout_token())
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


def test_id_of_a_token_is_any_text(idp: LogoutProvider, at_idp: Visitor) -> None:
    """JSON can contain unpaired surrogates, which cannot be encoded."""
    token = idp.logout_token(jti="\ud800")
    assert_ends_session(at_idp, token)
    assert_refused(post(token))


def test_used_token_is_remembered_until_it_expires(idp: LogoutProvider, store: Stack) -> None:
    now = int(store.clock())
    post(idp.logout_token(iat=now, exp=now + 120, jti="the-id-of-a-token"))
    post(idp.logout_token(iat=now, exp=now + 99_999, jti="of-another"))
    used = [item for name, item in store.items().items() if name.startswith("logout#django#jti#")]
    assert sorted(int(item["ttl"]["N"]) - now for item in used) == [180, 660]
    assert all("owner" not in item for item in used)
    assert "the-id-of-a-token" not in repr(used)


def test_unavailable_store_asks_the_provider_to_retry(
    idp: LogoutProvider, at_idp: Visitor, store: Stack
) -> None:
    token = idp.logout_token()
    store.dynamodb.on("Query logout", refuse_write)
    response = post(token)
    assert (response.status_code, response["Retry-After"]) == (503, "10")
    assert response["Cache-Control"] == "no-store"
    store.dynamodb.heal()
    assert at_idp.user_id is not None
    assert_ends_session(at_idp, token)


def test_provider_that_is_down_is_rarely_called(
    idp: LogoutProvider, visitor: Visitor, store: Stack
) -> None:
    asked: list[int] = []

    def failing() -> tuple[int, str, bytes]:
        asked.append(1)
        return 500, "text/plain", b""

    visitor.sign_in(idp)
    metadata.clear_metadata_cache()
    idp.failing["/.well-known/openid-configuration"] = failing
    assert [post(idp.logout_token()).status_code for _ in range(20)] == [503] * 20
    assert len(asked) == 1
    idp.failing.clear()
    store.clock.advance(61)
    assert post(idp.logout_token()).status_code == 200


# What it leaves alone


def test_no_cookie_is_read_and_none_is_set(idp: LogoutProvider, at_idp: Visitor) -> None:
    response = at_idp.client.post(
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
        responses = [post(token) for token in tokens]
    said = "\n".join([caplog.text, *(repr(vars(record)) for record in caplog.records)])
    said += "".join(response.content.decode() for response in responses)
    assert "nonce" in said
    for token in tokens:
        assert all(part not in said for part in token.split(".") if len(part) > 20)
    assert idp.session_id is not None
    assert idp.session_id not in said


def test_host_that_is_not_allowed_is_refused(idp: LogoutProvider) -> None:
    assert post(idp.logout_token(), headers={"host": "evil.example"}).status_code == 400


def test_ending_waits_briefly_for_a_real_index(
    idp: LogoutProvider, visitor: Visitor, store: Stack
) -> None:
    slept: list[float] = []
    services._services = replace(store.services, sleep=slept.append)
    visitor.sign_in(idp)
    assert post(idp.logout_token()).status_code == 200
    assert 0 < sum(slept) < 5
