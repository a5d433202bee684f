"""Consent, from a client's request to its code."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth import get_user_model
from django.test import Client
from pytest_django import Settings

from oauth.clients import live_grants, metadata_documents
from oauth.clients.endpoints import authorization
from oauth.clients.rules.client import Client as OAuthClient
from oauth.clients.rules.client import Source
from oauth.clients.rules.redirect_uris import CURSOR_URI
from oauth.clients.server import AuthorizationServer, authorization_server
from oauth.tokens import vault
from sessions_kms.backend import SessionStore
from tests.gateway_site.support.page_requests import assert_accessible, parse
from tests.oauth.clients.support.app import ISSUER, SERVER, App, WayBack, register_app
from tests.oauth.clients.support.asserted import open_session
from tests.oauth.clients.support.consent import TYPED, allow, decide
from tests.oauth.clients.support.keyed_app import CLIENT_ID, Site
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import BOB, Visitor, configure, environment, sign_in_at
from tests.sessions_kms.support.stacks import Stack

WANTS = "</bdi>” wants to use".encode()  # the heading of the consent page


def test_full_flow_from_registration_to_tokens(corp: FakeProvider, ada: Visitor, app: App) -> None:
    assert app.register().status_code == 201
    asked = ada.client.get(app.address())
    assert asked.status_code == 200
    page = assert_accessible(asked.content.decode())
    assert [e.text for e in page.all("span") if e.attributes.get("class") == "distance"] == [
        "in 7 days"
    ]

    back = WayBack.of(allow(ada, app, corp))

    assert back.is_led
    assert back.address == app.redirect_uri
    assert back.response.keys() == {"code", "state", "iss"}
    assert (back.response["state"], back.response["iss"]) == (app.state, ISSUER)
    response = app.redeem(back.response["code"])
    assert response.status_code == 200
    tokens = response.json()
    assert tokens["access_token"].startswith("gwa_")
    assert tokens["token_type"] == "Bearer"
    assert tokens["expires_in"] == 3600
    assert tokens["scope"] == "tools"
    renewed = app.refresh(tokens["refresh_token"])
    assert renewed.status_code == 200
    assert renewed.json()["refresh_token"] != tokens["refresh_token"]


def test_anonymous_visitor_signs_in_first_and_returns(
    corp: FakeProvider, visitor: Visitor, app: App
) -> None:
    asked = visitor.client.get(app.address())
    assert asked.status_code == 302
    next_url = parse_qs(urlsplit(asked["Location"]).query)["next"][0]
    assert next_url == app.address()
    back = visitor.sign_in(corp, next=next_url)
    assert (back.status_code, back["Location"]) == (302, app.address())
    assert visitor.client.get(back["Location"]).status_code == 200


def test_no_client_document_is_fetched_for_an_anonymous_visitor(
    corp: FakeProvider, visitor: Visitor, app: App, site: Site
) -> None:
    app.client_id = CLIENT_ID
    for ask in (visitor.client.get, visitor.client.post):
        assert "/accounts/login/" in ask(app.address(), headers=TYPED)["Location"]
    assert site.fetched == []
    visitor.sign_in(corp)
    assert WANTS in visitor.client.get(app.address(), headers=TYPED).content
    assert site.fetched == [CLIENT_ID]


@pytest.fixture
def app(server: AuthorizationServer) -> App:
    return register_app()


# By https://www.w3.org/TR/fetch-metadata/, absent in older browsers, and what no browser sends.
OTHERS = ["cross-site", "same-site", None, "", "None", "none, none", "same-origin,cross-site"]


def test_request_from_another_site_fetches_nothing_and_uses_no_fetch_quota(
    ada: Visitor, app: App, site: Site
) -> None:
    for number, origin in enumerate(OTHERS * 3):
        app.client_id = f"https://app{number}.example.com/client.json"
        headers = {} if origin is None else {"sec-fetch-site": origin}
        response = ada.client.get(app.address(), headers=headers)
        assert response.status_code == 200
        assert f"app{number}.example.com</p>" in response.content.decode()
        assert b'value="allow"' not in response.content
        assert ada.client.head(app.address(), headers=headers).status_code == 200
    assert site.fetched == []
    assert_accessible(response.content.decode())
    app.client_id = CLIENT_ID
    for origin in ("none", "same-origin"):
        page = ada.client.get(app.address(), headers={"sec-fetch-site": origin})
        assert WANTS in page.content
    assert site.fetched == [CLIENT_ID]


@pytest.mark.parametrize("origin", OTHERS)
def test_click_on_the_confirmation_page_fetches_the_document(
    ada: Visitor, app: App, site: Site, origin: str | None
) -> None:
    """In every browser: what it sends with the form is not looked at, but the form's own token."""
    headers = {} if origin is None else {"sec-fetch-site": origin}
    app.client_id = CLIENT_ID
    page = parse(ada.client.get(app.address(), headers=headers).content.decode())
    (form,) = [each for each in page.all("form") if "Continue" in each.text]
    (button,) = form.all("button")
    assert (form.attributes["method"], form.attributes["action"]) == ("post", app.address())
    sent = {button.attributes["name"]: button.attributes["value"]}

    strict = Client(enforce_csrf_checks=True, headers=headers)
    strict.cookies = ada.client.cookies
    assert strict.post(app.address(), sent).status_code == 403
    assert site.fetched == []
    (token,) = [each.attributes["value"] for each in form.all("input")]
    asked = strict.post(app.address(), sent | {"csrfmiddlewaretoken": token})
    assert WANTS in asked.content
    assert site.fetched == [CLIENT_ID]
    # It is cached now, so that nobody has to press the button again.
    assert WANTS in ada.client.get(app.address(), headers=headers).content
    assert site.fetched == [CLIENT_ID]


@pytest.mark.parametrize("decision", ["allow", "deny"])
def test_decision_uses_a_document_of_the_last_five_minutes(
    ada: Visitor, app: App, site: Site, decision: str
) -> None:
    """An app that took its name or an address back meanwhile does not get a code there."""
    app.client_id, site.cache_control = CLIENT_ID, "max-age=3600"
    for later, times in ((0, 1), (300, 1), (1, 2), (300, 2)):
        site.clock.advance(later)
        assert ada.client.get(app.address(), headers=TYPED).status_code == 200
        page = decide(ada, app.address(), decision)
        assert page.status_code == (302 if decision == "allow" else 200)
        assert len(site.fetched) == times
    site.more = {"redirect_uris": ["http://127.0.0.1/another"]}
    site.clock.advance(1)
    assert WANTS in ada.client.get(app.address()).content, "it is cached for an hour"
    assert len(site.fetched) == 2
    response = decide(ada, app.address(), decision)
    assert (response.status_code, len(site.fetched)) == (400, 3)
    assert b"Continue to" not in response.content
    assert ada.client.get(app.address()).status_code == 400, "what is cached is the new one"


def test_only_requests_that_fetch_a_document_use_its_queue(app: App, site: Site) -> None:
    def waits(origin: str, method: str = "GET") -> bool:
        return authorization.waits_for_document(method, app.query(), origin)

    site.cache_control = "max-age=3600"
    assert not waits("none")
    for client_id in ("https://app.example.com/other", CLIENT_ID):
        app.client_id = client_id
        assert waits("none")
        assert waits("same-origin")
        assert waits("cross-site", "POST")
        assert not any(waits(origin or "") for origin in OTHERS)
    assert not authorization.waits_for_document(
        "GET", "client_id=https://app.example.com/x", "none"
    )
    metadata_documents.document_fetcher().load_client(authorization_server(), app.client_id, "1")
    assert not waits("none")
    assert not waits("none", "POST")
    site.clock.advance(301)
    assert waits("none", "POST")
    assert not waits("none")


def test_nothing_is_stored_or_issued_before_the_consent(
    corp: FakeProvider, ada: Visitor, app: App, store: Stack
) -> None:
    items = set(store.dynamodb.items)
    for _ in range(3):
        ada.client.get(app.address())
    assert set(store.dynamodb.items) == items
    assert not corp.authorizations


@pytest.mark.parametrize("gives_one", [True, False])
def test_grant_is_sealed_with_the_tokens_of_its_own_exchange(
    corp: FakeProvider, ada: Visitor, app: App, gives_one: bool
) -> None:
    """The browser's refresh token stays the browser's, and its session as it was."""
    before, corp.gives_refresh_token = ada.load_tokens(), gives_one
    code = WayBack.of(allow(ada, app, corp)).response["code"]
    token = app.redeem(code).json()["access_token"]
    stored = open_session(token)
    assert stored is not None
    held = vault.load_token_set(stored, "corp")
    assert before is not None
    assert held is not None
    assert held.access_token != before.access_token
    assert (held.refresh_token is not None) is gives_one
    assert held.refresh_token != before.refresh_token
    assert held.grant_secret != before.grant_secret
    assert ada.load_tokens() == before
    assert open_session(token, "files") is None


def test_grant_keeps_the_claims_of_its_own_consent(
    corp: FakeProvider, ada: Visitor, app: App, settings: Settings
) -> None:
    wanted = frozenset({"email", "name"})
    configure(settings, environment("corp", corp), stored_claims={"corp": wanted})
    corp.more_of_userinfo = {"email_verified": True, "email": "ada@new.example"}
    code = WayBack.of(allow(ada, app, corp)).response["code"]
    token = app.redeem(code).json()["access_token"]
    stored = open_session(token)
    assert stored is not None
    held, before = vault.load_token_set(stored, "corp"), ada.load_tokens()
    assert held is not None
    assert (held.email, held.name) == ("ada@new.example", "Ada Lovelace")
    assert before is not None
    assert (before.email, before.name) == (None, None)  # the browser's sign-in came before


def test_two_tabs_do_not_swap_their_clients(corp: FakeProvider, ada: Visitor) -> None:
    first, second = App("First"), App("Second", "http://127.0.0.1:9/second")
    for each in (first, second):
        each.register()
    led = [decide(ada, each.address())["Location"] for each in (first, second)]
    responses = [WayBack.of(ada.client.get(corp.consent(each))) for each in reversed(led)]
    assert [each.address for each in responses] == [second.redirect_uri, first.redirect_uri]
    assert second.redeem(responses[1].response["code"]).json()["error"] == "invalid_grant"
    assert first.redeem(responses[1].response["code"]).status_code == 200
    assert second.redeem(responses[0].response["code"]).status_code == 200


def test_consent_is_valid_once_and_only_in_its_own_browser(
    corp: FakeProvider, ada: Visitor, app: App
) -> None:
    callback = corp.consent(decide(ada, app.address())["Location"])
    stranger = sign_in_at(corp)
    for browser in (Visitor(), stranger):
        response = browser.client.get(callback)
        assert response.status_code == 302
        assert "code=" not in response["Location"]
    assert "code" in WayBack.of(ada.client.get(callback)).response
    again = ada.client.get(callback)
    assert again.status_code == 302
    assert again["Location"] == "/"


def test_two_consents_at_once_create_two_grants(corp: FakeProvider, ada: Visitor, app: App) -> None:
    led = [decide(ada, app.address())["Location"] for _ in range(2)]
    codes = [WayBack.of(ada.client.get(corp.consent(each))).response["code"] for each in led]
    assert len(set(codes)) == 2
    assert [app.redeem(code).status_code for code in codes] == [200, 200]


def test_at_most_ten_consents_are_pending_and_the_oldest_is_dropped(
    corp: FakeProvider, ada: Visitor, app: App
) -> None:
    led = [decide(ada, app.address())["Location"] for _ in range(12)]
    assert len(ada.session["socialaccount_states"]) <= 10
    assert ada.client.get(corp.consent(led[0])).status_code == 302
    assert "code" in WayBack.of(ada.client.get(corp.consent(led[-1]))).response


@pytest.mark.parametrize("is_known", [True, False])
def test_consent_with_another_persons_account_issues_nothing(
    corp: FakeProvider, ada: Visitor, app: App, is_known: bool
) -> None:
    led, ada_herself = decide(ada, app.address())["Location"], corp.person
    corp.person = BOB
    if is_known:
        Visitor().sign_in(corp)
    callback = corp.consent(led)
    people = get_user_model().objects.count()
    response = ada.client.get(callback)
    assert response.status_code == 403
    assert b"code=" not in response.content
    assert get_user_model().objects.count() == people
    assert SocialAccount.objects.filter(user=ada.user_id).count() == 1
    corp.person = ada_herself
    assert ada.user_id is not None


def test_pending_consent_is_useless_to_another_person_in_the_same_browser(
    corp: FakeProvider, ada: Visitor, app: App
) -> None:
    """Not though the account that comes back is their own."""
    led = decide(ada, app.address())["Location"]
    bob = get_user_model().objects.create_user("bob")
    SocialAccount.objects.create(user=bob, provider="corp", uid=BOB["sub"])
    stored = SessionStore(ada.session.session_key)
    stored["_auth_user_id"] = str(bob.pk)
    stored["_auth_user_hash"] = bob.get_session_auth_hash()
    stored.save()
    corp.person = BOB
    response = ada.client.get(corp.consent(led))
    assert response.status_code == 403
    assert b"code=" not in response.content


def test_person_without_an_account_at_the_provider_connects_one_first(
    other: FakeProvider, corp: FakeProvider, visitor: Visitor, app: App
) -> None:
    visitor.sign_in(other, "other")
    page = visitor.client.get(app.address())
    assert b"Connect Corp first" in page.content
    assert b'value="allow"' not in page.content
    assert decide(visitor, app.address()).status_code == 200  # asked again, led nowhere
    corp.person = BOB
    connected = visitor.sign_in(corp, "corp", process="connect", next=app.address())
    assert connected["Location"] == app.address()
    assert b'value="allow"' in visitor.client.get(app.address()).content


def test_deny_returns_to_the_client_with_the_error(
    corp: FakeProvider, ada: Visitor, app: App
) -> None:
    response = decide(ada, app.address(), "deny")
    assert "You did not allow it." in assert_accessible(response.content.decode()).text
    back = WayBack.of(response)
    assert back.is_led
    assert back.response.pop("error_description")
    assert back.response == {"error": "access_denied", "state": app.state, "iss": ISSUER}
    assert not corp.authorizations


def test_form_without_csrf_token_is_rejected(corp: FakeProvider, ada: Visitor, app: App) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = ada.client.cookies
    assert strict.post(app.address(), {"decision": "allow"}).status_code == 403
    assert not corp.authorizations


def test_get_allows_nothing(corp: FakeProvider, ada: Visitor, app: App) -> None:
    for address in (app.address(decision="allow"), app.address() + "&decision=allow"):
        assert ada.client.get(address).status_code == 200
    assert not corp.authorizations


def test_post_is_validated_again(ada: Visitor, app: App, settings: Settings) -> None:
    for changes in ({"redirect_uri": "http://127.0.0.1:1/evil"}, {"client_id": "dcr.x"}):
        response = decide(ada, app.address(**changes))
        assert response.status_code == 400
        assert b'rel="noreferrer"' not in response.content
    settings.AUTHORIZATION_SERVER = AuthorizationServer(**SERVER | {"registration": False})
    assert decide(ada, app.address()).status_code == 400


WRONG: list[dict[str, str | None]] = [
    {"redirect_uri": "https://evil.example/cb"},
    {"redirect_uri": "http://127.0.0.1:4567/callback/"},
    {"redirect_uri": None},
    {"client_id": None},
    {"client_id": "unknown"},
    {"client_id": "https://app.example.com"},
    {"client_id": "https://127.0.0.1/client.json"},
]


def test_wrong_client_or_redirect_uri_shows_a_page_without_a_link(ada: Visitor, app: App) -> None:
    for changes in WRONG:
        response = ada.client.get(app.address(**changes))
        assert response.status_code == 400
        text = response.content.decode()
        assert "evil.example" not in text
        assert "http-equiv" not in text
        assert_accessible(text)


def known_client(redirect_uri: str, source: Source, host: str | None = None) -> dict[str, Any]:
    client = OAuthClient("listed", "Listed", (redirect_uri,), source, host)
    return SERVER | {"listed": {"listed": client}}


DOCUMENT = (Source.DOCUMENT, "app.example")
ITSELF = (Source.ITSELF, None)
OWN = "https://app.example/cb"


Case = tuple[tuple[Source, str | None], str, dict[str, set[str]], bool]
LED: list[Case] = [
    ((Source.OPERATOR, None), "https://ours.example/cb", {}, True),
    (ITSELF, "http://localhost/cb", {}, True),
    (DOCUMENT, "http://127.0.0.1:9/cb", {}, True),
    (ITSELF, "https://evil.example/cb", {}, False),
    (DOCUMENT, OWN, {}, False),
    (DOCUMENT, "https://evil.example/cb", {}, False),
    (DOCUMENT, OWN, {"allowed_hosts": {"app.example"}}, True),
    (ITSELF, OWN, {"allowed_hosts": {"app.example"}}, True),
    (DOCUMENT, "https://a.app.example/cb", {"allowed_hosts": {".app.example"}}, True),
    (DOCUMENT, "https://evil.example/cb", {"allowed_hosts": {"app.example"}}, False),
    (DOCUMENT, "https://a.app.example/cb", {"allowed_hosts": {"app.example"}}, False),
    (DOCUMENT, "https://notapp.example/cb", {"allowed_hosts": {".app.example"}}, False),
    (DOCUMENT, OWN, {"allowed_hosts": {"localhost"}}, False),
    (DOCUMENT, OWN, {"refused": {"evil.example"}}, False),
    (
        DOCUMENT,
        "https://a.app.example/cb",
        {"allowed_hosts": {".app.example"}, "refused": {"a.app.example"}},
        False,
    ),
    (DOCUMENT, CURSOR_URI, {"allowed_hosts": {"anysphere.cursor-mcp", "app.example"}}, False),
]
ERRORS: list[dict[str, str | None]] = [
    {"prompt": "none"},
    {"code_challenge_method": "plain"},
    {"response_type": "token"},
    {"response_mode": "fragment"},
    {"request": "x"},
    {"request_uri": "x"},
    {"resource": "https://elsewhere.example/"},
]


@pytest.mark.slow
def test_errors_redirect_automatically_only_to_trusted_or_local_addresses(
    ada: Visitor, app: App, settings: Settings, subtests: pytest.Subtests
) -> None:
    """Whatever the error, and Deny: an app could cause each of them, to send people anywhere."""
    for case in LED:
        with subtests.test(case=case):
            assert_errors_redirect_as_they_should(ada, app, settings, case)


def assert_errors_redirect_as_they_should(
    ada: Visitor, app: App, settings: Settings, case: Case
) -> None:
    (source, host), redirect_uri, lists, is_led = case
    named = {name: frozenset(hosts) for name, hosts in lists.items()}
    settings.AUTHORIZATION_SERVER = AuthorizationServer(
        **known_client(redirect_uri, source, host) | named
    )
    app.client_id, app.redirect_uri = "listed", redirect_uri
    responses = [ada.client.get(app.address(**changes)) for changes in ERRORS]
    for response in [*responses, decide(ada, app.address(), "deny")]:
        assert "Location" not in response
        back = WayBack.of(response)
        assert back.is_led is is_led
        assert response.status_code == (200 if is_led else 400)
        assert back.address == redirect_uri
        assert back.response["error"]
        assert (back.response["state"], back.response["iss"]) == (app.state, ISSUER)
        if not is_led:
            text = response.content.decode()
            assert str(urlsplit(redirect_uri).hostname) in text.partition('class="host">')[2]
            assert_accessible(text)


def test_response_is_not_cached_or_framed(corp: FakeProvider, ada: Visitor, app: App) -> None:
    consent, back = ada.client.get(app.address()), allow(ada, app, corp)
    for page in (consent, back):
        assert "no-store" in page["Cache-Control"]
        assert page["X-Frame-Options"] == "DENY"
        assert "frame-ancestors 'none'" in page["Content-Security-Policy"]
    assert back["Referrer-Policy"] == "no-referrer"
    # Without a referrer at all browsers would post the form with `Origin: null`, and fail.
    assert consent["Referrer-Policy"] == "same-origin"


LOOK_ALIKES = [
    ("\N{RIGHT-TO-LEFT OVERRIDE}edualC", "edualC"),
    ("Cl\N{CYRILLIC SMALL LETTER A}ude", "mixes letters"),
    ("Claude</bdi><h1>Verified: claude.ai</h1>", "&lt;/bdi&gt;"),
    ("Claude" + " verified" * 100, "Claude verified verified"),
    ("\N{MATHEMATICAL BOLD CAPITAL C}laude", "“<bdi>Claude</bdi>”"),
    ("C" + "\N{COMBINING LONG SOLIDUS OVERLAY}" * 40, "<bdi>C"),
]


def test_lookalike_name_is_shown_as_a_claim_beside_the_verified_host(
    ada: Visitor, app: App
) -> None:
    app.redirect_uri = "https://evil.example:8443/claude.ai/cb"
    for name, shown in LOOK_ALIKES:
        app.register(client_name=name)
        page = ada.client.get(app.address()).content.decode()
        assert shown in page
        assert "Unverified" in page
        (place,) = [
            each for each in parse(page).all("dd") if each.attributes.get("class") == "place"
        ]
        assert place.text == "evil.example:8443"
        assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in page
        assert len(assert_accessible(page).all("bdi")[0].text) <= 60


@pytest.mark.parametrize(
    ("age", "shown"), [(1800, "30 minutes"), (3600, "1 hour"), (1, "1 second")]
)
def test_page_shows_when_an_unused_grant_ends(
    ada: Visitor, app: App, settings: Settings, age: int, shown: str
) -> None:
    settings.SESSION_COOKIE_AGE = age
    assert f", or after {shown} without a call" in ada.client.get(app.address()).content.decode()


def test_consent_page_shows_upstream_client_and_destination(
    ada: Visitor, app: App, store: Stack
) -> None:
    page = ada.client.get(app.address()).content.decode()
    for what in (
        "tools",
        "“<bdi>Tool</bdi>”",
        "this computer",
        "Corp",
        "Any program here can make this",
    ):
        assert what in page
    end = datetime.fromtimestamp(store.clock() + 7 * 24 * 3600, UTC)
    assert f"{end:%b %Y, %H:%M} UTC</time>" in page
    assert "or after 7 days without a call" in page


def test_tokens_of_a_code_stay_out_of_the_log(
    corp: FakeProvider, ada: Visitor, app: App, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    code = WayBack.of(allow(ada, app, corp)).response["code"]
    tokens = app.redeem(code).json()
    for secret in (code, tokens["access_token"], tokens["refresh_token"], app.verifier):
        assert secret not in caplog.text


def test_outage_during_the_callback_is_a_503_and_issues_nothing(
    corp: FakeProvider, ada: Visitor, app: App, store: Stack
) -> None:
    callback = corp.consent(decide(ada, app.address())["Location"])
    store.dynamodb.unavailable = True
    assert ada.client.get(callback).status_code == 503


def test_consent_cancelled_at_the_provider_can_be_repeated(
    corp: FakeProvider, ada: Visitor, app: App
) -> None:
    led = decide(ada, app.address())["Location"]
    response = ada.client.get(corp.consent(led, error="access_denied"))
    assert response.status_code == 302
    assert ada.user_id is not None


def test_page_names_the_grants_that_were_ended_to_make_room(
    corp: FakeProvider,
    ada: Visitor,
    app: App,
    store: Stack,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live_grants, "LIVE_MAX", 2)
    first = App(name="Used least lately")
    for each in (first, app):
        each.register()
        tokens = each.redeem(WayBack.of(allow(ada, each, corp)).response["code"])
        assert tokens.status_code == 200
        store.clock.advance(10)
    third = register_app(name="Third")
    response = allow(ada, third, corp)
    back = WayBack.of(response)
    page = assert_accessible(response.content.decode())
    assert response.status_code == 200
    assert not back.is_led
    (ended,) = [each for each in page.all("li") if each.all("bdi")]
    assert ended.all("bdi")[0].text == "Used least lately"
    assert third.redeem(back.response["code"]).status_code == 200
