"""Consent in German: what a client says of itself stays as it is, and apart from our own text."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils import translation

from oauth.clients.endpoints import pages
from oauth.clients.rules import authorization_request, names
from oauth.clients.rules.errors import RequestRejected, UnknownClient
from tests.gateway_site.support.page_requests import Element, assert_accessible
from tests.oauth.clients.support.app import App
from tests.oauth.support.fixtures import Visitor

pytest.importorskip(
    "babel", reason="NO CATALOG WAS COMPILED: install babel, which requirements/dev.txt holds"
)
pytestmark = pytest.mark.django_db
# Its letters are written from right to left, and it ends in a number.
RIGHT_TO_LEFT = "\N{HEBREW LETTER ALEF}\N{HEBREW LETTER BET} 1"


@pytest.fixture
def german(ada: Visitor) -> Client:
    ada.client.defaults["HTTP_ACCEPT_LANGUAGE"] = "de"
    return ada.client


def shown_page(response: Any) -> Element:
    return assert_accessible(response.content.decode(), "de")


def facts(page: Element) -> dict[str, str]:
    terms = (term.text for term in page.all("dt"))
    return dict(zip(terms, (item.text for item in page.all("dd")), strict=True))


def test_consent_is_in_german(german: Client, app: App) -> None:
    app.register()
    page = shown_page(german.get(app.address()))
    assert " möchte tools in Ihrem Namen verwenden" in page.all("h1")[0].text
    found = facts(page)
    assert found["Ziel der Weiterleitung"] == "dieser Computer 127.0.0.1:4567"
    assert "Nicht bestätigte App" in page.text
    assert ", oder nach 7 Tagen ohne Aufruf" in page.text
    assert re.search(r"\d+\. \w+\.? \d{4}, \d\d:\d\d UTC in \d+ Tagen", page.text)
    assert [each.text for each in page.all("button")][-4:-2] == ["Ablehnen", "Erlauben"]
    notice = shown_page(german.post(app.address(), {"decision": "allow"}))
    assert "Das kam weniger als eine Sekunde" in notice.text


def test_name_of_a_client_is_isolated_between_german_quotation_marks(
    german: Client, app: App
) -> None:
    app.name = RIGHT_TO_LEFT
    app.register()
    consent = german.get(app.address()).content.decode()
    assert f"<h1>„<bdi>{RIGHT_TO_LEFT}</bdi>“ " in consent
    denied = german.post(app.address(), {"decision": "deny"}).content.decode()
    assert f"„<bdi>{RIGHT_TO_LEFT}</bdi>“ hat nichts erhalten." in denied


def test_what_the_client_gets_stays_in_english(german: Client, app: App) -> None:
    app.register()
    denied = german.post(app.address(), {"decision": "deny"}).content.decode()
    assert "error=access_denied" in denied
    assert "error_description=The+person+did+not+allow+it." in denied
    app.http.defaults["HTTP_ACCEPT_LANGUAGE"] = "de"
    wrong = app.token(grant_type="password")
    assert wrong.json() == {
        "error": "unsupported_grant_type",
        "error_description": "The grant_type is not supported.",
    }
    assert app.register(redirect_uris=[]).json()["error"] == "invalid_redirect_uri"


def test_rejection_is_in_german(german: Client, app: App) -> None:
    app.register()
    unknown = shown_page(german.get(app.address(client_id="x")))
    assert "Der Client ist hier nicht bekannt." in unknown.text
    missing = shown_page(german.get(app.address(client_id=None)))
    assert "Der Parameter client_id fehlt." in missing.text
    without_pkce = shown_page(german.get(app.address(code_challenge=None)))
    assert "PKCE mit der Methode S256 ist erforderlich" in without_pkce.text


def test_imitating_name_is_marked_in_german(german: Client, app: App) -> None:
    app.name = "Cl\N{CYRILLIC SMALL LETTER A}ude"
    app.register()
    assert "Dieser Name mischt Buchstaben" in shown_page(german.get(app.address())).text


def rejections() -> dict[str, Callable[[], object]]:
    """Return what rejects a request with a sentence that a page shows."""
    parse = authorization_request.parse_authorization_request
    return {
        "too long": lambda: parse("x" * 1901),
        "no client": lambda: parse("redirect_uri=x"),
        "no redirect URI": lambda: parse("client_id=x"),
        "twice": lambda: parse("client_id=x&client_id=x"),
    }


@pytest.mark.parametrize("name", rejections())
def test_sentence_of_the_rules_has_a_translation(name: str) -> None:
    """Those sentences are written without Django: the catalogs find them by other names."""
    with pytest.raises(RequestRejected) as caught:
        rejections()[name]()
    with translation.override("de"):
        assert translation.gettext(caught.value.description) != caught.value.description


def test_warnings_and_defaults_of_the_rules_have_a_translation() -> None:
    texts = [
        names.name_warning("Cl\N{CYRILLIC SMALL LETTER A}ude"),
        names.name_warning("\N{CYRILLIC SMALL LETTER ES}\N{CYRILLIC SMALL LETTER O}"),
        UnknownClient().description,
    ]
    assert all(texts)
    assert len(set(texts)) == 3
    with translation.override("de"):
        assert [each for each in texts if translation.gettext(each) == each] == []


@pytest.mark.parametrize(
    ("seconds", "english", "german"),
    [
        (604_800, "7 days", "7 Tagen"),
        (86_400, "1 day", "1 Tag"),
        (7200, "2 hours", "2 Stunden"),
        (60, "1 minute", "1 Minute"),
        (59, "59 seconds", "59 Sekunden"),
    ],
)
def test_duration_fits_its_sentence(seconds: int, english: str, german: str) -> None:
    assert pages._format_duration(seconds) == english
    with translation.override("de"):
        assert pages._format_duration(seconds) == german
