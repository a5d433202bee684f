"""The client's address, from the headers of trusted proxies only."""

from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from gateway_site.edge import trusted_proxies
from tests.gateway_site.support.loading import production
from tests.support.cases import each_case

NETWORKS = [ip_network("10.0.0.0/8"), ip_network("2001:db8:1::/48")]


@each_case(
    ("peer", "forwarded_for", "client"),
    [
        ("10.0.0.1", [b"203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", [b"198.51.100.7, 203.0.113.9"], "203.0.113.9"),  # the left is made up
        ("10.0.0.1", [b"198.51.100.7", b"203.0.113.9, 10.0.0.2"], "203.0.113.9"),
        ("10.0.0.1", [b"10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", [b"evil, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", [b"203.0.113.9, nonsense"], "10.0.0.1"),
        ("10.0.0.1", [b"203.0.113.9,"], "10.0.0.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [b"203.0.113.9:4711"], "203.0.113.9"),
        ("10.0.0.1", [b"[2001:db8::9]:4711"], "2001:db8::9"),
        ("2001:db8:1::1", [b"2001:db8::9"], "2001:db8::9"),
        ("::ffff:10.0.0.1", [b"::ffff:203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", [b"203.0.113.9\xff"], "10.0.0.1"),
        ("10.0.0.1", [b"203.0.113.9" + b" " * 100], "203.0.113.9"),
        ("10.0.0.1", [b"203.0.113.9%" + b"a" * 100], "10.0.0.1"),
        ("10.0.0.1", [b"203.0.113.9" + b", 10.0.0.2" * 31], "203.0.113.9"),
        # An unrealistic number of proxies: the author of the rest is unknown.
        ("10.0.0.1", [b"203.0.113.9, 10.0.0.3" + b", 10.0.0.2" * 31], "10.0.0.3"),
        ("10.0.0.1", [b"10.0.0.3, " * 10_000 + b"10.0.0.2"], "10.0.0.3"),
    ],
)
def test_client_is_the_rightmost_address_that_is_not_a_proxy(
    peer: str, forwarded_for: list[bytes], client: str
) -> None:
    found = trusted_proxies.parse_address(peer)
    assert found is not None
    assert trusted_proxies.client_address(found, forwarded_for, NETWORKS) == ip_address(client)


async def seen_request(
    client: tuple[str, int] | None, *headers: tuple[bytes, bytes]
) -> dict[str, Any]:
    """The scope as the application gets it."""
    found: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        found.append(scope)

    scope = {"type": "http", "client": client, "headers": list(headers)}
    await trusted_proxies.asgi(application)(scope, None, None)
    assert found == [scope]
    return scope


FOR = (b"x-forwarded-for", b"203.0.113.9")
PROTO = (b"x-forwarded-proto", b"https")


async def test_application_sees_the_client_of_a_trusted_proxy(settings: Settings) -> None:
    settings.TRUSTED_PROXIES = NETWORKS
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    behind = await seen_request(("10.0.0.1", 5), FOR, PROTO)
    assert (behind["client"], behind[trusted_proxies.TRUSTED]) == (("203.0.113.9", 0), True)
    assert behind["headers"] == [FOR, PROTO]


async def test_address_and_scheme_of_other_senders_are_ignored(settings: Settings) -> None:
    settings.TRUSTED_PROXIES = NETWORKS
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    for peer in (("203.0.113.1", 5), ("not an address", 5), None):
        direct = await seen_request(peer, FOR, PROTO)
        assert (direct["client"], direct[trusted_proxies.TRUSTED]) == (peer, False)
        assert direct["headers"] == [FOR]


async def test_without_trusted_proxies_nothing_is_changed(settings: Settings) -> None:
    settings.TRUSTED_PROXIES = []
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    scope = await seen_request(("10.0.0.1", 5), FOR, PROTO)
    assert (scope["client"], scope["headers"]) == (("10.0.0.1", 5), [FOR, PROTO])


def test_proxies_are_addresses_and_networks() -> None:
    loaded = production(TRUSTED_PROXIES="10.0.0.0/8, 192.0.2.7,2001:db8:1::/48")
    found = [str(network) for network in loaded["TRUSTED_PROXIES"]]
    assert found == ["10.0.0.0/8", "192.0.2.7/32", "2001:db8:1::/48"]
    assert production()["TRUSTED_PROXIES"] == []


@pytest.mark.parametrize(
    "value", ["10.0.0.1/8", "proxy.internal", "0.0.0.0/0", "::/0", "10.0.0.0/33"]
)
def test_what_is_no_network_or_every_address_is_an_error(value: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^TRUSTED_PROXIES must"):
        production(TRUSTED_PROXIES=value)
