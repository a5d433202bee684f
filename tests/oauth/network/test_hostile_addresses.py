"""A provider whose metadata names this machine's own networks reaches nothing in them."""

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
from allauth.core import context
from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.models import SocialAccount
from django.apps import apps
from django.test import RequestFactory
from django.urls import resolve
from pytest_django import Settings

from oauth.exceptions import ProviderUnavailable
from oauth.network import http
from oauth.provider import metadata
from oauth.provider.metadata import OPTIONAL, REQUIRED
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor, configure, environment
from tests.oauth.support.hostile import (
    ADDRESS,
    ANOTHER_ADDRESS,
    HOST,
    INSIDE,
    HostileProvider,
    Internet,
    good,
    name_the_inside,
)
from tests.oauth.support.hostile_fixtures import ENVIRONMENT, come_back, hostile, internet
from tests.oauth.support.logout_fixtures import post, wait_until_settled
from tests.oauth.support.logout_provider import SigningKey, sign
from tests.oauth.support.requests import assert_no_token
from tests.sessions_kms.support.stacks import Stack

__all__ = ["hostile", "internet"]
WORLD = {(ADDRESS, 443)}


def sign_in(hostile: HostileProvider, visitor: Visitor, store: Stack) -> None:
    come_back(visitor, hostile)


def log_out_from_there(hostile: HostileProvider, visitor: Visitor, store: Stack) -> None:
    key = SigningKey.new()
    post(sign({"iss": hostile.issuer}, key.private, key.algorithm, {"kid": "made up"}))


def sign_out(hostile: HostileProvider, visitor: Visitor, store: Stack) -> None:
    come_back(visitor, hostile)
    assert visitor.user_id is not None
    visitor.client.post("/accounts/logout/")
    wait_until_settled()


def refresh(hostile: HostileProvider, visitor: Visitor, store: Stack) -> None:
    named = hostile.more_of_metadata
    hostile.more_of_metadata = {}
    come_back(visitor, hostile)
    hostile.more_of_metadata = named
    store.clock.advance(4000)
    assert_no_token(visitor, ProviderUnavailable)


# The endpoint that the metadata names -> what has the gateway ask it.
DEEDS: dict[str, tuple[str, Callable[[HostileProvider, Visitor, Stack], None]]] = {
    "code exchange": ("token_endpoint", sign_in),
    "userinfo": ("userinfo_endpoint", sign_in),
    "keys": ("jwks_uri", log_out_from_there),
    "revocation": ("revocation_endpoint", sign_out),
    "refresh": ("token_endpoint", refresh),
}


@pytest.mark.parametrize("where", INSIDE)
def test_no_address_of_an_inner_network_is_connected_to(
    hostile: HostileProvider, visitor: Visitor, internet: Internet, where: str
) -> None:
    name_the_inside(internet)
    hostile.more_of_metadata = {"token_endpoint": f"https://{where}/token"}
    assert come_back(visitor, hostile).status_code == 503
    assert set(internet.reached) == WORLD
    assert "/token" not in hostile.asked


@pytest.mark.parametrize("deed", DEEDS)
def test_no_endpoint_may_be_in_an_inner_network(
    hostile: HostileProvider, visitor: Visitor, internet: Internet, store: Stack, deed: str
) -> None:
    name_the_inside(internet)
    endpoint, do = DEEDS[deed]
    hostile.more_of_metadata = {endpoint: "https://inside.hostile.example/"}
    do(hostile, visitor, store)
    assert set(internet.reached) == WORLD


@pytest.mark.parametrize("deed", DEEDS)
def test_public_endpoints_are_called_on_any_host(
    hostile: HostileProvider,
    visitor: Visitor,
    internet: Internet,
    store: Stack,
    deed: str,
) -> None:
    internet.name("elsewhere.example", ANOTHER_ADDRESS)
    endpoint, do = DEEDS[deed]
    hostile.more_of_metadata = {endpoint: "https://elsewhere.example/"}
    do(hostile, visitor, store)
    assert set(internet.reached) == WORLD | {(ANOTHER_ADDRESS, 443)}


def test_name_is_looked_up_once_against_dns_rebinding(
    hostile: HostileProvider, visitor: Visitor, internet: Internet
) -> None:
    internet.servers[ANOTHER_ADDRESS, 443] = internet.servers[ADDRESS, 443]
    responses = iter([[ANOTHER_ADDRESS], ["127.0.0.1"], ["127.0.0.1"]])
    internet.names["elsewhere.example"] = lambda: next(responses)
    hostile.more_of_metadata = {"token_endpoint": "https://elsewhere.example/token"}
    come_back(visitor, hostile)
    assert internet.lookups["elsewhere.example"] == 1
    assert visitor.user_id is not None
    assert set(internet.reached) == WORLD | {(ANOTHER_ADDRESS, 443)}
    # And then the next one is refused.
    assert come_back(visitor, hostile).status_code == 503
    assert set(internet.reached) == WORLD | {(ANOTHER_ADDRESS, 443)}


def test_tls_certificate_is_checked_at_a_vetted_address(
    hostile: HostileProvider, visitor: Visitor, internet: Internet
) -> None:
    internet.name("bank.example", ADDRESS)  # the server has no certificate of this name
    hostile.more_of_metadata = {"token_endpoint": "https://bank.example/token"}
    assert come_back(visitor, hostile).status_code == 503
    assert "/token" not in hostile.asked


def test_next_address_is_tried_if_one_cannot_be_connected_to(
    hostile: HostileProvider, visitor: Visitor, internet: Internet
) -> None:
    internet.name(HOST, "2606:4700::1111", ANOTHER_ADDRESS, ADDRESS)
    come_back(visitor, hostile)
    assert visitor.user_id is not None
    assert hostile.asked.count("/token") == 1


def test_redirect_to_an_inner_address_is_not_followed(
    hostile: HostileProvider, visitor: Visitor, internet: Internet
) -> None:
    for path in ("/.well-known/openid-configuration", "/token"):
        hostile.paths[path] = lambda _: (302, b"https://127.0.0.1/")
        assert visitor.start().status_code == 503
    assert set(internet.reached) == WORLD


def test_issuer_of_a_private_network_may_name_its_own_network_and_no_other(
    hostile: HostileProvider, visitor: Visitor, internet: Internet, store: Stack
) -> None:
    internet.name(HOST, "10.1.2.3")
    internet.servers["10.1.2.3", 443] = internet.servers[ADDRESS, 443]
    come_back(visitor, hostile)
    assert visitor.user_id is not None
    store.clock.advance(3601)
    for where in ("127.0.0.1", "169.254.169.254"):
        hostile.more_of_metadata = {"token_endpoint": f"https://{where}/token"}
        assert come_back(visitor, hostile).status_code == 503
        store.clock.advance(3601)
    assert set(internet.reached) == {("10.1.2.3", 443)}


def test_private_addresses_are_called_if_the_settings_allow_it(
    hostile: HostileProvider, visitor: Visitor, internet: Internet, settings: Settings
) -> None:
    internet.name("elsewhere.example", "10.1.2.3")
    internet.servers["10.1.2.3", 443] = internet.servers[ADDRESS, 443]
    hostile.more_of_metadata = {
        name: f"https://elsewhere.example/{name.partition('_')[0]}"
        for name in ("token_endpoint", "userinfo_endpoint")
    }
    assert come_back(visitor, hostile).status_code == 503
    configure(settings, ENVIRONMENT | {"OAUTH_CORP_ALLOW_PRIVATE": "1"})
    come_back(visitor, hostile)
    assert visitor.user_id is not None


def test_provider_without_discovery_is_not_called_at_an_inner_address(
    github: FakeProvider, visitor: Visitor, settings: Settings
) -> None:
    url = visitor.callback_address(github, "github")
    configure(settings, environment("github", github, ISSUER=""))
    asked: list[int] = []
    github.hooks["/login/oauth/access_token"] = lambda: asked.append(1)
    assert visitor.client.get(url).status_code == 503
    assert asked == []


@pytest.mark.parametrize("allowed", ["0", "1"])
def test_requests_of_allauth_have_the_same_limits(
    github: FakeProvider, settings: Settings, rf: RequestFactory, allowed: str
) -> None:
    configure(settings, environment("github", github, ISSUER="", ALLOW_PRIVATE=allowed))
    asked: list[int] = []
    github.hooks["/user"] = lambda: asked.append(1)
    request = rf.get("/accounts/github/login/callback/")
    request.resolver_match = resolve(request.path)
    with (
        context.request_context(request),
        nullcontext() if allowed == "1" else pytest.raises(ProviderUnavailable),
    ):
        get_adapter().get_requests_session().get(f"{github.issuer}/user")
    assert len(asked) == int(allowed)


def test_tokens_posted_by_a_client_are_not_accepted(
    corp: FakeProvider, github: FakeProvider, settings: Settings, rf: RequestFactory
) -> None:
    """For each allauth would fetch metadata and keys by its own means."""
    configure(
        settings,
        environment("corp", corp)
        | environment("github", github, ISSUER="", CLIENT_ID="another-client"),
    )
    request = rf.get("/")
    for name in ("corp", "github"):
        assert not get_adapter().get_provider(request, name).supports_token_authentication


def test_log_names_host_and_remedy(
    hostile: HostileProvider, visitor: Visitor, caplog: pytest.LogCaptureFixture
) -> None:
    hostile.more_of_metadata = {"token_endpoint": "https://10.0.0.5/token?canary"}
    come_back(visitor, hostile)
    assert "Request to 10.0.0.5 rejected: The host is at a private address." in caplog.text
    assert "OAUTH_<NAME>_ALLOW_PRIVATE" in caplog.text
    assert "canary" not in caplog.text


@pytest.mark.parametrize(
    "url",
    [
        f"http://{HOST}/x",
        "http://127.0.0.1/x",
        "//evil.example/x",
        "https://",
        f"https://somebody:password@{HOST}/x",
        f"https://{HOST}:0/x",
        f"https://{HOST}:70000/x",
        f"https://{HOST}/\n x",
        "https://[127.0.0.1/x",
        "javascript:alert(1)",
    ],
)
def test_endpoint_without_tls_or_with_odd_parts_is_rejected(
    hostile: HostileProvider, visitor: Visitor, internet: Internet, url: str
) -> None:
    for endpoint in (*REQUIRED, *OPTIONAL):  # those, too, that only the browser is led to
        hostile.more_of_metadata = {endpoint: url}
        assert visitor.start().status_code == 503
        metadata.clear_metadata_cache()
    assert set(internet.reached) == WORLD


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/userinfo"])
@pytest.mark.parametrize(
    "more", [{"x": "y" * 64 * 1024}, {"x": ["y" * 1024] * 10_000}, {"x": "deep"}]
)
def test_document_that_is_too_long_or_deep_is_rejected(
    hostile: HostileProvider, visitor: Visitor, path: str, more: dict[str, Any]
) -> None:
    deep: Any = []
    for _ in range(20):
        deep = [deep]
    document = {"sub": "1001"} | (hostile.metadata() if "known" in path else {}) | more
    if more["x"] == "deep":
        document["x"] = deep
    if "known" in path:
        hostile.more_of_metadata = document
        assert visitor.start().status_code == 503
    else:
        hostile.paths[path] = lambda _: good(document)
        assert come_back(visitor, hostile).status_code == 302  # by the id token alone
        assert SocialAccount.objects.get().extra_data["userinfo"] == {}


def test_document_of_the_maximum_depth_is_accepted(
    hostile: HostileProvider, visitor: Visitor
) -> None:
    deep: Any = []
    for _ in range(18):
        deep = [deep]
    hostile.more_of_metadata = {"x": deep}
    come_back(visitor, hostile)
    assert visitor.user_id is not None


@contextmanager
def proxy() -> Iterator[tuple[str, list[bytes]]]:
    """Refuse every connection, and keep how it was asked for."""
    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                seen.append(connection.recv(65536))
                connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", seen
        thread.join(10)


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_proxy_gets_the_host_name_and_has_to_check_it(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    with proxy() as (url, seen):
        monkeypatch.setenv(variable, url)
        with pytest.raises(ProviderUnavailable):
            http.get("https://inside.example/x?canary")
    assert seen[0].startswith(b"CONNECT inside.example:443 HTTP/1.1\r\n")
    assert b"canary" not in seen[0]


@pytest.mark.parametrize("named", ["10.0.0.5", ".5", "*"])
def test_host_excluded_from_the_proxy_is_vetted_here(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, named: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", named)
    with pytest.raises(ProviderUnavailable):
        http.get("https://10.0.0.5/x")
    assert "Request to 10.0.0.5 rejected" in caplog.text


def test_log_says_at_the_start_that_the_proxy_must_check_addresses(
    store: Stack,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    configure(settings, ENVIRONMENT)
    with caplog.at_level(logging.WARNING):
        apps.get_app_config("oauth").ready()
        assert "HTTPS_PROXY" not in caplog.text
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
        apps.get_app_config("oauth").ready()
    assert "Requests to providers go through a proxy (HTTPS_PROXY)" in caplog.text
