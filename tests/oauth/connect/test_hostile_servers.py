"""Authorization servers that mix themselves up with others, leave things out, or exaggerate."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.auth import get_user
from pytest_django import Settings

from oauth.connect import flow
from oauth.exceptions import OAuthError
from oauth.mcp.servers import find_server
from oauth.tokens import vault
from tests.oauth.support.connecting import Connecting, declare, query_of
from tests.oauth.support.fake_provider import Response, json_response
from tests.oauth.support.mcp_server import serving_mcp_with_issuer_elsewhere
from tests.oauth.support.requests import get_token, request_of

CANARY = "canary-of-the-answer"


@pytest.fixture
def honest(files: Connecting) -> Connecting:
    """Declare a second server, which is honest; `notes` is not."""
    return files


def assert_nothing_connected(connecting: Connecting) -> None:
    assert vault.load_token_set(connecting.visitor.session, connecting.name) is None


def test_issuer_elsewhere_is_asked_nothing_and_the_page_says_who_has_to_act(
    notes: Connecting, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """The hostile server names a stranger's authorization server: nobody is sent there."""
    with serving_mcp_with_issuer_elsewhere() as served:
        declare(settings, evil=served.url)
        person, stranger = Connecting(notes.visitor, served, "evil"), served.authorization
        stranger.failing["/.well-known/oauth-authorization-server"] = lambda: pytest.fail("asked")
        page = person.post()
        line = f"UPSTREAM_EVIL_ISSUER={stranger.issuer}"
        assert (page.status_code, page.headers.get("Retry-After")) == (400, None)
        for text in ("issuer_not_accepted", line, "until the people who run this gateway"):
            assert text in page.content.decode()
        assert "Try again" not in page.content.decode()
        assert line in caplog.text
        assert (stranger.registrations, stranger.authorizations) == ([], [])

        settings.OAUTH_UPSTREAM_ORIGINS = [stranger.issuer]
        reserved = person.post().content.decode()
        assert "reserved_origin" in reserved
        assert "until the people who run this gateway" in reserved
        assert line not in reserved

        del stranger.failing["/.well-known/oauth-authorization-server"]
        declare(settings, {"UPSTREAM_EVIL_ISSUER": stranger.issuer}, evil=served.url)
        assert person.connect()["Location"] == "/"


def redirect_to(honest: Connecting, notes: Connecting) -> str:
    """Let the hostile server's own endpoint redirect the browser to the honest server.

    Everybody may register there, also for the callback of somebody else. Return the redirect back.
    """
    server, hostile = honest.resource.authorization, notes.resource.authorization
    asked = query_of(notes.begin())
    server.clients["of-the-attacker"] = {"redirect_uris": [asked["redirect_uri"]]}
    asked |= {"client_id": "of-the-attacker", "resource": honest.resource.url}
    onward = f"{server.issuer}/authorize?{urlencode(asked)}"
    hostile.failing["/authorize"] = lambda: (302, onward, b"")
    return server.consent(hostile.consent(f"{hostile.issuer}/authorize"))


def test_redirect_to_another_authorization_server_is_noticed_by_its_iss(
    notes: Connecting, honest: Connecting
) -> None:
    """The hostile server has the honest one response to its own callback ("mix-up")."""
    notes.resource.authorization.states_issuer = False  # It does not announce what would reveal it.
    page = notes.back(redirect_to(honest, notes))
    assert (page.status_code, b"response_issuer" in page.content) == (400, True)
    assert notes.resource.authorization.forms == honest.resource.authorization.forms == []
    assert_nothing_connected(notes)


def test_without_iss_the_redirect_gives_the_token_away_as_the_threat_model_says(
    notes: Connecting, honest: Connecting
) -> None:
    server, hostile = honest.resource.authorization, notes.resource.authorization
    server.states_issuer = hostile.states_issuer = False
    notes.back(redirect_to(honest, notes))
    [stolen] = hostile.forms
    own = {"client_id": "of-the-attacker", "resource": honest.resource.url}
    status, _, _ = server.token(stolen | own, "")
    assert status == 200


@pytest.mark.parametrize("at", ["files", "notes"])
def test_state_of_one_server_is_worthless_at_the_callback_of_another(
    notes: Connecting, honest: Connecting, at: str
) -> None:
    of, other = (notes, honest) if at == "files" else (honest, notes)
    location = of.resource.authorization.consent(of.begin())
    response = location.replace(of.path, other.path)
    assert other.back(response)["Location"] == "/"
    assert of.back(location)["Location"] == "/"  # It was used, and is worth nothing any more.
    assert notes.resource.authorization.forms == honest.resource.authorization.forms == []
    assert_nothing_connected(of)
    assert_nothing_connected(other)


@pytest.mark.parametrize("response", [{}, {"error": CANARY}, {"error": "access_denied"}])
@pytest.mark.parametrize("issuer", [None, "https://other.example", "", "{issuer}/"])
def test_issuer_is_compared_before_anything_is_shown_or_sent(
    notes: Connecting, response: dict[str, str], issuer: str | None
) -> None:
    server = notes.resource.authorization
    url = notes.begin()
    location = server.consent(url, error=response.get("error"))
    stated, query = query_of(location).pop("iss"), query_of(location)
    assert stated == server.issuer
    del query["iss"]
    query |= {} if issuer is None else {"iss": issuer.format(issuer=server.issuer)}
    page = notes.visitor.client.get(f"{notes.path}callback/", query)
    assert page.status_code == 400
    assert b"response_issuer" in page.content
    assert CANARY.encode() not in page.content
    assert server.forms == []


def test_issuer_may_be_missing_where_none_was_announced(notes: Connecting) -> None:
    notes.resource.authorization.states_issuer = False
    assert notes.connect()["Location"] == "/"
    assert notes.held.issuer == notes.resource.authorization.issuer


def test_response_is_used_once_by_its_person_in_time_and_only_if_it_is_unambiguous(
    notes: Connecting, store: Any
) -> None:
    server = notes.resource.authorization
    location = server.consent(notes.begin())
    assert notes.back(f"{location}&code=another")["Location"] == "/"
    assert notes.back(location)["Location"] == "/"
    assert len(server.forms) == 1
    assert notes.back(location)["Location"] == "/"
    late = server.consent(notes.begin())
    store.clock.advance(3601)
    notes.back(late)
    assert len(server.forms) == 1


def test_response_that_arrives_twice_at_once_sends_its_code_once(notes: Connecting) -> None:
    location = notes.resource.authorization.consent(notes.begin())
    second = request_of(notes.visitor, query=query_of(location))
    second.user = get_user(second)  # This loads the session before the first one is saved.
    server = find_server(notes.name)
    assert server is not None
    assert notes.back(location)["Location"] == "/"
    assert flow.complete(second, server)["Location"] == "/"
    assert len(notes.resource.authorization.forms) == 1
    second.session.save()
    assert notes.held.access_token


def test_error_of_the_server_is_shown_by_its_code_only(notes: Connecting) -> None:
    server = notes.resource.authorization
    page = notes.back(server.consent(notes.begin(), error=CANARY))
    assert (page.status_code, b"authorization_other" in page.content) == (400, True)
    assert CANARY.encode() not in page.content
    refused = notes.back(server.consent(notes.begin(next="/sessions/"), error="access_denied"))
    assert refused["Location"] == "/sessions/"
    assert_nothing_connected(notes)


LIFETIMES: list[Any] = [
    10**400, -(10**400), 1e308, -1, 0, "0", "1e999", "NaN", "", None, True, [], {}, "ten",
    "9" * 4000,
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", ["expires_in", "refresh_token_expires_in"])
def test_absurd_lifetime_is_bounded_or_refused(notes: Connecting, name: str) -> None:
    statuses = set()
    for lifetime in LIFETIMES:
        notes.resource.authorization.more_of_token_response = {name: lifetime}
        status = notes.connect().status_code
        statuses.add(status)
        if status != 302:
            continue
        held = notes.held
        assert (held.expires_at or 0) < 5_000_000_000, lifetime
        assert (held.refresh_expires_at or 0) < 5_000_000_000, lifetime
        with suppress(OAuthError):
            get_token(notes.visitor, "notes")
        assert notes.visitor.client.get("/").status_code == 200, lifetime
    assert statuses == {302, 503}


ODD: dict[str, Callable[[], Response]] = {
    "html": lambda: (200, "text/html", CANARY.encode()),
    "null": lambda: (200, "application/json", b"null"),
    "no token": lambda: (200, "application/json", b"{}"),
    "a token that is no text": lambda: json_response({"access_token": {"a": CANARY}}),
    "a token of another type": lambda: json_response(
        {"access_token": CANARY, "token_type": "DPoP"}
    ),
    "a token of 1 MB": lambda: json_response({"access_token": "x" * 1_000_000}),
    "a redirect": lambda: (302, "http://127.0.0.1:1/" + CANARY, b""),
    "an error": lambda: (500, "text/plain", CANARY.encode()),
    "a rejection": lambda: (400, "application/json", b'{"error": "%s"}' % CANARY.encode()),
    "deep": lambda: (200, "application/json", b"[" * 5000),
}


def test_odd_response_of_the_token_endpoint_is_an_error_page(
    notes: Connecting, caplog: pytest.LogCaptureFixture
) -> None:
    for what, response in ODD.items():
        notes.resource.authorization.failing["/token"] = response
        page = notes.connect()
        assert page.status_code in {400, 503}, what
        assert CANARY.encode() not in page.content, what
        assert_nothing_connected(notes)
    assert CANARY not in caplog.text


def test_page_of_a_failure_leads_back_to_this_site_only(notes: Connecting) -> None:
    notes.resource.authorization.failing["/register"] = ODD["an error"]
    page = notes.post(next="https://evil.example/")
    assert (page.status_code, b"evil" in page.content) == (503, False)
    assert b'href="/sessions/"' in notes.post(next="/sessions/").content


def test_name_of_an_account_is_short_plain_text(notes: Connecting) -> None:
    names = ("preferred_username", "name", "workspace_name")
    more: dict[str, Any] = {"email": ["x"], **dict.fromkeys(names, "n" * 5000)}
    notes.resource.authorization.more_of_token_response = more
    notes.connect()
    assert notes.held.account == "n" * 100
    overgrown = {"email": "a" + "\N{COMBINING TILDE OVERLAY}" * 50}
    notes.resource.authorization.more_of_token_response = overgrown
    notes.connect()
    assert notes.held.account == "a" + "\N{COMBINING TILDE OVERLAY}" * 2
    blank = {"email": "\u202e\u2066 \n\N{HANGUL FILLER}\N{BRAILLE PATTERN BLANK}"}
    notes.resource.authorization.more_of_token_response = blank
    notes.connect()
    assert notes.held.account is None
