"""Calls with a client's token through a running gateway, and the limits of such tokens."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest
import requests
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.gateway_site.forwarding.conftest import tools
from tests.gateway_site.support.client_tokens import CLIENT_ID, Caller
from tests.gateway_site.support.gateways import TOKEN, Gateway
from tests.gateway_site.support.mcp_clients import text_of
from tests.gateway_site.support.problems import assert_problem
from tests.support.cases import each_case
from tests.support.waiting import wait_until

__all__ = ["tools"]
GRANTED = "token-of-a-grant"
CHALLENGED = (  # and closed, as the server of these responses does
    b"HTTP/1.1 %d X\r\nConnection: close\r\nContent-Length: 2\r\n"
    b'WWW-Authenticate: Bearer resource_metadata="https://evil.example/.well-known/oauth-protected-resource"\r\n\r\nno'
)


@pytest.fixture
def caller(gateway: Gateway) -> Caller:
    return Caller.allowed(gateway, "open")


def metadata(gateway: Gateway, path: str) -> str:
    return f'resource_metadata="{gateway.url}/.well-known/oauth-protected-resource/gateway/{path}"'


def assert_challenged(
    gateway: Gateway, response: requests.Response, path: str, *, invalid: bool = True
) -> None:
    """Assert the one challenge that a client can start from."""
    assert response.status_code == 401, response.text
    error = 'error="invalid_token", ' if invalid else ""
    scope = path.partition("/")[0]
    expected = f'Bearer {error}{metadata(gateway, path)}, scope="{scope}"'
    assert response.headers["WWW-Authenticate"] == expected
    varying = {each.strip() for each in response.headers["Vary"].split(",")}
    assert {"Authorization", "Cookie"} <= varying
    assert "Set-Cookie" not in response.headers


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_call_needs_neither_cookie_nor_csrf_token_and_gets_no_cookie(
    caller: Caller, method: str
) -> None:
    response = caller.call("open/a/b?q=1", method, data="body" if method != "GET" else None)
    assert response.status_code == 200, response.text
    got = response.json()
    assert (got["method"], got["path"], got["query"]) == (method, "/a/b", "q=1")
    sent = dict(got["headers"])
    assert sent["authorization"] == f"Bearer {GRANTED}"
    assert "cookie" not in sent
    assert "Set-Cookie" not in response.headers
    assert {"authorization", "cookie"} <= set(response.headers["Vary"].lower().split(", "))


def test_cookie_beside_a_token_counts_for_nothing(gateway: Gateway, caller: Caller) -> None:
    cookie = {"Cookie": f"gateway_sessionid={gateway.keys[-1]}"}  # another person's
    sent = dict(caller.call("open/", headers=cookie).json()["headers"])
    assert sent["authorization"] == f"Bearer {GRANTED}"
    for name in ("gateway_sessionid", "gateway_csrftoken", "gateway_messages"):
        odd = {"Cookie": f"{name}=odd"}
        assert caller.call("open/", "POST", headers=odd).status_code == 200
    bad = cookie | {"Authorization": "Bearer gwa_" + "a" * 32}
    assert_challenged(gateway, caller.call("open/", headers=bad), "open/")


@each_case("method", ["GET", "POST", "DELETE"])
@each_case("path", ["open", "open/", "open/mcp", "mcp"])
def test_call_without_credentials_gets_a_challenge(
    gateway: Gateway, method: str, path: str
) -> None:
    response = requests.request(method, f"{gateway.url}/gateway/{path}", timeout=10)
    assert_challenged(gateway, response, path, invalid=False)
    told = response.headers["WWW-Authenticate"].partition('"')[2].partition('"')[0]
    assert requests.get(told, timeout=10).json()["resource"] == f"{gateway.url}/gateway/{path}"


def test_challenge_names_the_upstream_if_the_url_cannot_be_repeated(gateway: Gateway) -> None:
    response = requests.post(f"{gateway.url}/gateway/open/a%20b", timeout=10)
    assert_challenged(gateway, response, "open", invalid=False)


def test_browser_is_still_redirected_to_the_sign_in(gateway: Gateway) -> None:
    headers = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate"}
    url = f"{gateway.url}/gateway/open/"
    response = requests.get(url, headers=headers, allow_redirects=False, timeout=10)
    assert response.status_code == 302
    assert "/accounts/login/" in response.headers["Location"]


def test_cookie_calls_still_need_a_csrf_token(gateway: Gateway) -> None:
    with gateway.client() as client:
        assert client.post(f"{gateway.url}/gateway/open/", timeout=10).status_code == 403
    with gateway.writer() as writer:
        sent = writer.post(f"{gateway.url}/gateway/open/", timeout=10).json()["headers"]
        assert dict(sent)["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    "value",
    [
        "Bearer",
        "Bearer ",
        "Bearer x",
        "Bearer gwa_" + "a" * 32,
        "Bearer gwa_" + "A" * 32,
        "Bearer gwr_" + "a" * 32,
        "Bearer {access}x",
        "Bearer {access} {access}",
        "Bearer {access}, Bearer {access}",
        "Bearer {refresh}",
    ],
)
def test_what_is_no_access_token_is_challenged(
    gateway: Gateway, caller: Caller, value: str
) -> None:
    shown = value.format(access=caller.access_token, refresh=caller.refresh_token)
    assert_challenged(gateway, caller.call("open/", headers={"Authorization": shown}), "open/")


def test_token_outside_the_authorization_header_is_ignored(
    gateway: Gateway, caller: Caller
) -> None:
    token = caller.access_token
    url = f"{gateway.url}/gateway/open/"
    for response in (
        requests.get(f"{url}?{urlencode({'access_token': token})}", timeout=10),
        requests.post(url, {"access_token": token}, timeout=10),
        requests.get(url, headers={"X-Authorization": f"Bearer {token}"}, timeout=10),
        requests.get(url, headers={"Proxy-Authorization": f"Bearer {token}"}, timeout=10),
        requests.get(url, auth=("user", token), timeout=10),
    ):
        assert response.status_code == 401
        assert token not in response.text
    for name in ("gateway_sessionid", "Authorization", "access_token"):
        response = requests.get(url, cookies={name: token}, timeout=10)
        assert response.status_code == 401


def test_token_is_for_its_own_upstream_alone(gateway: Gateway, caller: Caller) -> None:
    assert_challenged(gateway, caller.call("led/x"), "led/x")
    for path in ("", "echo/", "tools", "absent/", "open2/"):
        response = caller.call(path)
        assert response.status_code in {401, 404}, path
        assert GRANTED not in response.text


@pytest.mark.parametrize(
    "path", ["/", "/sessions/", "/try/open/", "/accounts/3rdparty/", "/admin/", "/oauth/authorize"]
)
def test_token_is_no_session_at_the_pages(gateway: Gateway, caller: Caller, path: str) -> None:
    headers = {"Authorization": f"Bearer {caller.access_token}"}
    url = gateway.url + path
    shown = requests.get(url, headers=headers, allow_redirects=False, timeout=10)
    plain = requests.get(url, allow_redirects=False, timeout=10)
    assert shown.status_code == plain.status_code
    assert "Sign out" not in shown.text


def test_page_of_another_site_cannot_call_though_it_had_the_token(
    gateway: Gateway, caller: Caller
) -> None:
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": f"http://evil.example:{gateway.port}"},  # rebound to the gateway's address
        {"Sec-Fetch-Site": "cross-site"},
    ):
        assert_problem(caller.call("open/", "POST", headers=headers), 403, "cross_site")
    assert caller.call("open/", "POST", headers={"Origin": gateway.url}).status_code == 200


@pytest.mark.parametrize(("status", "comes"), [(401, 502), (403, 403), (200, 200)])
def test_challenge_of_an_upstream_does_not_reach_the_client(
    gateway: Gateway, status: int, comes: int
) -> None:
    gateway.canned.responses["/challenged"] = CHALLENGED % status
    response = Caller.allowed(gateway, "led").call("led/challenged")
    assert response.status_code == comes
    assert "evil.example" not in str(response.headers)
    assert "WWW-Authenticate" not in response.headers
    if comes == 502:
        assert_problem(response, 502, "upstream_unauthorized")
    # A browser's program still sees it.
    assert "evil.example" in gateway.get("led/challenged").headers["WWW-Authenticate"]


def test_refused_provider_token_is_refreshed_once(caller: Caller) -> None:
    response = caller.call(f"open/guarded?token={GRANTED}-2")
    assert response.status_code == 200, response.text


def test_grant_without_tokens_ends_and_its_client_must_authorize_again(gateway: Gateway) -> None:
    caller = Caller.allowed(gateway, "unheld")
    response = caller.call("unheld/x")
    assert_problem(response, 401, "grant_ended")
    assert_challenged(gateway, response, "unheld/x")
    assert caller.refresh().json()["error"] == "invalid_grant"
    assert_challenged(gateway, caller.call("unheld/x"), "unheld/x")


def test_outage_is_503_and_ends_nothing(gateway: Gateway, caller: Caller) -> None:
    with gateway.switch("store/down", "store/up"):
        assert_problem(caller.call("open/"), 503, "service_unavailable")
        assert caller.refresh().status_code == 503
    assert caller.call("open/").status_code == 200


def test_refresh_answered_503_is_followed_by_no_challenge_that_would_open_a_browser(
    gateway: Gateway, caller: Caller
) -> None:
    """As the SDK for Python has it: it asks once more, with nothing."""
    with gateway.switch("store/down", "store/up"):
        assert caller.refresh().status_code == 503
        with_nothing = requests.post(f"{gateway.url}/gateway/open/", timeout=20)
        assert_problem(with_nothing, 503, "store_unavailable")
        assert with_nothing.headers["Retry-After"]
    assert caller.call("open/").status_code == 200
    again = requests.post(f"{gateway.url}/gateway/open/", timeout=20)
    assert_challenged(gateway, again, "open/", invalid=False)


def test_refreshed_pair_serves_and_so_does_the_access_token_before(caller: Caller) -> None:
    renewed = caller.refresh().json()
    assert caller.call("open/").status_code == 200  # it has not ended
    assert Caller(caller.gateway, renewed["access_token"], "").call("open/").status_code == 200


def test_open_stream_survives_a_refresh_and_ends_with_its_grant(
    gateway: Gateway, caller: Caller
) -> None:
    headers = {"Authorization": f"Bearer {caller.access_token}"}
    with gateway.switch("check/0.2", "check/60"):
        url = f"{gateway.url}/gateway/open/events?case=refreshed"
        with requests.get(url, headers=headers, stream=True, timeout=20) as response:
            lines = response.iter_lines(chunk_size=1)
            assert next(lines) == b"id: 1"
            renewed = caller.refresh().json()
            reads = int(gateway.control("reads"))
            wait_until(lambda: int(gateway.control("reads")) > reads + 1, "it is looked at again")
            wait_until(lambda: gateway.state()["open streams refreshed"] == 1, "it alone is open")
            form = {"token": renewed["access_token"], "client_id": CLIENT_ID}
            assert requests.post(f"{gateway.url}/oauth/revoke", form, timeout=20).ok
            with pytest.raises(requests.exceptions.ChunkedEncodingError):
                list(lines)
    assert_challenged(gateway, caller.call("open/events"), "open/events")


@pytest.fixture
def hanging(gateway: Gateway, caller: Caller) -> Iterator[list[socket.socket]]:
    """Hold as many calls of a client open as it may have."""
    line = f"Authorization: Bearer {caller.access_token}\r\n".encode()
    request = b"GET /gateway/open/hang HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%b\r\n"
    held = []
    for _ in range(2):
        connection = socket.create_connection(("127.0.0.1", gateway.port), timeout=20)
        connection.sendall(request % (gateway.port, line))
        held.append(connection)
    yield held
    for each in held:
        each.close()


def test_open_calls_of_a_client_are_counted_apart_from_the_persons(
    gateway: Gateway, caller: Caller, hanging: list[socket.socket]
) -> None:
    other = Caller.allowed(gateway, "open")

    def refuse() -> bool:
        return caller.call("open/x").status_code == 429

    wait_until(refuse, "both calls are open")
    assert other.call("open/x").status_code == 200
    assert gateway.get("open/x").status_code == 200


def test_flood_of_the_endpoints_leaves_others_served(gateway: Gateway, caller: Caller) -> None:
    """Bodies that never end and requests without number hold up neither pages nor calls."""
    stop = threading.Event()

    def flood(path: str) -> None:
        with requests.Session() as client:
            while not stop.is_set():
                client.post(f"{gateway.url}{path}", {"grant_type": "x"}, timeout=20)

    threads = [
        threading.Thread(target=flood, args=(path,))
        for path in ("/oauth/token", "/oauth/register", "/oauth/revoke")
        for _ in range(8)
    ]
    head = b"POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Length: 8000\r\n"
    kind = b"Content-Type: application/x-www-form-urlencoded\r\n\r\nx"
    slow = [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(40)]
    for each in slow:
        each.sendall(head + kind)
    for thread in threads:
        thread.start()
    try:
        assert caller.call("open/").status_code == 200
        assert gateway.get("open/").status_code == 200
        assert requests.get(f"{gateway.url}/accounts/login/", timeout=20).status_code == 200
        assert caller.refresh().status_code == 200
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        for each in slow:
            with closing(each):
                pass


def test_no_token_is_in_the_log(gateway: Gateway, caller: Caller) -> None:
    caller.call("open/")
    caller.call(f"open/?access_token={caller.access_token}")
    caller.refresh()
    log = gateway.read_log()
    for secret in (caller.access_token, caller.refresh_token, GRANTED):
        assert secret not in log


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_official_mcp_client_calls_with_a_token(tools: Gateway, mode: str) -> None:
    token = Caller.allowed(tools, "mcp").access_token
    headers = {"Authorization": f"Bearer {token}"}
    steps: list[float] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        steps.append(progress)

    async with httpx2.AsyncClient(headers=headers, timeout=20) as http:
        transport = streamable_http_client(f"{tools.url}/gateway/mcp", http_client=http)
        async with Client(transport, mode=mode) as client:
            assert text_of(await client.call_tool("whoami")) == f"Bearer {GRANTED}"
            result: Any = await client.call_tool("count", {"to": 3}, progress_callback=note)
    assert text_of(result) == "counted to 3"
    assert steps == [1, 2, 3]


def test_headers_of_mcp_pass_whatever_tokens_they_are(caller: Caller) -> None:
    headers = {
        "Mcp-Method": "tools/call",
        "Mcp-Name": "a.b",
        "Mcp-Param-x_y.z~!": "1",
        "Mcp-Session-Id": "s",
        "Last-Event-ID": "7",
    }
    sent = dict(caller.call("open/", headers=headers).json()["headers"])
    assert {name.lower(): sent.get(name.lower()) for name in headers} == {
        name.lower(): value for name, value in headers.items()
    }
    del headers["Mcp-Session-Id"]
    url = f"{caller.gateway.url}/gateway/open/"
    assert requests.get(url, headers=headers, timeout=10).status_code == 401
