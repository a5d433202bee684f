"""A provider that is down, slow or talks nonsense gets a page; its words get nowhere."""

import json
import logging
import threading
from pathlib import Path
from typing import Any

import pytest
from allauth.socialaccount.models import SocialAccount
from pytest_django import Settings

from oauth.network import http
from oauth.provider import metadata as endpoints
from tests.oauth.support.fake_provider import FakeProvider, Response
from tests.oauth.support.fixtures import Visitor, configure, environment
from tests.oauth.support.provider_failures import (
    CANARY,
    DISCOVERY,
    NONSENSE,
    assert_provider_is_down,
    respond_with,
)
from tests.oauth.support.raw_responses import BAD, serving_bytes
from tests.oauth.support.requests import stored_tokens


@pytest.mark.parametrize("what", NONSENSE)
def test_bad_discovery_at_the_start_is_a_page(
    corp: FakeProvider, visitor: Visitor, what: str
) -> None:
    corp.failing[DISCOVERY] = NONSENSE[what]
    assert_provider_is_down(visitor.start())


@pytest.mark.parametrize("what", NONSENSE)
def test_bad_discovery_at_the_callback_of_another_process_is_a_page(
    corp: FakeProvider, visitor: Visitor, what: str
) -> None:
    url = visitor.callback_address(corp)
    endpoints.clear_metadata_cache()
    corp.failing[DISCOVERY] = NONSENSE[what]
    assert_provider_is_down(visitor.client.get(url))
    assert visitor.user_id is None


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://evil.example"},
        {"issuer": "http://127.0.0.1:9"},
        {"issuer": None},
        {"token_endpoint": None},
        {"token_endpoint": "ftp://127.0.0.1/token"},
        {"authorization_endpoint": "/authorize"},
        {"authorization_endpoint": ["https://evil.example"]},
        {"authorization_endpoint": "https://["},
        {"jwks_uri": 7},
        {"revocation_endpoint": {}},
        {"end_session_endpoint": True},
        {"token_endpoint_auth_methods_supported": "client_secret_post"},
        {"token_endpoint_auth_methods_supported": {"client_secret_post": True}},
        {"token_endpoint_auth_signing_alg_values_supported": 7},
    ],
)
def test_unusable_metadata_is_a_page(
    corp: FakeProvider, visitor: Visitor, metadata: dict[str, Any]
) -> None:
    corp.more_of_metadata = metadata
    assert_provider_is_down(visitor.start())


def test_metadata_that_is_null_counts_as_left_out(corp: FakeProvider, visitor: Visitor) -> None:
    corp.auth_method = "client_secret_basic"  # which is meant then
    corp.more_of_metadata = {"token_endpoint_auth_methods_supported": None}
    assert visitor.sign_in(corp).status_code == 302
    assert visitor.load_tokens() is not None


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("null", "it is no JSON object, status 200."),
        ("no json", "it is HTML, status 200."),
    ],
)
def test_log_says_why_a_document_cannot_be_read(
    corp: FakeProvider,
    visitor: Visitor,
    caplog: pytest.LogCaptureFixture,
    what: str,
    reason: str,
) -> None:
    corp.failing[DISCOVERY] = NONSENSE[what]
    visitor.start()
    assert "Sign-in with corp did not work (answer_unreadable), request " in caplog.text
    assert f": The provider's response cannot be parsed: {reason}" in caplog.text


def test_reason_of_a_failure_is_logged_in_our_own_words(
    corp: FakeProvider, visitor: Visitor, caplog: pytest.LogCaptureFixture
) -> None:
    corp.more_of_metadata = {"issuer": f"http://{CANARY}"}
    visitor.start()
    assert "Sign-in with corp did not work (metadata_issuer), request " in caplog.text
    assert ": The provider's metadata names another issuer." in caplog.text
    assert CANARY not in caplog.text


@pytest.mark.parametrize(
    "what",
    [
        "server error",
        "redirect",
        "redirect with an answer",
        "no json",
        "a number",
        "null",
        "a text",
        "a list",
        "no UTF-8",
        "huge",
        "an object without anything",
        "empty",
        "deep",
    ],
)
def test_bad_userinfo_leaves_the_id_token(
    corp: FakeProvider, visitor: Visitor, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    url = visitor.callback_address(corp)
    corp.failing["/userinfo"] = NONSENSE[what]
    assert visitor.client.get(url).status_code == 302
    assert SocialAccount.objects.get().uid == "1001"
    assert "Using the id token's claims only." in caplog.text
    assert CANARY not in caplog.text


@pytest.mark.parametrize(
    "what", ["server error", "redirect", "a number", "null", "a text", "no json", "huge"]
)
def test_bad_token_endpoint_is_a_page(corp: FakeProvider, visitor: Visitor, what: str) -> None:
    url = visitor.callback_address(corp)
    corp.failing["/token"] = NONSENSE[what]
    assert_provider_is_down(visitor.client.get(url))
    assert visitor.user_id is None


@pytest.mark.parametrize(
    "content",
    [
        {"expires_in": "soon"},
        {"expires_in": 1e400},
        {"expires_in": [3600]},
        {"access_token": 7},
        {"refresh_token": {"a": 1}},
        {"scope": 7},
        {"id_token": "x" * 40_000},
        {"access_token": "x" * 40_000},
    ],
)
def test_malformed_token_response_is_a_page(
    corp: FakeProvider, visitor: Visitor, content: dict[str, Any]
) -> None:
    corp.more_of_token_response = content
    response = visitor.sign_in(corp)
    assert response.status_code in {401, 503}
    assert visitor.user_id is None


@pytest.mark.parametrize(
    "content",
    [
        {"expires_in": "3600"},
        {"expires_in": "3599.5"},
        {"expires_in": 3599.5},
        {"expires_in": 1e12},
        {"expires_in": None},
        {"expires_in": 0},
        {"expires_in": -1},
        {"token_type": "BEARER"},
        {"token_type": None},
        {"scope": ["openid", "email"]},
        {"scope": None},
        {"error": None},
    ],
)
def test_unusual_token_response_signs_in(
    corp: FakeProvider, visitor: Visitor, content: dict[str, Any]
) -> None:
    corp.more_of_token_response = content
    assert visitor.sign_in(corp)["Location"] == "/"
    assert visitor.client.get("/").status_code == 200
    held = stored_tokens(visitor)
    assert held.scope in {("openid", "email"), ("openid", "profile", "email")}


@pytest.mark.parametrize(
    "claims",
    [
        {"name": "Ada\0"},
        {"name": "\ud800"},
        {"nested": [{"\ud800": 1}]},
        {"age": [float("nan")]},
        {"age": [float("inf")]},
        {"age": [float("-inf")]},
    ],
)
def test_claim_that_no_database_stores_rejects_the_sign_in(
    corp: FakeProvider, visitor: Visitor, claims: dict[str, Any]
) -> None:
    """JSON has no such numbers, but Python reads their names, and `1e400` as infinity."""
    corp.more_of_userinfo = claims
    assert visitor.sign_in(corp).status_code == 401
    assert visitor.user_id is None


@pytest.mark.parametrize("name", ["\\u0000", "Ада 😀", "a\\"])
def test_any_other_text_is_a_name(corp: FakeProvider, visitor: Visitor, name: str) -> None:
    corp.more_of_userinfo = {"name": name}
    visitor.sign_in(corp)
    assert visitor.user_id is not None


def test_redirected_token_request_carries_the_code_nowhere(
    corp: FakeProvider, visitor: Visitor
) -> None:
    asked: list[str] = []

    def elsewhere() -> Response:
        asked.append("elsewhere")
        return 200, "application/json", b"{}"

    url = visitor.callback_address(corp)
    corp.failing["/token"] = respond_with(302, b"", f"{corp.issuer}/elsewhere")
    corp.failing["/elsewhere"] = elsewhere

    assert_provider_is_down(visitor.client.get(url))
    assert asked == []


def test_refused_code_is_a_page_and_its_response_is_not_repeated(
    corp: FakeProvider, visitor: Visitor, caplog: pytest.LogCaptureFixture
) -> None:
    url = visitor.callback_address(corp)
    body = json.dumps({"error": "invalid_grant", "error_description": CANARY}).encode()
    corp.failing["/token"] = respond_with(400, body)

    with caplog.at_level(logging.DEBUG):
        response = visitor.client.get(url)

    assert response.status_code == 401
    assert "did not work" in response.content.decode()
    assert CANARY not in response.content.decode()
    assert CANARY not in caplog.text
    assert "corp did not work (token_invalid_grant), request " in caplog.text
    assert "`manage.py docs providers` explains `token_invalid_grant`." in caplog.text


@pytest.mark.parametrize("what", BAD)
def test_invalid_early_response_ends_the_call_in_time(
    corp: FakeProvider,
    visitor: Visitor,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    """Some never end: without its time-out this would not, either."""
    monkeypatch.setattr(http, "GET_TIMEOUT", 0.4)
    with serving_bytes(BAD[what]) as url:
        configure(settings, environment("corp", corp, ISSUER=url))
        assert_provider_is_down(visitor.start())


def test_overlong_userinfo_is_dropped(corp: FakeProvider, visitor: Visitor) -> None:
    corp.more_of_userinfo = {"picture": "x" * http.RESPONSE_MAX}
    assert visitor.sign_in(corp).status_code == 302
    assert SocialAccount.objects.get().extra_data["userinfo"] == {}


def test_userinfo_request_uses_the_token_whatever_netrc_contains(
    corp: FakeProvider, visitor: Visitor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else")
    monkeypatch.setenv("NETRC", str(netrc))

    visitor.sign_in(corp)

    assert visitor.load_tokens() is not None


def test_closed_port_is_a_page(corp: FakeProvider, visitor: Visitor, settings: Settings) -> None:
    configure(settings, environment("corp", corp, ISSUER="http://127.0.0.1:9"))
    assert_provider_is_down(visitor.start())


def test_slow_provider_times_out(
    corp: FakeProvider, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "GET_TIMEOUT", 0.1)
    end_of_test = threading.Event()

    def wait() -> Response:
        end_of_test.wait(10)
        return 200, "application/json", b"{}"

    corp.failing[DISCOVERY] = wait
    try:
        assert_provider_is_down(visitor.start())
    finally:
        end_of_test.set()


def test_provider_that_says_it_is_down_gets_the_same_page(
    corp: FakeProvider, visitor: Visitor
) -> None:
    started = visitor.start()
    url = corp.consent(started["Location"], error="temporarily_unavailable")
    assert_provider_is_down(visitor.client.get(url))


def test_error_without_a_state_does_not_blame_the_provider(
    corp: FakeProvider, visitor: Visitor
) -> None:
    response = visitor.client.get("/accounts/oidc/corp/login/callback/?error=server_error")
    assert (response.status_code, response["Location"]) == (302, "/accounts/login/?again=1")


def test_denied_consent_gets_a_friendly_page(corp: FakeProvider, visitor: Visitor) -> None:
    started = visitor.start()
    response = visitor.client.get(corp.consent(started["Location"], error="access_denied"))
    assert response["Location"] == "/accounts/3rdparty/login/cancelled/"
    page = visitor.client.get(response["Location"])
    assert page.status_code == 200
    assert "You did not sign in" in page.content.decode()


def test_denied_consent_of_somebody_signed_in_does_not_say_they_are_not(
    corp: FakeProvider, signed_in: Visitor
) -> None:
    started = signed_in.start(process="connect")
    denied = signed_in.client.get(corp.consent(started["Location"], error="access_denied"))
    page = signed_in.client.get(denied["Location"]).content.decode()
    assert "You did not sign in" not in page
    assert "You are still signed in" in page
    assert 'href="/accounts/login/"' not in page


def test_failed_connection_of_a_signed_in_user_links_to_the_connections_page(
    corp: FakeProvider, signed_in: Visitor
) -> None:
    address = signed_in.callback_address(corp)
    page = signed_in.client.get(address.replace("code=", "code=x"))
    assert page.status_code == 401
    assert "You are still signed in" in page.content.decode()
    assert 'href="/accounts/login/"' not in page.content.decode()


def test_description_of_an_error_is_not_shown(corp: FakeProvider, visitor: Visitor) -> None:
    started = visitor.start()
    url = corp.consent(started["Location"], error="invalid_scope")
    response = visitor.client.get(f"{url}&error_description={CANARY}")
    assert response.status_code == 401
    assert CANARY not in response.content.decode()


def test_failed_sign_in_leaves_the_one_before_alone(corp: FakeProvider, signed_in: Visitor) -> None:
    held = signed_in.load_tokens()
    corp.failing["/token"] = NONSENSE["server error"]
    signed_in.sign_in(corp)
    assert signed_in.load_tokens() == held


def test_github_error_in_a_good_response_is_a_page(github: FakeProvider, visitor: Visitor) -> None:
    body = f"error=bad_verification_code&error_description={CANARY}".encode()
    github.failing["/login/oauth/access_token"] = respond_with(
        200, body, "application/x-www-form-urlencoded"
    )
    response = visitor.sign_in(github, "github")
    assert response.status_code == 401
    assert CANARY not in response.content.decode()


def test_github_that_is_down_is_a_page(github: FakeProvider, visitor: Visitor) -> None:
    github.failing["/user"] = respond_with(502, b"")
    response = visitor.sign_in(github, "github")
    assert response.status_code == 503
    assert "GitHub cannot be reached" in response.content.decode()
