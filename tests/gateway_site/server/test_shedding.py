"""More requests than threads: which wait, and which are rejected."""

import logging
import socket
from collections.abc import Callable, Iterator
from time import perf_counter
from types import SimpleNamespace

import pytest
from django.http import HttpRequest
from pytest_django import Settings

from gateway_site.edge import access_log
from gateway_site.edge.client import Client
from gateway_site.edge.reports import TALLY_INTERVAL, Tally
from gateway_site.forwarding import asgi as handler
from gateway_site.forwarding import thread_pools
from gateway_site.forwarding.calls import caller
from gateway_site.forwarding.calls.caller import ActiveUsers
from gateway_site.forwarding.pages import pages
from gateway_site.forwarding.thread_pools import PROVIDER_QUEUE_TIMEOUT, QUEUE_TIMEOUT, Permit
from gateway_site.server import connections
from oauth.provider import config as providers
from tests.gateway_site.server import urls
from tests.gateway_site.server.served import (
    Served,
    is_open,
    read_all,
    read_response,
    read_to_end,
    serving,
)
from tests.support.waiting import wait_until

PAGE = b"GET /page HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
CALL = PAGE.replace(b"/page", b"/gateway/x/y")
HEALTH = PAGE.replace(b"Host", b"Connection: close\r\nHost").replace(b"/page", b"/healthz")
POST = b"POST /page HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\n\r\n"
CLIENT = PAGE.replace(b"/page", b"/oauth/token")
CONSENT = PAGE.replace(b"/page", b"/oauth/authorize")
COOKIE = b"Cookie: gateway_sessionid=x\r\nHost"
DOCUMENT = CONSENT.replace(b"Host", COOKIE).replace(b"authorize", b"authorize?document")
SERVED = (b"HTTP/1.1 200 ", b"HTTP/1.1 401 ")  # a page, and a call of nobody
PLACES = 2
PLACES_OF_PROVIDERS = 3
SWEEP = 1


async def find_slowly(
    users: ActiveUsers, request: HttpRequest, client: Client, permit: Permit
) -> str | None:
    """Look up the user of a call as if it was not cached, in a slow database."""
    permit.release()
    async with users._threads.permit(client):
        return await users._threads.in_thread(lambda: urls.query(request))


@pytest.fixture
def served(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    settings.ROOT_URLCONF = "tests.gateway_site.server.urls"
    settings.MIDDLEWARE = [
        "gateway_site.health.HealthMiddleware",
        "django.middleware.common.CommonMiddleware",
    ]
    monkeypatch.setattr(pages, "THREADS", PLACES)
    monkeypatch.setattr(caller, "THREADS", PLACES)
    monkeypatch.setattr(ActiveUsers, "find", find_slowly)
    monkeypatch.setattr(thread_pools, "EXCHANGES_MAX", PLACES)
    monkeypatch.setattr(thread_pools, "PROVIDER_THREADS", PLACES_OF_PROVIDERS)
    for name in ("CLIENT_THREADS", "CONSENT_THREADS", "DOCUMENT_THREADS"):
        monkeypatch.setattr(thread_pools, name, PLACES)
    urls.go_on.clear()
    urls.reached.clear()
    urls.arrivals.clear()
    with serving(access_log.asgi(handler.GatewayHandler())) as running:
        yield running
        urls.go_on.set()


def all_busy(served: Served, request: bytes) -> None:
    for _ in range(PLACES):
        served.connect(request)
    wait_until(lambda: len(urls.reached) == PLACES, "all threads have work")


def test_page_that_waits_too_long_is_asked_to_retry(served: Served) -> None:
    all_busy(served, PAGE)
    client = served.connect(PAGE)
    served.advance(QUEUE_TIMEOUT - 1)
    assert is_open(client)
    served.advance(1.5)
    got = read_response(client)
    assert got.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nretry-after: 5\r\n" in got
    assert b"\r\ncache-control: no-store\r\n" in got
    assert len(urls.reached) == PLACES


def test_call_that_waits_for_too_long_gets_a_problem_document(served: Served) -> None:
    all_busy(served, CALL)
    client = served.connect(CALL.replace(b"Host", b"Connection: close\r\nHost"))
    served.advance(QUEUE_TIMEOUT + 0.5)
    got = read_all(client)
    assert got.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nretry-after: 5\r\n" in got
    assert b"\r\nx-gateway-problem: busy\r\n" in got
    assert len(urls.reached) == PLACES


@pytest.mark.parametrize(("busy", "other"), [(PAGE, CALL), (CALL, PAGE)])
def test_pages_hold_up_no_call_and_calls_no_page(served: Served, busy: bytes, other: bytes) -> None:
    all_busy(served, busy)
    client = served.connect(other)
    wait_until(lambda: len(urls.reached) == PLACES + 1, "the other kind is served")
    urls.go_on.set()
    assert read_response(client).startswith(SERVED)


@pytest.fixture
def sign_ins(served: Served, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], socket.socket]:
    """Return what begins a sign-in at a provider, of which `corp` and `other` are configured."""
    known = dict.fromkeys(("corp", "other"))
    monkeypatch.setattr(pages, "PROVIDER_VIEWS", frozenset({urls.sign_in}))
    monkeypatch.setattr(providers, "find_provider", lambda name: name if name in known else None)
    return lambda name: served.connect(PAGE.replace(b"/page", f"/sign-in/{name}".encode()))


def test_slow_provider_delays_no_page_no_call_and_no_other_provider(
    served: Served, sign_ins: Callable[[str], socket.socket]
) -> None:
    busy = [sign_ins("corp") for _ in range(PLACES)]
    wait_until(lambda: len(urls.reached) == PLACES, "the provider has all that one may have")
    late = sign_ins("corp")
    busy += [sign_ins("other"), served.connect(PAGE), served.connect(CALL)]
    wait_until(lambda: len(urls.reached) == len(busy), "all others are served")
    served.advance(PROVIDER_QUEUE_TIMEOUT - 1)
    assert is_open(late)
    served.advance(1.5)
    assert read_response(late).startswith(b"HTTP/1.1 503 ")
    urls.go_on.set()
    assert all(read_response(client).startswith(SERVED) for client in busy)


def test_oauth_clients_hold_up_no_page_no_call_and_no_sign_in(
    served: Served, sign_ins: Callable[[str], socket.socket]
) -> None:
    all_busy(served, CLIENT)
    late = served.connect(CLIENT)
    others = [sign_ins("corp"), *map(served.connect, (PAGE, CALL, CONSENT, DOCUMENT))]
    wait_until(lambda: len(urls.reached) == PLACES + len(others), "all others are served")
    served.advance(PROVIDER_QUEUE_TIMEOUT + 0.5)
    got = read_response(late)
    assert got.startswith(b"HTTP/1.1 503 ")
    # In the one form after which a client keeps its tokens.
    assert b'"error": "temporarily_unavailable"' in got
    for header in (
        b"retry-after: 5",
        b"cache-control: no-store",
        b"access-control-allow-origin: *",
    ):
        assert b"\r\n" + header + b"\r\n" in got


@pytest.mark.parametrize(
    ("busy", "others"),
    [
        (CONSENT, [CLIENT, DOCUMENT]),
        (DOCUMENT, [CLIENT, CONSENT, DOCUMENT.replace(COOKIE, b"Host")]),
    ],
)
def test_consents_hold_up_no_program_and_documents_no_consent(
    served: Served, busy: bytes, others: list[bytes]
) -> None:
    all_busy(served, busy)
    late, clients = served.connect(busy), list(map(served.connect, others))
    wait_until(lambda: len(urls.reached) == PLACES + len(others), "the others are served")
    served.advance(PROVIDER_QUEUE_TIMEOUT - 1)
    assert is_open(late)
    served.advance(1.5)
    assert read_response(late).startswith(b"HTTP/1.1 503 ")
    urls.go_on.set()
    assert all(read_response(each).startswith(b"HTTP/1.1 200 ") for each in clients)


def test_two_slow_providers_hold_up_no_client_that_refreshes(
    served: Served, sign_ins: Callable[[str], socket.socket]
) -> None:
    for name in ("corp", "other") * PLACES:
        sign_ins(name)
    wait_until(lambda: len(urls.reached) == PLACES_OF_PROVIDERS, "they have all threads")
    client = served.connect(CLIENT)
    wait_until(lambda: "/oauth/token" in urls.reached, "the client is served")
    urls.go_on.set()
    assert read_response(client).startswith(b"HTTP/1.1 200 ")


def test_made_up_providers_share_one_line(sign_ins: Callable[[str], socket.socket]) -> None:
    for number in range(PLACES_OF_PROVIDERS + 1):
        sign_ins(f"made-up-{number}")
    wait_until(lambda: len(urls.reached) == PLACES, "they have what one provider may have")
    sign_ins("corp")
    wait_until(lambda: "/sign-in/corp" in urls.reached, "a real one has a thread")
    assert len(urls.reached) == PLACES + 1


def provider_asked(path: str) -> str | None:
    return pages._provider_called(pages._resolve({"path": path}))


def test_requests_that_call_a_provider_are_recognised_by_path() -> None:
    addresses = {
        "/accounts/oidc/corp/login/": "corp",
        "/accounts/oidc/corp/login/callback/": "corp",
        "/accounts/github/login/": "github",
        "/accounts/github/login/callback/": "github",
        "/oauth/backchannel-logout/corp": "corp",
        "/accounts/login/": None,
        "/": None,
        "/nowhere": None,
    }
    asked = {path: provider_asked(path) for path in addresses}
    assert asked == addresses


def test_page_that_redirects_to_the_only_provider_counts_as_its_call(
    settings: Settings,
) -> None:
    """Metadata and pushed requests of a slow provider would hold the threads of all pages."""
    page = "/accounts/login/"
    settings.OAUTH_PROVIDERS = [SimpleNamespace(name="corp")]
    settings.SKIP_PROVIDER_BUTTON = True
    assert provider_asked(page) == "corp"
    settings.SKIP_PROVIDER_BUTTON = False
    assert provider_asked(page) is None


def test_health_is_answered_while_all_is_busy(served: Served) -> None:
    all_busy(served, PAGE)
    all_busy_calls = [served.connect(CALL) for _ in range(PLACES)]
    waiting = [served.connect(each) for each in (PAGE, CALL) * 20]
    for _ in range(3):
        assert read_all(served.connect(HEALTH)).startswith(b"HTTP/1.1 200 ")
    assert all(is_open(client) for client in [*waiting, *all_busy_calls])


def test_client_that_left_while_waiting_uses_no_thread(served: Served) -> None:
    all_busy(served, PAGE)
    gone = [served.connect(request) for request in (PAGE, POST + b"hello") for _ in range(5)]
    served.settle()
    for client in gone:
        client.close()
    served.settle()
    last = served.connect(PAGE)
    served.settle()
    urls.go_on.set()
    assert read_response(last).startswith(b"HTTP/1.1 200 ")
    assert len(urls.reached) == PLACES + 1


def test_missing_body_occupies_no_thread_and_times_out(served: Served) -> None:
    slow = [served.connect(POST + b"h") for _ in range(2 * PLACES)]
    urls.go_on.set()
    served.settle()
    assert read_response(served.connect(PAGE)).endswith(b"page of 0")
    for _ in range(3):
        served.advance(9)
        for client in slow:
            client.sendall(b"e")
    assert all(is_open(client) for client in slow)
    served.advance(4)
    for client in slow:
        got = read_to_end(client)
        assert got.startswith(b"HTTP/1.1 408 ")
        assert b"connection: close" in got
    assert len(urls.reached) == 1


def test_flood_of_bodies_ends_waiting_requests_but_none_that_is_running(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A response of 408 would say that nothing was done."""
    caplog.set_level(logging.INFO, "gateway_site.access")
    monkeypatch.setattr(connections, "BODIES_SIZE", 20_000)
    body = POST.replace(b"5", b"9000") + b"x" * 9000
    working = [served.connect(body) for _ in range(PLACES)]
    wait_until(lambda: len(urls.reached) == PLACES, "all threads have work")
    waiting = [served.connect(body) for _ in range(2)]
    served.settle()
    assert all(is_open(client) for client in [*working, *waiting])
    served.connect(body[:-1])
    served.settle()
    assert read_to_end(waiting[0]).startswith(b"HTTP/1.1 408 ")
    assert [each.getMessage().split()[2] for each in caplog.records][-1:] == ["408"]
    urls.go_on.set()
    for client in [*working, waiting[1]]:
        assert read_response(client).endswith(b"page of 9000")
    assert len(urls.reached) == PLACES + 1


def test_page_gets_the_arrival_time_of_its_request(served: Served) -> None:
    """Not when its body did, or when it had a thread: by then a token's grace may be over."""
    client = served.connect(POST + b"he")
    served.settle()
    before = perf_counter()
    client.sendall(b"llo")
    urls.go_on.set()
    assert read_response(client).endswith(b"page of 5")
    (arrived,) = urls.arrivals
    assert arrived < before


def test_body_that_arrives_in_time_is_the_pages(served: Served) -> None:
    urls.go_on.set()
    client = served.connect(POST + b"he")
    served.advance(25)
    client.sendall(b"llo")
    assert read_response(client).endswith(b"page of 5")


@pytest.mark.parametrize("path", [b"/page", b"/healthz"])
def test_health_waits_for_a_body_no_longer_than_a_page(served: Served, path: bytes) -> None:
    client = served.connect(POST.replace(b"/page", path) + b"he")
    served.advance(32)
    assert read_to_end(client).startswith(b"HTTP/1.1 408 ")


def test_page_may_be_a_stream(served: Served) -> None:
    got = read_all(served.connect(b"GET /streamed HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n"))
    assert b"one, " in got
    assert b"two" in got


def test_flood_is_no_flood_of_lines(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    shed = Tally(logging.getLogger("flood"), "%d went away.", lambda: now)
    for _ in range(1000):
        shed.add()
    now += TALLY_INTERVAL
    shed.add()
    assert [record.getMessage() for record in caplog.records] == ["1 went away.", "1000 went away."]
