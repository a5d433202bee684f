"""An operator's name, logo and templates stand in place of the gateway's own."""

from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from pytest_django import Settings

from gateway_site.environment import branding
from tests.gateway_site.support.loading import production
from tests.gateway_site.support.page_requests import parse
from tests.oauth.support.fake_provider import FakeProvider
from tests.support.cases import each_case

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


def test_pages_and_error_pages_show_the_site_name(corp: FakeProvider, settings: Settings) -> None:
    settings.SITE_NAME = "Ada & Söhne"
    for address in ("/", "/not-there"):
        page = parse(Client().get(address).content.decode())
        assert page.all("title")[0].text.endswith("\N{EN DASH} Ada & Söhne")
        [brand] = [link for link in page.all("a") if link.attributes.get("class") == "brand"]
        assert brand.text == "Ada & Söhne"


def test_logo_file_is_served_without_running_scripts(
    corp: FakeProvider, settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "logo.svg"
    file.write_bytes(SVG)
    settings.SITE_LOGO = branding.load_logo(str(file))
    page = parse(Client().get("/").content.decode())
    [address] = {image.attributes["src"] for image in page.all("img")}
    client = Client()
    client.cookies[settings.SESSION_COOKIE_NAME] = "malformed"  # which Django would delete
    response = client.get(address)
    assert (response.content, response["Content-Type"]) == (SVG, "image/svg+xml")
    assert response["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in response["Content-Security-Policy"]
    assert "unsafe" not in response["Content-Security-Policy"]
    assert not response.cookies


def test_without_a_file_no_logo_is_served(corp: FakeProvider) -> None:
    assert Client().get("/site-logo").status_code == 404


def test_content_policy_allows_a_remote_logo_and_no_other_image() -> None:
    loaded = production(SITE_LOGO="https://cdn.example.com:8443/a/logo.svg?v=1")
    sources = loaded["CONTENT_SECURITY_POLICY"]["DIRECTIVES"]["img-src"]
    assert sources == ["'self'", "https://cdn.example.com:8443"]
    assert loaded["SITE_LOGO"].url == "https://cdn.example.com:8443/a/logo.svg?v=1"
    assert production()["CONTENT_SECURITY_POLICY"]["DIRECTIVES"]["img-src"] == ["'self'"]


@each_case(
    "value",
    [
        "http://cdn.example.com/x.png",
        "https://cdn.example.com/x.png; script-src *",
        "https://user@cdn.example.com/x.png",
        "data://x",
        "/not/there.png",
        "/etc/passwd",
        "/",
    ],
)
def test_unusable_logo_is_an_error(value: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^SITE_LOGO"):
        production(SITE_LOGO=value)


@pytest.mark.parametrize("value", ["x" * 41, "two\nlines"])
def test_site_name_is_one_short_line(value: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^SITE_NAME"):
        production(SITE_NAME=value)


def test_operators_templates_replace_the_gateways(
    corp: FakeProvider, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "home.html").write_text(
        '{% extends "base.html" %}{% block content %}<h1>Mine</h1>{% endblock %}'
    )
    loaded = production(TEMPLATES_DIR=str(tmp_path))
    settings.TEMPLATES = loaded["TEMPLATES"]
    assert parse(Client().get("/").content.decode()).all("h1")[0].text == "Mine"
    assert Client().get("/accounts/login/").status_code == 200
    with pytest.raises(ImproperlyConfigured, match=r"^TEMPLATES_DIR: folder not found"):
        production(TEMPLATES_DIR=str(tmp_path / "absent"))
