"""The home page, signed out and signed in."""

import threading
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest
from django.conf import settings
from django.test import Client
from pytest_django import Settings

from gateway_site.pages import connections
from gateway_site.pages.connections import missing_scope
from oauth.clients.server import AuthorizationServer
from oauth.provider.token_set import TokenSet
from oauth.tokens import vault as tokens
from tests.gateway_site.support.home_page import accounts, buttons, cards, fields, home, status
from tests.gateway_site.support.page_requests import Element, assert_accessible
from tests.oauth.clients.support.app import SERVER
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor, configure
from tests.oauth.support.shown import shown_fields
from tests.sessions_kms.support.stacks import Stack
from tests.support.cases import each_case
from tests.support.waiting import wait_until

CONNECT = "/accounts/connect/notes/"


def facts(card: Element) -> dict[str, str]:
    terms = (term.text for term in card.all("dt"))
    return dict(zip(terms, (item.text for item in card.all("dd")), strict=True))


def submit(visitor: Visitor, form: Element, provider: FakeProvider) -> None:
    """Send a form that the visitor has looked at for long enough, and consent at the provider."""
    sent = fields(form) | shown_fields(visitor.user_id)
    response = visitor.client.post(form.attributes["action"], sent)
    visitor.client.get(provider.consent(response["Location"]))


@pytest.fixture
def expired(corp: FakeProvider, visitor: Visitor) -> Visitor:
    """Sign in with a token that is no longer valid; those after it are."""
    corp.expires_in = 0
    visitor.sign_in(corp)
    corp.expires_in = 3600
    return visitor


def test_signed_out_page_has_a_form_for_each_provider(
    other: FakeProvider, visitor: Visitor
) -> None:
    page = home(visitor)
    (main,) = page.all("main")
    forms = {form.all("button")[0].text: form.attributes for form in main.all("form")}
    assert forms == {
        "Sign in with Corp": {"method": "post", "action": "/accounts/oidc/corp/login/"},
        "Sign in with Other": {"method": "post", "action": "/accounts/oidc/other/login/"},
    }
    assert all(
        form.all("input")[0].attributes["name"] == "csrfmiddlewaretoken"
        for form in page.all("form")
    )


def test_signed_out_page_says_that_no_provider_is_configured(
    settings: Settings, visitor: Visitor
) -> None:
    configure(settings, {})
    assert "No sign-in provider is configured" in home(visitor).text


@pytest.mark.parametrize("path", ["/", "/accounts/login/", "/accounts/login/?next=/sessions/"])
def test_only_the_cookie_of_an_ended_session_is_told_so(
    corp: FakeProvider, visitor: Visitor, path: str
) -> None:
    """Not somebody who was sent to sign in, nor one whose cookie no session can have."""
    ended = "Your session has ended"
    heading = "Sign in to continue" if "next" in path else "Sign in to Gateway"

    def read_page() -> str:
        response = visitor.client.get(path)
        page = assert_accessible(response.content.decode())
        assert page.all("h1")[0].text == heading
        return page.text

    assert ended not in read_page()
    visitor.client.cookies[settings.SESSION_COOKIE_NAME] = "NOT-A-KEY"
    assert ended not in read_page()
    visitor.sign_in(corp)
    visitor.session.flush()
    assert ended in read_page()
    assert ended not in read_page(), "the cookie has been deleted"
    visitor.sign_in(corp)
    visitor.client.post("/accounts/logout/")
    assert ended not in read_page()


@each_case(
    "method, path",
    [
        *(("get", f"/{each}/") for each in ("sessions", "apps", "try/echo", "accounts/3rdparty")),
        *(("get", each) for each in ("/continue/?to=/gateway/echo/x", "/admin/", CONNECT)),
        ("post", CONNECT),
        *(("post", f"/sessions/{each}/") for each in ("end", "end-others")),
        *(("post", f"/apps/{each}/") for each in ("end", "end-all")),
    ],
)
def test_whoever_is_sent_to_sign_in_is_told_so_and_can_come_back(
    corp: FakeProvider, visitor: Visitor, settings: Settings, method: str, path: str
) -> None:
    """By every page for users; a form's own address would be an error after the sign-in."""
    settings.AUTHORIZATION_SERVER = AuthorizationServer(**SERVER)
    settings.OAUTH_MCP_SERVERS = {"notes": {"url": "https://notes.example/mcp"}}
    client = Client()
    response = getattr(client, method)(path, follow=True)
    page = assert_accessible(response.content.decode())
    assert page.all("h1")[0].text == "Sign in to continue"
    assert "Your session has ended" not in page.text
    (target,) = parse_qs(urlsplit(response.redirect_chain[-1][0]).query)["next"]
    visitor.sign_in(corp)
    assert visitor.client.get(target).status_code != 405, target


def test_signed_in_page_shows_user_and_tokens(other: FakeProvider, signed_in: Visitor) -> None:
    page = home(signed_in)

    assert page.all("h1")[0].text == "Connections"
    found = cards(page)
    assert status(found["Corp"]) == "Connected"
    held = facts(found["Corp"])
    assert accounts(found["Corp"]) == ["ada@example.com"]
    assert held["Refresh token"] == "Stored"
    assert held["Scopes"] == "openid profile email"
    assert "59 minutes" in held["Expires"] or "1 hour" in held["Expires"]
    assert "Not granted" not in found["Corp"].text
    assert buttons(found["Corp"]) == ["Re-authenticate with Corp"]
    assert status(found["Other"]) == "Not connected"
    assert facts(found["Other"]) == {}
    assert buttons(found["Other"]) == ["Connect Other"]


def test_times_are_readable_by_machines_and_in_the_future(signed_in: Visitor) -> None:
    ends = [
        datetime.fromisoformat(time.attributes["datetime"]) for time in home(signed_in).all("time")
    ]
    session_end, token_end = ends[:2]
    now = datetime.now(UTC)
    assert 0 < (token_end - now).total_seconds() <= 3600
    assert 6.9 < (session_end - now).total_seconds() / 86400 <= 7


def test_session_end_is_the_absolute_one(signed_in: Visitor, store: Stack) -> None:
    before = home(signed_in).all("time")[0].attributes["datetime"]
    store.clock.advance(3600)
    assert home(signed_in).all("time")[0].attributes["datetime"] == before


def test_token_without_end_is_called_that(github: FakeProvider, visitor: Visitor) -> None:
    visitor.sign_in(github, "github")
    held = facts(cards(home(visitor))["GitHub"])
    assert held["Expires"] == "Not stated by the provider"
    assert held["Refresh token"] == "None"
    assert held["Scopes"] == "read:user user:email"


def test_expired_token_is_renewed_by_looking_at_it(corp: FakeProvider, expired: Visitor) -> None:
    card = cards(home(expired))["Corp"]

    assert status(card) == "Connected"
    assert len(corp.refreshes) == 1
    assert "hour" in facts(card)["Expires"] or "59 minutes" in facts(card)["Expires"]
    home(expired)
    assert len(corp.refreshes) == 1


def test_expired_token_that_cannot_be_refreshed_asks_for_a_sign_in(
    corp: FakeProvider, visitor: Visitor
) -> None:
    corp.expires_in = 0
    corp.gives_refresh_token = False
    visitor.sign_in(corp)
    card = cards(home(visitor))["Corp"]
    assert status(card) == "Token expired; please re-authenticate"
    assert "Expired" in facts(card)
    assert buttons(card) == ["Re-authenticate with Corp"]


def test_refused_refresh_asks_for_a_sign_in_which_fixes_it(
    corp: FakeProvider, expired: Visitor
) -> None:
    corp.refresh_tokens.clear()
    card = cards(home(expired))["Corp"]
    assert status(card) == "Token expired; please re-authenticate"

    (form,) = card.all("form")
    submit(expired, form, corp)

    assert status(cards(home(expired))["Corp"]) == "Connected"


def test_page_is_complete_while_the_provider_is_unreachable(
    corp: FakeProvider, expired: Visitor
) -> None:
    corp.failing["/token"] = lambda: (503, "text/plain", b"")
    card = cards(home(expired))["Corp"]
    assert status(card) == "Token expired; it will be renewed when it is next used"
    assert buttons(card) == ["Re-authenticate with Corp"]


def test_page_does_not_wait_for_a_slow_provider_whose_response_is_kept(
    corp: FakeProvider, expired: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "RENEWAL_TIMEOUT", 0.05)
    answered = threading.Event()
    corp.hooks["/token"] = lambda: wait_for(answered)
    try:
        card = cards(home(expired))["Corp"]
    finally:
        answered.set()
    assert status(card) == "Token expired; it will be renewed when it is next used"
    wait_until(lambda: status(cards(home(expired))["Corp"]) == "Connected", "it is renewed")
    assert len(corp.refreshes) == 1


def wait_for(event: threading.Event) -> None:
    assert event.wait(20)


def test_other_providers_can_be_connected(other: FakeProvider, signed_in: Visitor) -> None:
    (form,) = cards(home(signed_in))["Other"].all("form")
    assert fields(form)["process"] == "connect"

    submit(signed_in, form, other)

    found = cards(home(signed_in))
    assert status(found["Other"]) == "Connected"
    assert status(found["Corp"]) == "Connected"


def test_connection_without_a_token_in_this_session_is_shown_as_such(
    corp: FakeProvider, connected: Visitor
) -> None:
    elsewhere = Visitor()
    elsewhere.sign_in(corp)

    card = cards(home(elsewhere))["Other"]

    assert status(card) == "Connected, but without a token in this session"
    assert facts(card) == {}
    assert accounts(card) == ["ada@example.com Disconnect ada@example.com of Other"]
    assert buttons(card) == ["Re-authenticate with Other"]


def test_scope_that_was_not_granted_can_be_requested_again(
    corp: FakeProvider, visitor: Visitor
) -> None:
    corp.scope = "openid profile"
    visitor.sign_in(corp)
    card = cards(home(visitor))["Corp"]
    assert "Not granted: email" in card.text
    assert buttons(card) == ["Ask again Corp for what was not granted"]

    corp.scope = "openid profile email"
    (form,) = card.all("form")
    submit(visitor, form, corp)
    assert set(corp.authorizations[-1]["scope"].split()) == {"openid", "profile", "email"}

    assert "Not granted" not in cards(home(visitor))["Corp"].text


@pytest.mark.parametrize(
    ("granted", "wanted", "missing"),
    [
        (("openid", "https://www.googleapis.com/auth/userinfo.email"), ("openid", "email"), ()),
        (("user",), ("user:email", "read:user"), ()),
        (("openid",), ("openid", "offline_access"), ()),
        (("openid",), ("openid", "calendar"), ("calendar",)),
    ],
)
def test_scope_that_providers_name_otherwise_is_not_called_missing(
    granted: tuple[str, ...], wanted: tuple[str, ...], missing: tuple[str, ...]
) -> None:
    held = TokenSet(
        access_token="access",
        token_type="Bearer",
        scope=granted,
        subject="1",
        client_id="c",
        refresh_token="refresh",
    )
    assert missing_scope(held, wanted) == missing
    without = replace(held, refresh_token=None)
    assert ("offline_access" in missing_scope(without, wanted)) == ("offline_access" in wanted)


def test_unreadable_token_set_counts_as_none(corp: FakeProvider, signed_in: Visitor) -> None:
    session = signed_in.session
    session[tokens.session_key("corp")] = {"version": 99}
    session.save()
    card = cards(home(signed_in))["Corp"]
    assert status(card) == "Connected, but without a token in this session"


def test_no_token_is_on_the_page(signed_in: Visitor) -> None:
    held, content = signed_in.load_tokens(), signed_in.client.get("/").content.decode()
    assert held is not None
    assert held.refresh_token is not None
    assert held.id_token is not None
    for secret in (held.access_token, held.refresh_token, held.id_token, held.grant_secret):
        assert secret not in content


def test_names_from_the_provider_are_escaped(corp: FakeProvider, visitor: Visitor) -> None:
    corp.scope = "openid <script>alert(1)</script>"
    visitor.sign_in(corp)
    content = visitor.client.get("/").content.decode()
    assert "<script>" not in content
    assert "&lt;script&gt;" in content


def test_message_is_shown_once(corp: FakeProvider, visitor: Visitor) -> None:
    visitor.sign_in(corp)
    (status,) = [e for e in home(visitor).all("div") if e.attributes.get("role") == "status"]
    assert "ada" in status.text
    assert not [e for e in home(visitor).all("div") if e.attributes.get("role") == "status"]


def test_only_get_is_answered(store: Stack) -> None:
    assert Client().post("/").status_code == 405


@pytest.mark.parametrize("signed_in", [False, True])
def test_page_is_not_cached(corp: FakeProvider, visitor: Visitor, signed_in: bool) -> None:
    if signed_in:
        visitor.sign_in(corp)
    assert "no-store" in visitor.client.get("/").headers["Cache-Control"]
