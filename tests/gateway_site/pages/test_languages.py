"""Pages in the visitor's language: by a cookie that the switch sets, or else by Accept-Language.

The adversaries are a visitor who sends garbage for a language, and a page of another site that
would have the switch lead elsewhere.
"""

import io
import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.sessions.middleware import SessionMiddleware
from django.test import Client
from django.utils import translation
from django.utils.translation import trans_real
from pytest_django import Settings

from gateway_site.forwarding.error_pages import ErrorPages
from gateway_site.forwarding.thread_pools import BUSY, ThreadPool
from oauth.clients.server import AuthorizationServer
from sessions_kms import StoreUnavailable
from tests.gateway_site.support.loading import production
from tests.gateway_site.support.page_requests import Element, assert_accessible, parse
from tests.oauth.clients.support.app import SERVER
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor
from tests.sessions_kms.support.stacks import Stack

pytest.importorskip(
    "babel", reason="NO CATALOG WAS COMPILED: install babel, which requirements/dev.txt holds"
)
GERMAN = {"Accept-Language": "de-AT,de;q=0.9,en;q=0.8"}
SWITCH = "/language/"
COOKIE = "gateway_language"
GARBAGE = [
    "",
    "*",
    "x",
    "-",
    "de" * 30_000,
    "de-" * 20_000,
    ",".join(["de;q=0.5"] * 8_000),
    "de;q=1" + "0" * 60_000,
    "\xff\xfe\x00",
    "../../etc/passwd",
    "de\r\nSet-Cookie: a=b",
    "zh-hant-" * 5_000,
]


@pytest.fixture
def german(corp: FakeProvider, settings: Settings) -> Visitor:
    """Give somebody with a German browser, of a gateway that lets OAuth clients in."""
    settings.AUTHORIZATION_SERVER = AuthorizationServer(**SERVER)
    visitor = Visitor()
    visitor.client = Client(headers=GERMAN)
    return visitor


def page_of(response: Any) -> Element:
    root = assert_accessible(response.content.decode(), "de")
    (html,) = root.all("html")
    assert (html.attributes["lang"], html.attributes["dir"]) == ("de", "ltr")
    assert response["Content-Language"] == "de"
    assert {"Accept-Language", "Cookie"} <= set(response["Vary"].split(", "))
    return html


def headline(response: Any) -> str:
    return page_of(response).all("h1")[0].text


def language(response: Any) -> str:
    return parse(response.content.decode()).all("html")[0].attributes["lang"]


def test_sign_in_connections_sessions_and_apps_are_in_german(
    german: Visitor, corp: FakeProvider
) -> None:
    sign_in = page_of(german.client.get("/"))
    assert "Mit Corp anmelden" in [each.text for each in sign_in.all("button")]
    confirmation = german.client.get("/accounts/oidc/corp/login/")
    assert headline(confirmation) == "Mit Corp anmelden"
    german.sign_in(corp)
    home = page_of(german.client.get("/"))
    assert home.all("h1")[0].text == "Verbindungen"
    assert ", längstens bis " in home.text
    assert " UTC in 7 Tagen" in home.text
    assert [each.text for each in home.all("nav")[0].all("a")] == [
        "Verbindungen", "Sitzungen", "Apps",
    ]  # fmt: skip
    sessions = page_of(german.client.get("/sessions/"))
    assert sessions.all("h1")[0].text == "Ihre Sitzungen"
    assert "1 Sitzung" in sessions.text
    assert headline(german.client.get("/apps/")) == "Verbundene Apps"
    assert headline(german.client.get("/accounts/logout/")) == "Abmelden?"
    assert headline(german.client.get("/accounts/3rdparty/")) == "Corp trennen?"


def test_messages_are_in_german(german: Visitor, corp: FakeProvider) -> None:
    failed = german.client.get("/accounts/oidc/corp/login/callback/?code=x&state=x", follow=True)
    assert "Diese Anmeldung ist abgelaufen" in page_of(failed).text
    german.sign_in(corp)
    ended = german.client.post("/sessions/end/", {"session": "x"}, follow=True)
    assert "Diese Sitzung gibt es nicht." in page_of(ended).text
    too_soon = german.client.post("/sessions/end-others/", follow=True)
    assert "Das kam weniger als eine Sekunde" in page_of(too_soon).text
    out = german.client.post("/accounts/logout/", follow=True)
    assert "Sie haben sich abgemeldet" in page_of(out).text


def test_script_of_a_delayed_form_speaks_german(german: Visitor, corp: FakeProvider) -> None:
    german.sign_in(corp)
    scripts = [each.attributes for each in page_of(german.client.get("/")).all("script")]
    (delay,) = [each for each in scripts if "click_delay" in each["src"]]
    assert delay["data-ready"] == "Sie können jetzt bestätigen."
    (common,) = [each for each in scripts if "gateway.js" in each["src"]]
    assert common["data-copied"] == "Kopiert"


def test_errors_are_in_german(german: Visitor, corp: FakeProvider) -> None:
    assert headline(german.client.get("/nothing")) == "Seite nicht gefunden"
    assert headline(german.client.get("/accounts/login/?process=x")) == "Bei Gateway anmelden"
    assert headline(german.client.get("/accounts/oidc/corp/login/?process=x")) == (
        "Ungültige Anfrage"
    )
    strict = Client(enforce_csrf_checks=True, headers=GERMAN)
    assert headline(strict.post("/accounts/logout/")) == "Das Formular ist abgelaufen"
    german.sign_in(corp)
    assert headline(german.client.get("/admin/", follow=True)) == "Kein Zugriff"


def test_error_before_the_language_is_known_is_in_german(db: None, settings: Settings) -> None:
    """A Host that is not allowed is rejected by the first middlewares."""
    settings.PUBLIC_URL = "http://testserver"
    response = Client(headers=GERMAN).get("/", HTTP_HOST="elsewhere.example")
    assert response.status_code == 400
    assert "Ungültige Anfrage" in response.content.decode()
    assert language(response) == "de"


def test_server_error_is_in_german(german: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    german.client.raise_request_exception = False
    monkeypatch.setattr("gateway_site.pages.home.skips_provider_button", lambda _: 1 / 0)
    response = german.client.get("/")
    assert response.status_code == 500
    assert "Etwas ist schiefgegangen" in response.content.decode()
    assert language(response) == "de"


@pytest.mark.parametrize("by", ["header", "cookie"])
def test_outage_of_the_store_is_in_german_without_reading_the_session(
    german: Visitor, corp: FakeProvider, store: Stack, by: str
) -> None:
    german.sign_in(corp)
    if by == "cookie":
        german.client.defaults["HTTP_ACCEPT_LANGUAGE"] = "en"
        german.client.cookies[COOKIE] = "de"
    german.client.raise_request_exception = False
    store.dynamodb.unavailable = True
    response = german.client.get("/")
    assert response.status_code == 503
    assert "Gleich wieder da" in response.content.decode()
    assert language(response) == "de"
    before = len(store.dynamodb.calls)
    assert headline(german.client.get("/nothing")) == "Seite nicht gefunden"
    assert len(store.dynamodb.calls) == before


def test_outage_while_the_session_is_saved_is_in_german(
    german: Visitor, corp: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By then the middleware that chose the language is done."""
    german.sign_in(corp)
    german.client.raise_request_exception = False

    def fail(*_: Any, **__: Any) -> None:
        raise StoreUnavailable

    monkeypatch.setattr(SessionMiddleware, "process_response", fail)
    response = german.client.get("/")
    assert response.status_code == 503
    assert "Gleich wieder da" in response.content.decode()
    assert language(response) == "de"


@pytest.mark.parametrize("cookie", [b"", b"gateway_language=de"])
def test_rejection_before_django_is_in_german(cookie: bytes) -> None:
    headers = [(b"cookie", cookie)] if cookie else [(b"Accept-Language", b"de")]
    scope = {"method": "GET", "path": "/", "scheme": "http", "headers": headers}
    response = ErrorPages(ThreadPool("test", 1)).unavailable(scope, None, BUSY)
    assert (response.status_code, response["Retry-After"]) == (503, "5")
    assert "Gleich wieder da" in response.content.decode()
    assert translation.get_language() == "en"


def test_no_language_is_left_behind_in_a_thread(german: Visitor) -> None:
    german.client.get("/")
    german.client.get("/nothing")
    german.client.get("/", HTTP_HOST="elsewhere.example")
    assert translation.get_language() == "en"
    assert language(Client().get("/")) == "en"


def test_responses_for_programs_stay_as_they_are(german: Visitor) -> None:
    for path in (
        "/gateway/",
        "/gateway/nothing/x",
        "/site-logo",
        "/.well-known/oauth-authorization-server",
        "/health/live",
    ):
        english, found = Client().get(path), german.client.get(path)
        assert found.status_code == english.status_code
        if found["Content-Type"].startswith("text/html"):  # no logo is set: the page of a 404
            continue
        assert found.content == english.content
        assert "Accept-Language" not in found.get("Vary", "")
        assert "Content-Language" not in found
    for path, form in (("/oauth/token", {"grant_type": "x"}), ("/oauth/revoke", {"token": "x"})):
        found = german.client.post(path, form)
        assert found.json() == Client().post(path, form).json()
        assert "Accept-Language" not in found.get("Vary", "")


def test_logo_is_one_for_all_languages(german: Visitor, settings: Settings) -> None:
    settings.SITE_LOGO = production(SITE_LOGO="gateway_site/static/gateway.svg")["SITE_LOGO"]
    response = german.client.get("/site-logo")
    assert response.status_code == 200
    assert "Accept-Language" not in response.get("Vary", "")


# The switch


def switch(client: Client, **form: str) -> Any:
    return client.post(SWITCH, {"language": "de", "next": "/sessions/", **form})


def test_switch_sets_a_cookie_that_outranks_the_browser(corp: FakeProvider) -> None:
    client = Client(headers={"Accept-Language": "en"})
    page = parse(client.get("/accounts/login/?next=/sessions/").content.decode())
    (form,) = [each for each in page.all("form") if each.attributes["action"] == SWITCH]
    fields = {each.attributes["name"]: each.attributes["value"] for each in form.all("input")}
    assert fields["next"] == "/accounts/login/?next=/sessions/"
    buttons = {each.text: each.attributes for each in form.all("button")}
    assert list(buttons) == ["English", "Deutsch"]
    assert buttons["Deutsch"]["lang"] == buttons["Deutsch"]["value"] == "de"
    assert buttons["English"]["aria-current"] == "true"
    response = switch(client, next=fields["next"])
    assert (response.status_code, response["Location"]) == (302, fields["next"])
    assert language(client.get("/")) == "de"
    switch(client, language="en")
    assert language(client.get("/")) == "en"


def test_cookie_is_protected_as_the_others_are() -> None:
    settings = production()
    assert settings["LANGUAGE_COOKIE_NAME"] == "__Host-language"
    assert settings["LANGUAGE_COOKIE_SECURE"] is True
    assert settings["LANGUAGE_COOKIE_HTTPONLY"] is True
    assert settings["LANGUAGE_COOKIE_SAMESITE"] == "Lax"
    assert settings.get("LANGUAGE_COOKIE_DOMAIN") is None


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example/",
        "\\\\evil.example",
        "javascript:alert(1)",
        "https:evil.example",
        "///evil.example",
        "\x01//evil.example",
        "",
    ],
)
@pytest.mark.django_db
def test_switch_leads_nowhere_else(elsewhere: str) -> None:
    response = switch(Client(), next=elsewhere)
    assert (response.status_code, response["Location"]) == (302, "/")
    again = Client().get(SWITCH, {"next": elsewhere}, headers={"Referer": "https://evil.example/"})
    assert again["Location"] == "/"


@pytest.mark.django_db
def test_switch_needs_the_token_of_its_form() -> None:
    client = Client(enforce_csrf_checks=True)
    assert switch(client).status_code == 403
    assert COOKIE not in client.cookies


@pytest.mark.django_db
def test_opening_the_address_of_the_switch_changes_nothing() -> None:
    client = Client()
    assert client.get(SWITCH, {"language": "de"})["Location"] == "/"
    assert COOKIE not in client.cookies


@pytest.mark.parametrize("name", ["fr", "xx", "", "de\n", "../de", "d" * 5000, "\N{SNOWMAN}"])
@pytest.mark.django_db
def test_unknown_language_is_none(name: str) -> None:
    client = Client()
    switch(client, language=name)
    assert language(client.get("/")) == "en"


def test_page_that_cannot_be_requested_again_has_no_switch(
    german: Visitor, corp: FakeProvider
) -> None:
    """Its address has a code that was used, or it answered a form."""
    german.sign_in(corp)
    assert SWITCH in german.client.get("/accounts/3rdparty/").content.decode()
    assert SWITCH not in german.client.post("/accounts/3rdparty/").content.decode()
    address = german.callback_address(corp)
    failed = german.client.get(re.sub(r"\bcode=[^&]*", "error=server_error", address))
    assert failed.status_code == 503
    assert headline(failed) == "Corp ist nicht erreichbar"
    assert SWITCH not in failed.content.decode()


def test_one_language_needs_no_switch(corp: FakeProvider, settings: Settings) -> None:
    settings.LANGUAGES = [("en", "English")]
    assert SWITCH not in Client().get("/").content.decode()


# Garbage


@pytest.mark.parametrize("sent", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_for_a_language_is_english_or_german(corp: FakeProvider, sent: str) -> None:
    response = Client().get("/", HTTP_ACCEPT_LANGUAGE=sent)
    assert response.status_code == 200
    assert language(response) in {"en", "de"}
    client = Client()
    response = client.get("/", HTTP_COOKIE=f"{COOKIE}={sent}")
    assert response.status_code == 200
    assert language(response) in {"en", "de"}


def test_no_garbage_is_kept_in_memory(corp: FakeProvider) -> None:
    """Django remembers a thousand languages that browsers wanted; each is cut to a size."""
    for number in range(50):
        Client().get("/", HTTP_ACCEPT_LANGUAGE=f"x{number}-" + "y" * 60_000)
        Client().get("/", HTTP_COOKIE=f"{COOKIE}=x{number}-{'y' * 3000}")
    caches = [
        each.cache_info() for each in vars(trans_real).values() if hasattr(each, "cache_info")
    ]
    assert len(caches) > 1
    assert [each for each in caches if (each.maxsize or each.currsize) > 1000] == []


# Which languages there are


def test_languages_are_those_of_the_variable_the_first_by_default() -> None:
    settings = production(LANGUAGES="de, en")
    assert settings["LANGUAGES"] == [("de", "Deutsch"), ("en", "English")]
    assert settings["LANGUAGE_CODE"] == "de"
    assert production()["LANGUAGES"] == [("en", "English"), ("de", "Deutsch")]


def make_catalog(folder: Path, code: str, **texts: str) -> None:
    """Write a compiled catalog of an operator's."""
    from babel.messages.catalog import Catalog
    from babel.messages.mofile import write_mo

    catalog = Catalog(locale=code)
    for text, translated in texts.items():
        catalog.add(text, translated)
    compiled = io.BytesIO()
    write_mo(compiled, catalog)
    target = folder / code / "LC_MESSAGES" / "django.mo"
    target.parent.mkdir(parents=True)
    target.write_bytes(compiled.getvalue())


def test_operator_adds_a_language_that_is_written_from_right_to_left(
    corp: FakeProvider, settings: Settings, tmp_path: Path
) -> None:
    make_catalog(tmp_path, "he", Menu="תפריט")
    loaded = production(LANGUAGES="en,he", LOCALE_DIR=str(tmp_path))
    settings.LANGUAGES, settings.LOCALE_PATHS = loaded["LANGUAGES"], loaded["LOCALE_PATHS"]
    visitor = Client(headers={"Accept-Language": "he"})
    visitor.cookies[settings.SESSION_COOKIE_NAME] = "x"
    response = visitor.get("/nothing")
    (html,) = parse(response.content.decode()).all("html")
    assert (html.attributes["lang"], html.attributes["dir"]) == ("he", "rtl")
    assert "תפריט" in response.content.decode()


def test_sign_in_and_admin_of_staff_are_in_german(german: Visitor, corp: FakeProvider) -> None:
    german.sign_in(corp)
    get_user_model().objects.update(is_staff=True, is_superuser=True)
    admin = german.client.get("/admin/").content.decode()
    assert "Verwaltung von Gateway" in admin
    assert "Verschlüsselte Sitzungen" in admin
    listed = german.client.get("/admin/sessions_kms/session/").content.decode()
    assert "Zuletzt geschrieben" in listed
    assert "1 Sitzung auf dieser Seite" in listed
