"""What an assertion must have, each check by one that lacks it. Only the log has the reason."""

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from allauth.socialaccount.models import SocialAccount

from tests.oauth.clients.support.app import ISSUER, RESOURCE
from tests.oauth.clients.support.asserting import PUBLIC_ID, SECRET, AssertingClient
from tests.oauth.support.id_jag_provider import ABSENT, IdJagProvider, new_key
from tests.oauth.support.provider_failures import stall
from tests.sessions_kms.support.stacks import Stack
from tests.support.cases import each_case
from tests.support.waiting import wait_until

GATEWAY = "/gateway/tools"


def assert_rejected(response: Any, error: str = "invalid_grant", status: int = 400) -> None:
    assert (response.status_code, response.json()["error"]) == (status, error), response.content
    assert "assertion" not in response.json()["error_description"]
    assert response["Cache-Control"] == "no-store"


def test_assertion_gets_an_access_token_and_no_refresh_token(tool: AssertingClient) -> None:
    response = tool.ask()
    assert response.status_code == 200, response.content
    found = response.json()
    assert found.pop("access_token").startswith("gwa_")
    assert 899 <= found.pop("expires_in") <= 900
    assert found == {"token_type": "Bearer", "scope": "tools"}
    assert response["Cache-Control"] == "no-store"


@each_case(
    ("header", "claims", "reason"),
    [
        ({"typ": "JWT"}, {}, "another type"),
        ({"typ": ABSENT}, {}, "another type"),
        ({"typ": "at+jwt"}, {}, "another type"),
        ({"crit": ["b64"], "b64": True}, {}, "unknown extension"),
        ({}, {"x": json.loads("[" * 30 + "]" * 30)}, "cannot be read"),
        ({}, {"iss": "https://evil.example"}, "may not vouch"),
        ({}, {"iss": ABSENT}, "usable iss"),
        ({}, {"iss": ["a"]}, "usable iss"),
        ({}, {"aud": ISSUER + "/"}, "another audience"),
        ({}, {"aud": ISSUER + ".evil.example"}, "another audience"),
        ({}, {"aud": ISSUER[:-1]}, "another audience"),
        ({}, {"aud": ISSUER + "/oauth/token"}, "another audience"),
        ({}, {"aud": [ISSUER, "https://other.example"]}, "another audience"),
        ({}, {"aud": [ISSUER, ISSUER]}, "another audience"),
        ({}, {"aud": []}, "another audience"),
        ({}, {"aud": ABSENT}, "another audience"),
        ({}, {"client_id": "other"}, "another client"),
        ({}, {"client_id": ["tool"]}, "another client"),
        ({}, {"client_id": ABSENT}, "another client"),
        ({}, {"exp": ABSENT}, "usable exp"),
        ({}, {"iat": ABSENT}, "usable iat"),
        ({}, {"iat": True}, "usable iat"),
        ({}, {"jti": ABSENT}, "usable jti"),
        ({}, {"jti": 7}, "usable jti"),
        ({}, {"jti": "x" * 1025}, "jti is too long"),
        ({}, {"authorization_details": []}, "authorization_details"),
        ({}, {"cnf": {"jkt": "x"}}, "bound to a key"),
        ({}, {"cnf": None}, "bound to a key"),
        ({}, {"sub": ABSENT}, "usable sub"),
        ({}, {"sub": ""}, "usable sub"),
        ({}, {"sub": " 1001"}, "whose account"),
        ({}, {"sub": "x" * 256}, "usable sub"),
        ({}, {"scope": 7}, "no text"),
    ],
)
def test_each_fault_is_rejected_for_its_own_reason(
    tool: AssertingClient,
    caplog: pytest.LogCaptureFixture,
    header: dict[str, Any],
    claims: dict[str, Any],
    reason: str,
) -> None:
    caplog.set_level(logging.INFO)
    caplog.clear()
    response = tool.present(tool.assertion(header, **claims))
    assert_rejected(response)
    assert reason in caplog.text
    assert not SocialAccount.objects.exists()


@each_case(
    ("changes", "is_accepted"),
    [
        ({"iat": -300, "exp": -59}, True),
        ({"iat": -300, "exp": -61}, False),
        ({"iat": 59, "exp": 300}, True),
        ({"iat": 62, "exp": 300}, False),
        ({"iat": 0, "exp": 300}, True),
        ({"iat": 0, "exp": 302}, False),
        ({"nbf": 59}, True),
        ({"nbf": 62}, False),
    ],
)
def test_times_have_a_tolerance_of_a_minute(
    tool: AssertingClient, store: Stack, changes: dict[str, int], is_accepted: bool
) -> None:
    now = int(store.clock())
    response = tool.ask(**{name: now + seconds for name, seconds in changes.items()})
    assert (response.status_code == 200) is is_accepted, (changes, response.content)


def test_one_audience_and_resource_in_a_list_are_accepted(tool: AssertingClient) -> None:
    assert tool.ask(aud=[ISSUER], resource=[RESOURCE]).status_code == 200


def test_issuer_is_compared_exactly(tool: AssertingClient, corp: IdJagProvider) -> None:
    for end in ("/", "//", "/a"):
        assert_rejected(tool.ask(iss=corp.issuer + end))
    assert_rejected(tool.ask(iss=corp.issuer.replace("http", "HTTP")))


def test_another_key_of_that_id_is_rejected(tool: AssertingClient, corp: IdJagProvider) -> None:
    assert_rejected(tool.present(tool.assertion(key=new_key())))
    assert corp.key_fetches == 1


def test_altered_assertion_is_rejected(tool: AssertingClient) -> None:
    head, body, signature = tool.assertion().split(".")
    _, other, _ = tool.assertion(sub="2002").split(".")
    assert_rejected(tool.present(f"{head}.{other}.{signature}"))
    assert_rejected(tool.present(f"{head}.{body}."))
    for text in ("", "x", "a.b.c", "a.b.c.d.e", "€"):
        response = tool.present(text)
        assert response.status_code == 400


def test_id_token_is_no_assertion(tool: AssertingClient, corp: IdJagProvider) -> None:
    corp.more_of_id_token = {
        "aud": ISSUER,
        "client_id": "tool",
        "jti": "one",
        "resource": RESOURCE,
    }
    assert_rejected(tool.present(corp._id_token()))


def test_forged_assertions_with_unknown_keys_cause_one_fetch_a_minute(
    tool: AssertingClient, corp: IdJagProvider, store: Stack
) -> None:
    assert tool.ask().status_code == 200
    assert corp.key_fetches == 1
    for number in range(20):
        response = tool.present(tool.assertion(key=new_key(f"unknown-{number}")))
        assert response.status_code == (400 if number == 0 else 503)
    assert corp.key_fetches == 2
    assert tool.ask().status_code == 200
    store.clock.advance(61)
    tool.present(tool.assertion(key=new_key("unknown")))
    assert corp.key_fetches == 3


def test_new_key_of_the_provider_is_fetched(tool: AssertingClient, corp: IdJagProvider) -> None:
    assert tool.ask().status_code == 200
    corp.key = new_key("next")
    assert tool.ask().status_code == 200


def test_unreachable_keys_are_a_503_that_uses_up_nothing(
    tool: AssertingClient, corp: IdJagProvider
) -> None:
    assertion = tool.assertion()
    corp.failing["/jwks"] = lambda: (500, "text/plain", b"")
    response = tool.present(assertion)
    assert (response.status_code, response.json()["error"]) == (503, "temporarily_unavailable")
    assert int(response["Retry-After"]) >= 1
    del corp.failing["/jwks"]


@each_case(
    ("client_id", "secret", "error"),
    [
        ("tool", "wrong", "invalid_client"),
        ("tool", None, "invalid_client"),
        ("public", None, "unauthorized_client"),
        ("restricted", SECRET, "unauthorized_client"),
        ("https://app.example.com/client.json", None, "unauthorized_client"),
        ("https://app.example.com/client.json", SECRET, "unauthorized_client"),
    ],
)
def test_only_clients_that_may_use_it_get_a_token(
    tool: AssertingClient, client_id: str, secret: str | None, error: str
) -> None:
    client = AssertingClient(
        tool.idp, client_id, {} if secret is None else {"client_secret": secret}
    )
    assert_rejected(client.ask(), error, 401 if error == "invalid_client" else 400)
    assert not SocialAccount.objects.exists()


def test_clients_that_authenticate_and_a_listed_public_one_get_tokens(
    corp: IdJagProvider, tool: AssertingClient
) -> None:
    for client_id, fields in (("other", tool.fields), (PUBLIC_ID, {})):
        assert AssertingClient(corp, client_id, fields).ask().status_code == 200


def test_client_that_registered_itself_is_unauthorized(
    corp: IdJagProvider, tool: AssertingClient
) -> None:
    registered = tool.http.post(
        "/oauth/register",
        {"client_name": "App", "redirect_uris": ["http://127.0.0.1/"], "grant_types": ["x", "y"]},
        "application/json",
    )
    assert registered.status_code == 201
    assert registered.json()["grant_types"] == ["authorization_code", "refresh_token"]
    client = AssertingClient(corp, registered.json()["client_id"], {})
    assert_rejected(client.ask(), "unauthorized_client")


def test_wrong_assertion_of_the_right_client_is_rejected_before_its_secret_is_compared(
    tool: AssertingClient,
) -> None:
    response = tool.present(tool.assertion(aud="https://other.example"), client_secret="wrong")
    assert_rejected(response)


def test_assertions_that_wait_for_a_slow_provider_leave_room_for_other_clients(
    tool: AssertingClient, corp: IdJagProvider
) -> None:
    reached, released = stall(corp, "/jwks")
    forged = [tool.assertion(key=new_key()) for _ in range(24)]
    with ThreadPoolExecutor(24) as pool:
        waiting = [pool.submit(tool.present, each) for each in forged]
        try:
            assert reached.wait(20)
            wait_until(
                lambda: sum(each.done() for each in waiting) >= 16, "the others are rejected"
            )
            refresh = {"grant_type": "refresh_token", "refresh_token": "gwr_" + "a" * 32}
            response = tool.present("", **refresh)
            assert_rejected(response)
        finally:
            released.set()
        statuses = [each.result().status_code for each in waiting]
    assert set(statuses) == {400, 503}
    assert statuses.count(503) >= 16
