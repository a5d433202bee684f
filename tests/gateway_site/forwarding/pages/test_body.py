"""The maximum size of a page's body, tested by raw clients.

That a body was read is told by the response: 403, since no CSRF token is sent, or what the page
says.
"""

import socket
from collections.abc import Iterator

import pytest

from tests.gateway_site.server.served import exchange
from tests.gateway_site.support.gateways import Gateway
from tests.support.cases import each_case

ANYBODY = 16_384
ASSERTION = 32 * 1024 + 1  # the view itself rejects the last byte
PROVIDER = 32_768
STAFF = 2_621_440
USERS = "/admin/auth/user/add/"
MADE_UP = "z" * 32


@pytest.fixture
def staff(gateway: Gateway) -> Iterator[None]:
    gateway.control("staff/1")
    yield
    gateway.control("staff/0")


def status(
    gateway: Gateway, path: str, size: int, *, cookie: str = "", is_chunked: bool = False
) -> int:
    """Send a whole body, and give the response's status."""
    framing = "Transfer-Encoding: chunked" if is_chunked else f"Content-Length: {size}"
    body = b"x" * size
    if is_chunked:
        body = b"%x\r\n" % size + body + b"\r\n0\r\n\r\n"
    return send_body(gateway, path, framing, body, cookie)


def send_body(gateway: Gateway, path: str, fields: str, body: bytes, cookie: str = "") -> int:
    """Send a head with these fields, and as much of the body as the gateway listens to."""
    return int(raw(gateway, path, fields, body, cookie).split(b" ", 2)[1])


def raw(gateway: Gateway, path: str, fields: str, body: bytes, cookie: str = "") -> bytes:
    told = f"Cookie: gateway_sessionid={cookie}\r\n" if cookie else ""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{gateway.port}\r\nConnection: close\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\n{told}{fields}\r\n\r\n"
    )
    return exchange(gateway.port, head.encode() + body)


@each_case("is_chunked", [False, True])
@each_case(
    ("path", "limit", "otherwise"),
    [
        ("/accounts/login/", ANYBODY, 403),
        ("/sessions/end/", ANYBODY, 403),
        ("/nowhere", ANYBODY, 404),
        ("/accounts/oidc/corp/login/callback/", PROVIDER, 405),
        ("/oauth/backchannel-logout/corp", PROVIDER, 400),
        ("/oauth/token", ASSERTION, 400),
        ("/oauth/register", ANYBODY, 400),
        (USERS, ANYBODY, 403),
        ("/admin/login/", ANYBODY, 403),
    ],
)
def test_anybody_may_send_so_much(
    gateway: Gateway, path: str, limit: int, otherwise: int, is_chunked: bool
) -> None:
    assert status(gateway, path, limit, is_chunked=is_chunked) == otherwise
    assert status(gateway, path, limit + 1, is_chunked=is_chunked) == 413


@pytest.mark.usefixtures("staff")
@pytest.mark.parametrize("is_chunked", [False, True])
def test_staff_may_send_more_in_the_admin_and_nowhere_else(
    gateway: Gateway, is_chunked: bool
) -> None:
    mine, anothers = gateway.keys[0], gateway.keys[-1]
    sizes = {STAFF: 403, STAFF + 1: 413}
    for size, expected in sizes.items():
        assert status(gateway, USERS, size, cookie=mine, is_chunked=is_chunked) == expected
    for path, cookie in {
        "/admin/login/": mine,
        "/accounts/login/": mine,
        USERS: anothers,
        "/admin/nothing/": anothers,
    }.items():
        assert status(gateway, path, ANYBODY + 1, cookie=cookie, is_chunked=is_chunked) == 413


@pytest.mark.parametrize("kind", ["ended", "former-password"])
@pytest.mark.usefixtures("staff")
def test_ended_session_is_anonymous(gateway: Gateway, kind: str) -> None:
    cookie = gateway.control(f"cookie/{kind}").partition("=")[2]
    assert status(gateway, USERS, ANYBODY + 1, cookie=cookie) == 413


@pytest.mark.usefixtures("staff")
def test_deactivated_staff_are_anonymous(gateway: Gateway) -> None:
    with gateway.switch("active/0", "active/1"):
        assert status(gateway, USERS, ANYBODY + 1, cookie=gateway.keys[0]) == 413


def reads(gateway: Gateway) -> int:
    return int(gateway.control("all-reads"))


def test_invalid_cookie_costs_one_read_and_no_cookie_none(gateway: Gateway) -> None:
    """A large body costs no more than any page."""
    before = reads(gateway)
    assert status(gateway, USERS, ANYBODY + 1) == 413
    assert status(gateway, "/accounts/login/", ANYBODY + 1, cookie=MADE_UP) == 413
    assert status(gateway, USERS, STAFF + 1, cookie=MADE_UP) == 413
    assert reads(gateway) == before
    assert status(gateway, USERS, ANYBODY + 1, cookie=MADE_UP) == 413
    assert reads(gateway) == before + 1
    assert status(gateway, USERS, ANYBODY + 1, cookie=MADE_UP, is_chunked=True) == 413
    assert reads(gateway) == before + 2


@pytest.mark.usefixtures("staff")
@pytest.mark.parametrize(("path", "size"), [("/accounts/login/", ANYBODY), (USERS, ANYBODY)])
def test_too_large_body_is_rejected_before_it_is_sent(
    gateway: Gateway, path: str, size: int
) -> None:
    """And is not asked for: a client that waits for `100 Continue` sends nothing."""
    fields = f"Content-Length: {size + 1}\r\nExpect: 100-continue"
    assert send_body(gateway, path, fields, b"", gateway.keys[-1]) == 413


@pytest.mark.usefixtures("staff")
def test_large_body_of_staff_is_read(gateway: Gateway) -> None:
    fields = f"Content-Length: {STAFF}\r\nExpect: 100-continue"
    assert send_body(gateway, USERS, fields, b"x" * STAFF, gateway.keys[0]) == 100


@pytest.mark.usefixtures("staff")
def test_large_body_of_staff_is_a_503_while_the_store_is_down(gateway: Gateway) -> None:
    with gateway.switch("store/down", "store/up"):
        got = raw(gateway, USERS, f"Content-Length: {STAFF}", b"x" * STAFF, gateway.keys[0])
    assert got.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nretry-after: 5\r\n" in got.lower()


@pytest.mark.parametrize("path", ["/oauth/token", "/token", "/oauth/register", "/oauth/revoke"])
def test_program_is_refused_in_its_own_form(gateway: Gateway, path: str) -> None:
    got = raw(gateway, path, f"Content-Length: {ASSERTION + 1}", b"")
    assert got.startswith(b"HTTP/1.1 413 ")
    assert b"\r\naccess-control-allow-origin: *\r\n" in got.lower()
    assert b'{"error": "invalid_request"' in got


@pytest.mark.parametrize("is_chunked", [False, True])
def test_many_large_bodies_use_bounded_memory(gateway: Gateway, is_chunked: bool) -> None:
    """Each stops short of the end: 480 MB, of people whom nobody knows."""
    size, count = 2_400_000, 200
    framing = "Transfer-Encoding: chunked" if is_chunked else f"Content-Length: {size}"
    head = f"POST /accounts/login/ HTTP/1.1\r\nHost: 127.0.0.1:{gateway.port}\r\n{framing}\r\n\r\n"
    sent = head.encode() + (b"%x\r\n" % size if is_chunked else b"") + b"x" * (size - 1)
    before = gateway.process.memory_info().rss
    crowd = []
    try:
        for _ in range(count):
            client = socket.create_connection(("127.0.0.1", gateway.port), timeout=20)
            crowd.append(client)
            client.sendall(sent)
        assert all(client.recv(12) == b"HTTP/1.1 413" for client in crowd)
        assert gateway.process.memory_info().rss - before < 32 * 1024 * 1024
    finally:
        for client in crowd:
            client.close()
