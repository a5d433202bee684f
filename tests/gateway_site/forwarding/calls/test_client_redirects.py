"""A hostile upstream leads no program, with its token or cookie, to another host."""

import json
import ssl
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode

import pytest
import requests

from tests.gateway_site.support.client_tokens import Caller
from tests.gateway_site.support.gateways import Gateway
from tests.gateway_site.support.problems import assert_problem
from tests.support.certificates import server_context
from tests.support.http_server import QuietHandler, TlsServer, serve

EVERY_REDIRECT = (300, 301, 302, 303, 304, 305, 306, 307, 308, 399)
LISTED = "https://files.example.com/x?signature=1,2;3"


@dataclass
class Thief:
    """A server of somebody else's, which notes with what headers it is asked."""

    certificate: Path
    url: str = ""
    asked: list[dict[str, str]] = field(default_factory=list)


@pytest.fixture(scope="module")
def thief(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Thief]:
    found = Thief(tmp_path_factory.mktemp("thief") / "thief.pem")

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            found.asked.append({name.lower(): value for name, value in self.headers.items()})
            self.respond(200)

    with serve(TlsServer(Handler, server_context(found.certificate))) as server:
        found.url = f"https://localhost:{server.server_port}/"
        yield found


@pytest.fixture(scope="module")
def callers(gateway: Gateway) -> dict[str, Caller]:
    return {name: Caller.allowed(gateway, name) for name in ("open", "stored", "led")}


def address(upstream: str, status: int, headers: list[list[str]], body: str = "") -> str:
    """Return the address of a call that is answered so."""
    query = {"status": str(status), "headers": json.dumps(headers), "body": body}
    return f"{upstream}/answer?{urlencode(query)}"


def get_redirected(
    caller: Caller, location: str, status: int = 302, *, method: str = "GET", at: str = "open"
) -> requests.Response:
    path = address(at, status, [["location", location]])
    return caller.call(path, method, allow_redirects=False)


@pytest.mark.parametrize("name", ["Authorization", "Cookie"])
@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
def test_program_with_credentials_is_not_redirected(
    gateway: Gateway, callers: dict[str, Caller], thief: Thief, status: int, name: str
) -> None:
    """Python's urllib sends such headers wherever a redirect leads."""
    trusting = ssl.create_default_context(cafile=thief.certificate)
    trusting.check_hostname = False  # a thief of the Internet has a certificate
    program = urllib.request.build_opener(
        urllib.request.HTTPSHandler(context=trusting), urllib.request.ProxyHandler({})
    )
    url = f"{gateway.url}/gateway/{address('open', status, [['Location', thief.url]])}"
    thief.asked.clear()
    token = f"Bearer {callers['open'].access_token}"
    cookie = f"gateway_sessionid={gateway.keys[0]}"
    shown = {name: token if name == "Authorization" else cookie}
    with pytest.raises(HTTPError) as caught:
        program.open(urllib.request.Request(url, headers=shown), timeout=20)  # noqa: S310
    with caught.value as response:
        assert (response.code, response.headers["X-Gateway-Problem"]) == (502, "misdirected")
    assert not thief.asked
    # And it would have gone there, with all it has.
    program.open(urllib.request.Request(thief.url, headers=shown), timeout=20).close()  # noqa: S310
    assert thief.asked[0][name.lower()] == shown[name]


@pytest.mark.parametrize("status", EVERY_REDIRECT)
def test_every_redirect_elsewhere_is_a_bad_gateway(callers: dict[str, Caller], status: int) -> None:
    elsewhere = (
        LISTED,  # not at this upstream
        "//evil.example/",
        "http://evil.example/",
        "https://user@evil.example/",
        "https://evil.example\\@127.0.0.1/",
        "/\\evil.example",
        "https:evil.example",
        "javascript:alert(1)",
        "",
    )
    cases = [("GET", location) for location in elsewhere]
    cases += [(method, "https://evil.example/") for method in ("GET", "HEAD", "POST")]
    for method, location in cases:
        response = get_redirected(callers["open"], location, status, method=method)
        assert response.status_code == 502, (location, method)
        assert response.headers["X-Gateway-Problem"] == "misdirected"
        assert "Location" not in response.headers


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"},
        {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"},
        {"Accept": "text/html"},
        {"Cookie": "gateway_sessionid=x"},
    ],
)
def test_client_is_led_to_listed_hosts_alone_whatever_else_it_sends(
    callers: dict[str, Caller], headers: dict[str, str]
) -> None:
    """A browser keeps the session cookie to the gateway, but some took Authorization along."""
    for upstream, comes in (("open", 502), ("stored", 302)):
        path = address(upstream, 302, [["location", LISTED]])
        response = callers[upstream].call(path, headers=headers, allow_redirects=False)
        assert response.status_code == comes


def test_redirect_with_two_locations_is_a_bad_gateway(callers: dict[str, Caller]) -> None:
    for status in EVERY_REDIRECT:
        path = address("open", status, [["Location", "/x"], ["location", "https://evil.example/"]])
        response = callers["open"].call(path, allow_redirects=False)
        assert_problem(response, 502, "misdirected")


def test_redirect_within_the_upstream_is_returned(
    gateway: Gateway, callers: dict[str, Caller]
) -> None:
    for status in EVERY_REDIRECT:
        for location in ("/x", f"http://127.0.0.1:{gateway.upstream_port}/x"):
            response = get_redirected(callers["open"], location, status)
            assert (response.status_code, response.headers["Location"]) == (
                status,
                "/gateway/open/x",
            )


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_redirect_to_a_host_that_the_operator_lists_is_returned(
    callers: dict[str, Caller], method: str, status: int
) -> None:
    for location in (LISTED, LISTED.replace(".com/", ".com:443/"), LISTED.replace("f", "F", 1)):
        response = get_redirected(callers["stored"], location, status, method=method, at="stored")
        assert (response.status_code, response.headers["Location"]) == (status, location)


@pytest.mark.parametrize(
    ("location", "method"),
    [
        (LISTED, "POST"),
        (LISTED, "PUT"),
        (LISTED, "DELETE"),
        ("http://files.example.com/x", "GET"),
        ("https://files.example.com:8443/x", "GET"),
        ("https://a.files.example.com/x", "GET"),
        ("https://files.example.com.evil.example/x", "GET"),
        ("https://files.example.com@evil.example/x", "GET"),
        ("https://files.example.com./x", "GET"),
        ("https://example.com/x", "GET"),
        ("https://evil.example/files.example.com", "GET"),
    ],
)
def test_only_listed_hosts_are_passed_on(
    callers: dict[str, Caller], location: str, method: str
) -> None:
    response = get_redirected(callers["stored"], location, method=method, at="stored")
    assert_problem(response, 502, "misdirected")


@pytest.mark.parametrize("status", [200, 201, 202, 206, 404, 409, 500])
def test_other_status_stays_and_an_address_elsewhere_does_not(
    gateway: Gateway, callers: dict[str, Caller], status: int
) -> None:
    """What was created is created: an error would have the program create it once more."""
    host = f"http://127.0.0.1:{gateway.upstream_port}"
    named = {
        "Location": "/gateway/stored/a,b",
        "Content-Location": "/gateway/stored/a,b",
        "Operation-Location": f"{gateway.url}/gateway/stored/a,b",
        "Azure-AsyncOperation": f"{gateway.url}/gateway/stored/a,b",
        "OData-EntityId": f"{gateway.url}/gateway/stored/a,b",
        "X-Goog-Upload-URL": f"{gateway.url}/gateway/stored/a,b",
        "X-Goog-Upload-Control-URL": f"{gateway.url}/gateway/stored/a,b",
        "Refresh": "5; url=/gateway/stored/a,b",
        "Link": f'<{gateway.url}/gateway/stored/a%2Cb>; rel="next"',
    }
    for origin, comes in ((host, named), ("https://files.example.com", {})):
        values = {
            "Refresh": f"5; url={origin}/a,b",
            "Link": f'<{origin}/a,b>; rel="next"',
        }
        sent = [[name, values.get(name, f"{origin}/a,b")] for name in named]
        for method in ("GET", "POST"):
            response = callers["stored"].call(address("stored", status, sent), method)
            assert response.status_code == status
            found = {name: response.headers[name] for name in named if name in response.headers}
            assert found == comes


def test_other_redirecting_headers_are_removed(
    callers: dict[str, Caller],
) -> None:
    sent = [
        ["URI", "<https://evil.example/>"],
        ["Content-Base", "https://evil.example/"],
        ["Link-Template", '"https://evil.example/{x}"; rel="next"'],
        ["Alt-Svc", 'h3="evil.example:443"'],
        ["WWW-Authenticate", 'Bearer realm="https://evil.example/"'],
        ["Optional-WWW-Authenticate", 'Basic realm="https://evil.example/"'],
        ["Proxy-Authenticate", 'Basic realm="https://evil.example/"'],
        ["Authentication-Info", 'nextnonce="evil.example"'],
        ["Authentication-Control", "Basic location-when-unauthenticated=https://evil.example/"],
        ["Proxy-Authentication-Info", "evil.example"],
        ["Set-Cookie", "x=evil.example"],
        ["Strict-Transport-Security", "max-age=0; evil.example"],
        ["Service-Worker-Allowed", "/evil.example"],
        ["SourceMap", "https://evil.example/"],
        ["X-Accel-Redirect", "/evil.example"],
        ["Refresh", "0;https://evil.example/"],
        ["Refresh", "1"],
        ["X-Kept", "1"],
    ]
    response = callers["open"].call(address("open", 200, sent))
    assert response.headers["X-Kept"] == "1"
    assert "evil.example" not in str(response.headers)
    assert "Refresh" not in response.headers


def test_interim_responses_and_trailers_are_dropped(
    gateway: Gateway, callers: dict[str, Caller]
) -> None:
    """Interim answers (RFC 8297) and trailers may have `Link` and `Location`, too."""
    links = b"Link: <https://evil.example/>; rel=preload\r\nLocation: https://evil.example/\r\n\r\n"
    gateway.canned.responses["/hinting"] = (
        b"HTTP/1.1 103 Early Hints\r\n" + links + b"HTTP/1.1 104 Upload Resumption Supported\r\n"
        + links + b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"
        b"Trailer: Link, Location\r\n\r\n2\r\nok\r\n0\r\n" + links
    )  # fmt: skip
    token = callers["led"].access_token.encode()
    request = (
        b"GET /gateway/led/hinting HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
        b"Authorization: Bearer " + token + b"\r\n\r\n"
    )
    got = gateway.raw(request, signed_in=False)
    assert got.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nok\r\n" in got
    assert b"evil.example" not in got


def test_pages_of_a_list_are_found_by_their_links(
    gateway: Gateway, callers: dict[str, Caller]
) -> None:
    """As GitHub has it: whole addresses of the API's own, in quotes or not, with others beside."""
    host = f"http://127.0.0.1:{gateway.upstream_port}"
    third = "/" + address("", 200, [], "third").lstrip("/")
    second = address("", 200, [["Link", f"<{host}/x>; rel=first, <{third}>; rel=next"]], "second")
    first = address(
        "",
        200,
        [["Link", f'<{host}{second}>; rel="next", <https://x.example/>; rel="help"']],
        "first",
    )
    headers = {"Authorization": f"Bearer {callers['open'].access_token}"}
    url, bodies = f"{gateway.url}/gateway/open{first}", []
    while url:
        response = requests.get(url, headers=headers, timeout=20)
        assert response.status_code == 200, response.text
        bodies.append(response.text)
        assert "help" not in response.links
        url = response.links.get("next", {}).get("url", "")
        assert not url or url.startswith(gateway.url)  # many programs do not resolve it
    assert bodies == ["first", "second", "third"]
