"""A provider or an issuer that answers wrongly, or not at all, gets nothing."""

import json
from typing import Any

import pytest

from oauth.exceptions import OAuthError, ProviderUnavailable, ReauthenticationRequired
from oauth.tokens import refresh_coordinator
from tests.oauth.support.asserting import AT_NOTES, AssertionServer
from tests.oauth.support.fake_provider import Response
from tests.oauth.support.fixtures import Visitor
from tests.oauth.support.id_jag_provider import ABSENT, ID_JAG, IdJagProvider, new_key
from tests.oauth.support.mcp_server import McpResource
from tests.oauth.support.provider_failures import NONSENSE, respond_with
from tests.oauth.support.requests import assert_no_token, drop_tokens, get_token, stored_tokens
from tests.sessions_kms.support.stacks import Stack
from tests.support.cases import each_case

ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"


def respond_with_claims(corp: IdJagProvider, notes: McpResource, **changes: Any) -> None:
    """Have the provider answer an exchange with changed claims, headers or members."""
    header = changes.pop("header", {})
    members = changes.pop("members", {})
    issuer = notes.authorization.issuer
    claims = {"aud": issuer, "client_id": AT_NOTES, "resource": notes.url} | changes
    assertion = corp.assertion(header, **claims)
    response = {"issued_token_type": ID_JAG, "access_token": assertion, "token_type": "N_A"}
    content = {name: each for name, each in (response | members).items() if each is not ABSENT}
    corp.failing["/token"] = respond_with(200, json.dumps(content).encode())


def fill(value: Any, notes: McpResource) -> Any:
    """Return a value with the addresses of this test's server."""
    if isinstance(value, list):
        return [fill(each, notes) for each in value]
    if not isinstance(value, str):
        return value
    return value.replace("{issuer}", notes.authorization.issuer).replace("{resource}", notes.url)


def forget_failures(signed_in: Visitor) -> None:
    """Let the session try again now."""
    session = signed_in.session
    session.pop("oauth_assertion_failed:notes", None)
    session.save()
    refresh_coordinator._back_off._until.clear()


def assert_nothing_is_sent(signed_in: Visitor, server: AssertionServer) -> None:
    forget_failures(signed_in)
    assert_no_token(signed_in, ReauthenticationRequired, "notes")
    assert not server.forms
    assert signed_in.load_tokens("notes") is None


@each_case(
    "changes",
    [
        {"aud": "https://another.example"},
        {"aud": ABSENT},
        {"aud": "{issuer}/"},
        {"aud": "{issuer}.example"},
        {"aud": ["{issuer}", "https://another.example"]},
        {"aud": []},
        {"aud": None},
        {"client_id": "another"},
        {"client_id": ABSENT},
        {"client_id": [AT_NOTES]},
        {"exp": ABSENT},
        {"exp": 1},
        {"exp": "9999999999"},
        {"exp": True},
        {"exp": float("nan")},
        {"resource": "https://another.example/mcp"},
        {"resource": ["{resource}", "https://another.example/mcp"]},
        {"resource": None},
        {"cnf": {"jkt": "x" * 43}},
        {"cnf": None},
        {"header": {"typ": "JWT"}},
        {"header": {"typ": ABSENT}},
        {"header": {"typ": "at+jwt"}},
        {"members": {"issued_token_type": ACCESS_TOKEN}},
        {"members": {"issued_token_type": ABSENT}},
        {"members": {"issued_token_type": [ID_JAG]}},
        {"members": {"token_type": "Bearer"}},
        {"members": {"token_type": ABSENT}},
        {"members": {"token_type": ["N_A"]}},
        {"members": {"access_token": "no.jwt"}},
        {"members": {"access_token": ABSENT}},
        {"members": {"access_token": {}}},
        {"members": {"access_token": "e30.e30.\ud800"}},
        {"members": {"access_token": "x" * 40_000}},
    ],
)
def test_wrong_assertion_is_sent_to_nobody(
    signed_in: Visitor, corp: IdJagProvider, notes: McpResource, server: AssertionServer,
    changes: dict[str, Any],
) -> None:  # fmt: skip
    respond_with_claims(
        corp, notes, **{name: fill(value, notes) for name, value in changes.items()}
    )
    assert_nothing_is_sent(signed_in, server)


def test_id_token_in_place_of_an_assertion_is_sent_to_nobody(
    signed_in: Visitor, corp: IdJagProvider, notes: McpResource, server: AssertionServer
) -> None:
    id_token = stored_tokens(signed_in).id_token
    respond_with_claims(corp, notes, members={"access_token": id_token})
    assert_nothing_is_sent(signed_in, server)


@each_case(
    "changes", [{}, {"resource": ABSENT}, {"aud": ["{issuer}"]}, {"members": {"token_type": "n_a"}}]
)
def test_assertion_of_another_honest_form_is_accepted(
    signed_in: Visitor, corp: IdJagProvider, notes: McpResource, server: AssertionServer,
    changes: dict[str, Any],
) -> None:  # fmt: skip
    respond_with_claims(
        corp, notes, **{name: fill(value, notes) for name, value in changes.items()}
    )
    server.checks_resource = False
    assert get_token(signed_in, "notes").access_token in server.people_of_tokens
    drop_tokens(signed_in, "notes")


def test_assertion_of_another_key_is_for_the_issuer_to_reject(
    signed_in: Visitor, corp: IdJagProvider, server: AssertionServer
) -> None:
    server.provider = IdJagProvider(issuer=corp.issuer, key=new_key("another"))
    assert_no_token(signed_in, ReauthenticationRequired, "notes")
    assert len(server.forms) == 1


OUTAGES = ["server error", "redirect", "redirect with an answer", "no json", "huge", "null"]


@pytest.mark.parametrize("where", ["corp", "server"])
def test_outage_is_no_refusal_and_is_over_after_five_seconds(
    signed_in: Visitor, corp: IdJagProvider, server: AssertionServer, store: Stack, where: str
) -> None:
    failing = {"corp": corp, "server": server}[where].failing
    for outage in OUTAGES:
        failing["/token"] = NONSENSE[outage]
        assert_no_token(signed_in, ProviderUnavailable, "notes")
        store.clock.advance(refresh_coordinator.BACK_OFF + 0.1)
    assert_no_token(signed_in, ProviderUnavailable, "notes")
    failing.clear()
    assert_no_token(signed_in, ProviderUnavailable, "notes")  # This process waits.
    store.clock.advance(refresh_coordinator.BACK_OFF + 0.1)
    assert get_token(signed_in, "notes").access_token in server.people_of_tokens


@pytest.mark.parametrize(("where", "name"), [("corp", "corp"), ("server", "notes")])
def test_log_names_the_side_that_does_not_answer(
    signed_in: Visitor,
    server: AssertionServer,
    caplog: pytest.LogCaptureFixture,
    where: str,
    name: str,
) -> None:
    {"corp": server.provider, "server": server}[where].failing["/token"] = NONSENSE["server error"]
    assert_no_token(signed_in, ProviderUnavailable, "notes")
    assert f"notes cannot be connected through corp now, because of {name}: " in caplog.text


@pytest.mark.parametrize("error", ["temporarily_unavailable", "server_error"])
def test_server_that_says_it_is_unavailable_is_no_refusal(
    signed_in: Visitor, server: AssertionServer, error: str
) -> None:
    server.error = error
    assert_no_token(signed_in, ProviderUnavailable, "notes")


ERRORS: list[object] = [
    "invalid_grant", "invalid_client", "access_denied", "interaction_required", "made_up",
    ["server_error"], {"server_error": 1}, 7, None,
]  # fmt: skip


@pytest.mark.parametrize("where", ["corp", "server"])
def test_error_of_oauth_leads_to_connect_without_another_attempt_for_five_minutes(
    signed_in: Visitor, corp: IdJagProvider, server: AssertionServer, store: Stack, where: str
) -> None:
    def refuse() -> Response:
        requests.append("")
        return 400, "application/json", json.dumps({"error": errors[-1]}).encode()

    requests: list[str] = []
    errors: list[object] = []
    failing = {"corp": corp, "server": server}[where].failing
    failing["/token"] = refuse
    for error in ERRORS:
        errors.append(error)
        forget_failures(signed_in)
        assert_no_token(signed_in, ReauthenticationRequired, "notes")
    for seconds in (99, 99, 99):
        store.clock.advance(seconds)
        assert_no_token(signed_in, ReauthenticationRequired, "notes")
    assert len(requests) == len(ERRORS)
    failing.clear()
    store.clock.advance(4)
    assert get_token(signed_in, "notes").access_token in server.people_of_tokens


@each_case(
    ("members", "error"),
    [
        ({"token_type": "DPoP"}, ReauthenticationRequired),
        ({"access_token": "x" * 40_000}, ReauthenticationRequired),
        ({"access_token": "a b"}, ProviderUnavailable),
        ({"access_token": None}, ProviderUnavailable),
        ({"expires_in": "soon"}, ProviderUnavailable),
    ],
)
def test_token_that_cannot_be_used_is_not_stored(
    signed_in: Visitor, server: AssertionServer, members: dict[str, Any],
    error: type[OAuthError],
) -> None:  # fmt: skip
    server.more_of_token_response = members
    forget_failures(signed_in)
    assert_no_token(signed_in, error, "notes")
    assert signed_in.load_tokens("notes") is None


def test_nothing_that_is_secret_is_logged(
    signed_in: Visitor,
    corp: IdJagProvider,
    server: AssertionServer,
    store: Stack,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    get_token(signed_in, "notes")
    store.clock.advance(3601)
    server.error = "invalid_grant"
    assert_no_token(signed_in, ReauthenticationRequired, "notes")
    assert "notes was not connected through corp (token_invalid_grant)" in caplog.text
    for secret in (*corp.secrets, *server.secrets):
        assert secret not in caplog.text


@pytest.mark.parametrize("resource", ["https://another.example/mcp", "{resource}/other"])
def test_server_that_names_another_resource_gets_no_token_for_it(
    signed_in: Visitor, corp: IdJagProvider, notes: McpResource, server: AssertionServer,
    resource: str,
) -> None:  # fmt: skip
    notes.more_of_document = {"resource": fill(resource, notes)}
    assert_no_token(signed_in, OAuthError, "notes")
    assert not corp.exchanges
    assert not server.forms
