"""The host of a request is checked once, and again whenever another is named."""

import io
from typing import Any

import pytest
from django.core.exceptions import DisallowedHost
from django.core.handlers.asgi import ASGIRequest
from pytest_django import Settings

from gateway_site.forwarding.request import GatewayRequest


@pytest.fixture(autouse=True)
def hosts(settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["a.example", "b.example"]
    settings.USE_X_FORWARDED_HOST = True


def request_of(host: str | None = None) -> GatewayRequest:
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "server": ("b.example", 80),
        "headers": [] if host is None else [(b"host", host.encode())],
    }
    return GatewayRequest(scope, io.BytesIO())


def test_host_is_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    check = ASGIRequest.get_host

    def noting(self: ASGIRequest) -> str:
        asked.append(self)
        return check(self)

    monkeypatch.setattr(ASGIRequest, "get_host", noting)
    request = request_of("a.example:8000")
    assert [request.get_host() for _ in range(3)] == ["a.example:8000"] * 3
    assert len(asked) == 1


@pytest.mark.parametrize("name", ["HTTP_HOST", "HTTP_X_FORWARDED_HOST"])
def test_changed_host_is_checked_again(name: str) -> None:
    request = request_of("a.example")
    assert request.get_host() == "a.example"
    request.META[name] = "b.example"
    assert request.get_host() == "b.example"
    request.META[name] = "c.example"
    for _ in range(2):
        with pytest.raises(DisallowedHost):
            request.get_host()
    request.META[name] = "b.example"
    assert request.get_host() == "b.example"


def test_without_one_the_servers_counts() -> None:
    request = request_of()
    assert request.get_host() == "b.example"
    request.META["SERVER_NAME"] = "c.example"
    with pytest.raises(DisallowedHost):
        request.get_host()
