"""Clients' documents over real TLS: fetching, limits and caching."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from oauth.clients import metadata_documents
from oauth.clients.metadata_documents import (
    FETCHES_MAX,
    DocumentFetcher,
    DocumentUnavailable,
    cache_seconds,
)
from oauth.clients.rules.client import Client
from oauth.clients.rules.errors import UnknownClient
from oauth.clients.server import AuthorizationServer
from oauth.network import http
from oauth.network.responses import ProviderResponse
from tests.oauth.clients.support.app import SERVER
from tests.oauth.support.hostile import (
    ADDRESS,
    ANOTHER_ADDRESS,
    HostileProvider,
    Internet,
    certificates,
    good,
    serving,
)
from tests.oauth.support.hostile_fixtures import internet
from tests.support.cases import each_case
from tests.support.clock import FakeClock

__all__ = ["internet"]

HOST = "app.example.com"
URL = f"https://{HOST}/client.json"
MADE = AuthorizationServer(**SERVER)


def members(url: str = URL, **more: Any) -> dict[str, Any]:
    return {"client_id": url, "client_name": "App", "redirect_uris": ["http://127.0.0.1/"]} | more


NOT_A_NUMBER = good(members())[1].replace(b"{", b'{"x": NaN, ', 1)


@pytest.fixture
def site(
    internet: Internet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[HostileProvider]:
    """Serve the client's own site, in the Internet and over TLS."""
    found = HostileProvider()
    found.paths["/client.json"] = lambda _: good(members(logo_uri="https://elsewhere.example/x"))
    trusted, context = certificates(tmp_path, HOST, "elsewhere.example")
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    http._cached_tls_context.cache_clear()
    internet.name(HOST, ADDRESS)
    with serving(found, context) as port:
        internet.servers[ADDRESS, 443] = port
        yield found
    http._cached_tls_context.cache_clear()


def fetch(documents: DocumentFetcher | None = None, person: str = "1", url: str = URL) -> Client:
    return (documents or DocumentFetcher()).load_client(MADE, url, person)


def test_document_is_fetched_once_and_nothing_that_it_names(
    site: HostileProvider, internet: Internet
) -> None:
    documents = DocumentFetcher()
    assert {fetch(documents).host for _ in range(20)} == {HOST}
    assert site.asked == ["/client.json"]
    assert internet.reached == [(ADDRESS, 443)]


INSIDE = [
    "127.0.0.1",
    "0.0.0.0",  # noqa: S104 - to be refused
    "10.0.0.5",
    "169.254.169.254",
    "100.100.100.200",
    "192.168.1.1",
    "224.0.0.1",
    "::1",
    "::",
    "fd00:ec2::254",
    "fe80::1",
    "::ffff:169.254.169.254",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
]


def test_host_in_an_inner_network_is_not_connected_to(site: object, internet: Internet) -> None:
    for number, address in enumerate(INSIDE):
        internet.name(HOST, ADDRESS, address)  # one of several is enough
        with pytest.raises(DocumentUnavailable):
            fetch(person=str(number))
    assert internet.reached == []


def test_host_is_looked_up_once_to_prevent_dns_rebinding(
    site: HostileProvider, internet: Internet
) -> None:
    responses = iter([[ADDRESS], ["127.0.0.1"], ["127.0.0.1"]])
    internet.names[HOST] = lambda: next(responses)
    assert fetch().host == HOST
    assert internet.lookups[HOST] == 1
    assert internet.reached == [(ADDRESS, 443)]


def test_redirect_is_not_followed(site: HostileProvider, internet: Internet) -> None:
    internet.name("elsewhere.example", ANOTHER_ADDRESS)
    for location in (b"https://elsewhere.example/client.json", b"http://169.254.169.254/", b"/x"):
        site.paths["/client.json"] = lambda _, to=location: (302, to)  # type: ignore[misc]
        with pytest.raises(UnknownClient):
            fetch()
    assert set(internet.reached) == {(ADDRESS, 443)}
    assert set(site.asked) == {"/client.json"}


def test_keys_are_cached_like_documents_limited_and_without_redirects(
    site: HostileProvider, internet: Internet
) -> None:
    internet.name("elsewhere.example", ANOTHER_ADDRESS)
    documents, url = DocumentFetcher(), f"https://{HOST}/jwks.json"

    def load(address: str = url, person: str = "1") -> tuple[object, ...]:
        return documents.load_keys(address, person, 3600).content

    failing = [
        (302, b"https://elsewhere.example/jwks.json"),
        (200, b'{"keys": [], "x": "' + b"x" * (64 * 1024) + b'"}'),
        (200, b'{"keys": {}}'),
        (404, b'{"keys": []}'),
    ]
    for response in failing:
        site.paths["/jwks.json"] = lambda _, given=response: given  # type: ignore[misc]
        with pytest.raises(DocumentUnavailable):
            load()
    site.paths["/jwks.json"] = lambda _: (200, b'{"keys": []' + b" " * (63 * 1024) + b"}")
    assert [load(), load(), load()] == [()] * 3
    assert site.asked == ["/jwks.json"] * 5
    assert internet.reached == [(ADDRESS, 443)] * 5
    assert documents.cached(url) is None, "keys are no client"


def pad_document(size: int) -> tuple[int, bytes]:
    """Return a good document of so many bytes."""
    status, body = good(members())
    return status, body + b" " * (size - len(body))


@pytest.mark.parametrize(
    "response",
    [
        pad_document(16 * 1024 + 1),
        (200, b"[" * 1000),
        (200, b"<html>"),
        (200, b"null"),
        (200, b""),
        (200, NOT_A_NUMBER),
        (200, good(members())[1].replace(b"{", b'{"redirect_uris": ["https://a.example/"], ', 1)),
        (200, good(members())[1].decode().encode("utf-16")),
        (200, b'{"x": ' + b"[" * 30 + b"]" * 30 + b", " + good(members())[1][1:]),
        good({name: value for name, value in members().items() if name != "client_name"}),
        (404, b"{}"),
        (500, b"{}"),
        good(members("https://app.example.com/other.json")),
        good(members(token_endpoint_auth_method="private_key_jwt")),
    ],
)
def test_invalid_document_makes_no_client_and_is_not_cached(
    site: HostileProvider, response: tuple[int, bytes]
) -> None:
    documents = DocumentFetcher()
    site.paths["/client.json"] = lambda _: response
    with pytest.raises((UnknownClient, DocumentUnavailable)):
        fetch(documents)
    site.paths["/client.json"] = lambda _: pad_document(16 * 1024)
    assert fetch(documents).name == "App"


def test_slow_document_times_out(site: HostileProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    assert metadata_documents.FETCH_TIMEOUT == 5
    monkeypatch.setattr(metadata_documents, "FETCH_TIMEOUT", 0.3)
    given_up, began = threading.Event(), time.monotonic()
    site.paths["/client.json"] = lambda _: good(members(came=given_up.wait(30)))
    with pytest.raises(DocumentUnavailable):
        fetch()
    assert time.monotonic() - began < 5, "not by the patience of who waits for it"
    assert set(site.asked) == {"/client.json"}
    given_up.set()


def serve_document(
    cache_control: str = "", url: str = URL, kind: str = "application/json"
) -> ProviderResponse:
    return ProviderResponse(200, kind, good(members(url))[1], cache_control=cache_control)


@each_case(
    ("cache_control", "seconds"),
    [
        ("", 300),
        ("max-age=1", 300),
        ("public, max-age=3600", 3600),
        ("Max-Age=3600", 3600),
        ("max-age=99999999", 3600),
        ("max-age=86400, immutable", 3600),
        ("no-store", 300),
        ("no-cache, max-age=3600", 300),
        ("s-maxage=9999", 300),
        ("max-age=-5", 300),
        ("max-age=x", 300),
    ],
)
def test_document_is_cached_as_its_headers_say_within_bounds(
    cache_control: str, seconds: int
) -> None:
    assert cache_seconds(cache_control) == seconds
    asked, clock = [], FakeClock(1000.0)

    def get(url: str) -> ProviderResponse:
        asked.append(url)
        return serve_document(cache_control)

    documents = DocumentFetcher(get, clock)
    fetch(documents)
    clock.advance(seconds - 1)
    fetch(documents)
    assert len(asked) == 1
    clock.advance(1)
    fetch(documents)
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("response", "error", "is_kept"),
    [
        pytest.param(
            ProviderResponse(200, "application/json", NOT_A_NUMBER),
            UnknownClient,
            False,
            id="rejected",
        ),
        pytest.param(ProviderResponse(500, "text/html", b""), DocumentUnavailable, True, id="500"),
        pytest.param(ProviderResponse(503, "text/html", b""), DocumentUnavailable, True, id="503"),
        pytest.param(ProviderResponse(429, "text/html", b""), DocumentUnavailable, True, id="429"),
    ],
)
def test_cached_document_ends_if_the_next_is_rejected_and_not_if_the_site_is_unavailable(
    response: ProviderResponse, error: type[Exception], *, is_kept: bool
) -> None:
    responses = iter([serve_document(), response, serve_document()])
    clock = FakeClock(1000.0)
    documents = DocumentFetcher(lambda _: next(responses), clock)
    fetch(documents)
    assert documents.cached(URL) is not None
    clock.advance(200)
    with pytest.raises(error):
        documents.load_client(MADE, URL, "1", 100)
    assert (documents.cached(URL) is not None) is is_kept
    assert documents.load_client(MADE, URL, "1", 100).name == "App"


def test_age_counts_from_before_the_fetch_and_to_the_second() -> None:
    clock = FakeClock(1000.0)

    def get(url: str) -> ProviderResponse:
        clock.advance(4)
        return serve_document("max-age=3600")

    documents = DocumentFetcher(get, clock)
    fetch(documents)
    clock.advance(296)
    assert documents.cached(URL, 300) is not None
    clock.advance(1)
    assert documents.cached(URL, 300) is None
    assert documents.cached(URL) is not None
    clock.advance(3299)
    assert documents.cached(URL) is None


@pytest.mark.parametrize(
    "kind", ["text/plain", "text/html", "", "application/x-www-form-urlencoded"]
)
def test_document_of_another_media_type_is_rejected(kind: str) -> None:
    with pytest.raises(UnknownClient):
        fetch(DocumentFetcher(lambda _: serve_document(kind=kind)))
    assert (
        fetch(DocumentFetcher(lambda _: serve_document(kind="application/cimd+json"))).name == "App"
    )


def test_document_fetched_while_another_looked_for_it_is_not_fetched_again() -> None:
    asked: list[str] = []
    looks = count(1)

    def get(url: str) -> ProviderResponse:
        asked.append(url)
        return serve_document(url=url)

    def clock() -> float:
        if next(looks) == 1:  # The first one did not find it; before it asks, another one does.
            fetch(documents)
        return 0

    documents = DocumentFetcher(get, clock)
    assert fetch(documents).name == "App"
    assert asked == [URL]


def test_fetches_of_a_document_are_shared_and_bounded() -> None:
    assert FETCHES_MAX == 8
    landing, begun = threading.Event(), threading.Semaphore(0)
    asked: list[str] = []

    def get(url: str) -> ProviderResponse:
        asked.append(url)
        begun.release()
        landing.wait()
        return serve_document(url=url)

    documents = DocumentFetcher(get)
    urls = [f"https://app{number}.example.com/c" for number in range(FETCHES_MAX)]
    with ThreadPoolExecutor(3 * FETCHES_MAX) as threads:
        people = iter(range(1000))
        waiting = [
            threads.submit(fetch, documents, str(next(people)), url) for url in urls for _ in "abc"
        ]
        for _ in urls:
            begun.acquire()
        with pytest.raises(DocumentUnavailable, match="at once"):
            fetch(documents, "another")
        landing.set()
        assert {each.result().name for each in waiting} == {"App"}
    assert sorted(asked) == sorted(urls)


def test_a_person_causes_at_most_six_fetches_a_minute() -> None:
    clock = FakeClock(1000.0)
    documents = DocumentFetcher(lambda url: serve_document("no-store", url), clock)
    for number in range(6):
        fetch(documents, "ada", f"https://app{number}.example.com/c")
    with pytest.raises(DocumentUnavailable, match="minute"):
        fetch(documents, "ada", "https://app.example.com/more")
    assert fetch(documents, "ada", "https://app0.example.com/c").name == "App"  # kept
    assert fetch(documents, "grace", "https://app.example.com/more").name == "App"
    clock.advance(60)
    assert fetch(documents, "ada", "https://app.example.com/again").name == "App"


def test_a_person_waits_for_at_most_two_documents_at_once() -> None:
    landing, begun = threading.Event(), threading.Semaphore(0)

    def get(url: str) -> ProviderResponse:
        begun.release()
        landing.wait()
        return serve_document(url=url)

    documents = DocumentFetcher(get)
    with ThreadPoolExecutor(2) as threads:
        urls = [f"https://app{number}.example.com/c" for number in range(2)]
        waiting = [threads.submit(fetch, documents, "ada", url) for url in urls]
        for _ in urls:
            begun.acquire()
        try:
            for url in (URL, urls[0]) * 10:
                with pytest.raises(DocumentUnavailable, match="at once"):
                    fetch(documents, "ada", url)
        finally:
            landing.set()
        assert {each.result().name for each in waiting} == {"App"}
    for number in range(4):  # those that were refused do not count
        fetch(documents, "ada", f"https://more{number}.example.com/c")
    with pytest.raises(DocumentUnavailable, match="minute"):
        fetch(documents, "ada")


def test_place_of_a_failed_fetch_is_free_again() -> None:
    documents = DocumentFetcher(lambda _: ProviderResponse(404, "text/plain", b""))
    for _ in range(4):
        with pytest.raises(UnknownClient):
            fetch(documents)


def test_failure_does_not_describe_the_inner_network(
    site: object, internet: Internet, caplog: pytest.LogCaptureFixture
) -> None:
    internet.name(HOST, "169.254.169.254")
    with pytest.raises(DocumentUnavailable) as caught:
        fetch()
    assert "169.254" not in str(caught.value)
    assert "OAUTH_<NAME>" not in caplog.text
