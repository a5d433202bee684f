"""The Host of a call, its lines in the log, and the pages that the same application serves."""

import re
import select
import socket
from collections.abc import Iterator

import pytest

from tests.gateway_site.support.gateways import Gateway
from tests.gateway_site.support.problems import assert_problem
from tests.support.waiting import wait_until


@pytest.fixture
def without_store(gateway: Gateway) -> Iterator[None]:
    gateway.control("store/down")
    yield
    gateway.control("store/up")


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "evil@127.0.0.1", "a/b"]
)
def test_other_host_is_refused_before_any_call(gateway: Gateway, host: str) -> None:
    before = gateway.state().get("calls", 0)
    assert_problem(gateway.get("echo/x", headers={"Host": host}), 400, "bad_request")
    assert gateway.state().get("calls", 0) == before


@pytest.mark.usefixtures("without_store")
def test_outage_has_a_line_a_request_with_its_id_and_one_traceback(gateway: Gateway) -> None:
    before = gateway.log.stat().st_size
    with gateway.client() as client:
        responses = [
            client.get(f"{gateway.url}/{path}", timeout=20)
            for path in ("gateway/echo/x", "", "sessions/", "gateway/")
            for _ in range(25)
        ]
    assert {response.status_code for response in responses} == {503}

    def read_log() -> str:
        return gateway.log.read_text(encoding="utf-8")[before:]

    ids = [response.headers["X-Request-ID"] for response in responses]
    wait_until(lambda: all(each in read_log() for each in ids), "each has its line")
    log = read_log()
    assert len(log.splitlines()) < 110, log
    for response in responses:
        [line] = [line for line in log.splitlines() if response.headers["X-Request-ID"] in line][
            -1:
        ]
        assert " 503 user=" in line
    assert log.count("Traceback") <= 1  # none where another test began it


def test_call_is_logged_with_user_and_path_and_without_its_query(gateway: Gateway) -> None:
    response = gateway.get("echo/x?secret=canary", headers={"X-Request-ID": "of-the-proxy"})
    request_id = response.headers["X-Request-ID"]
    assert request_id == "of-the-proxy"  # which loopback is trusted to be here
    wait_until(lambda: request_id in gateway.log.read_text(encoding="utf-8"), "it is logged")
    log = gateway.log.read_text(encoding="utf-8")
    [line] = [line for line in log.splitlines() if request_id in line]
    assert re.search(r"GET /gateway/echo/x 200 user=\d+ upstream=echo ms=\d+$", line)
    assert "user=-" not in line
    assert "canary" not in log


def test_ordinary_pages_are_served_by_the_same_application(gateway: Gateway) -> None:
    with gateway.client() as client:
        response = client.get(f"{gateway.url}/accounts/login/", timeout=10, allow_redirects=False)
        assert response.status_code == 302  # signed in already
        assert client.get(f"{gateway.url}/healthz", timeout=10).json() == {"status": "ok"}
        assert client.get(f"{gateway.url}/gateway", timeout=10).url == f"{gateway.url}/gateway/"


@pytest.mark.parametrize("path", ["accounts/login/", "healthz", "nothing/here"])
def test_body_without_an_end_is_refused_at_a_page(gateway: Gateway, path: str) -> None:
    """Anybody may send one; Django would write it to the disk before it looks at the address."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as connection:
        connection.sendall(
            f"POST /{path} HTTP/1.1\r\nHost: 127.0.0.1:{gateway.port}\r\n"
            "Transfer-Encoding: chunked\r\n\r\n".encode()
        )
        sent = 0
        while not select.select([connection], [], [], 0)[0]:
            assert sent < 256, "nothing but the end of the body would have brought an answer"
            connection.sendall(b"100000\r\n" + b"x" * 0x100000 + b"\r\n")
            sent += 1
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")
